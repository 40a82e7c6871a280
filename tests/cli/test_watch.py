"""`tracker watch`: new prices, changes, resets, lost connections."""

import csv
import json
import threading
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.bench.processes import free_ports
from tests.support.api import serve_api
from tests.support.commands import TIMEOUT, open_terminal, read_line, start_tracker
from tests.support.database import insert_minutes, insert_prices, minutes_from
from tracker.cli.watch import PriceChange, price_changes
from tracker.models import SourcedPrice
from tracker.settings import Settings
from tracker.times import MINUTE

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
NEWEST = {
    "id": 1,
    "ticker": "btc_usd",
    "price": "68241.50",
    "created_at": "2024-01-15T12:00:00Z",
    "source": "poll",
    "observed_at": None,
}


@pytest.fixture
def stored(base_conn: psycopg.Connection) -> psycopg.Connection:
    """The same, with one price of btc_usd and none of eth_usd."""
    base_conn.execute("TRUNCATE tickers, prices RESTART IDENTITY")
    add(base_conn, "btc_usd", 0, "68241.50")
    return base_conn


def add(
    conn: psycopg.Connection, ticker: str, minute: int, price: str, source: str = "poll"
) -> None:
    """Store a price of that minute after noon."""
    insert_prices(conn, ticker, {NOON + minute * MINUTE: price}, source)


@pytest.mark.slow
def test_watch_shows_changes_and_repairs(base: Settings, stored: psycopg.Connection) -> None:
    """With signs and colours, after the newest price of each index."""
    with (
        serve_api(base) as client,
        open_terminal() as screen,
        start_tracker(
            *("watch", "btc_usd", "eth_usd", "--url", str(client.base_url)),
            env={"TERM": "xterm-256color"},
            stdout=screen.theirs,
        ) as process,
    ):
        screen.read_until("68241.50")
        add(stored, "btc_usd", 3, "68250.000000000000000000000000000001")
        screen.read_until("+8.500000000000000000000000000001\n")
        add(stored, "btc_usd", 1, "68240.99", "chart")
        screen.read_until("repaired\n")
        add(stored, "eth_usd", 4, "2552.34")
        add(stored, "eth_usd", 5, "2552.30")
        screen.read_until("-0.04")
        process.terminate()
        errors = process.communicate(timeout=TIMEOUT)[1]

    lines = [line.split() for line in screen.text.splitlines()]
    assert lines == [
        ["minute", "(UTC)", "index", "price", "change"],
        ["2024-01-15", "12:00", "btc_usd", "68241.50"],
        [
            *("2024-01-15", "12:03", "btc_usd", "68250.000000000000000000000000000001"),
            "+8.500000000000000000000000000001",
        ],
        ["2024-01-15", "12:01", "btc_usd", "68240.99", "repaired"],
        ["2024-01-15", "12:04", "eth_usd", "2552.34"],
        ["2024-01-15", "12:05", "eth_usd", "2552.30", "-0.04"],
    ]
    assert "\x1b[32m+8.500000000000000000000000000001\x1b[0m" in screen.raw
    assert "\x1b[31m    -0.04\x1b[0m" in screen.raw
    assert "\x1b[33mrepaired\x1b[0m" in screen.raw
    assert errors == "tracker: ticker: no price of eth_usd yet\n"


@pytest.mark.slow
def test_watch_in_pipe_writes_line_per_price(base: Settings, stored: psycopg.Connection) -> None:
    """At once: JSON objects, or CSV with a header."""
    with serve_api(base) as client:
        url = str(client.base_url)
        with (
            start_tracker("watch", "--url", url) as one,
            start_tracker("watch", "btc_usd", "--format=csv", "--url", url) as other,
        ):
            first = json.loads(read_line(one.stdout))
            heads = read_line(other.stdout) + read_line(other.stdout)
            add(stored, "btc_usd", 1, "68240.99", "chart")
            second = json.loads(read_line(one.stdout))
            rows = list(csv.DictReader([*heads.splitlines(), read_line(other.stdout)]))
            insert_minutes(stored, minutes_from(NOON + timedelta(days=1, minutes=1), 1100))
            errors = read_line(one.stderr), read_line(one.stderr)
        expected = client.get(
            "/prices?ticker=btc_usd&order=asc&limit=2&include=source,observed_at"
        ).json()

    assert [first, second] == expected
    assert [row["price"] for row in rows] == ["68241.50", "68240.99"]
    reset = "2024-01-16T12:01:00Z to 2024-01-17T06:20:00Z"
    assert errors == (
        "tracker: ticker: no price of eth_usd yet\n",
        f"tracker: btc_usd: many changes from {reset}; `tracker prices` lists them\n",
    )


@pytest.mark.slow
def test_watch_reports_lost_connection_and_resumes(
    base: Settings, stored: psycopg.Connection
) -> None:
    """A loss is reported once; prices stored meanwhile are printed once."""
    port = free_ports(1)[0]
    words = ("watch", "btc_usd", "--url", f"http://127.0.0.1:{port}")
    with ExitStack() as service, ExitStack() as rest:
        service.enter_context(serve_api(base, port=port))
        process = rest.enter_context(start_tracker(*words))
        read_line(process.stdout)
        service.close()
        assert read_line(process.stderr) == "tracker: connection lost; reconnecting\n"
        add(stored, "btc_usd", 1, "1.10")
        add(stored, "btc_usd", 2, "1.20")
        with serve_api(base, port=port):
            assert read_line(process.stderr).startswith("tracker: connected again")
            found = [json.loads(read_line(process.stdout))["price"] for _ in range(2)]
            add(stored, "btc_usd", 3, "1.30")
            found.append(json.loads(read_line(process.stdout))["price"])
    assert found == ["1.10", "1.20", "1.30"]


class _BusyApi(BaseHTTPRequestHandler):
    """An API whose first response for a newest price is 503."""

    is_busy = True
    stopped = threading.Event()

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/tickers":
                self._respond(200, "[]")
            case "/prices/stream":
                self._respond(200, "id: btc_usd:0\n\n")
                self.stopped.wait(TIMEOUT)
            case _:
                self._respond(503 if self.is_busy else 200, json.dumps(NEWEST))
                _BusyApi.is_busy = False

    def _respond(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


def test_watch_retries_newest_price() -> None:
    """An API that is busy right after it accepted the stream does not end the command."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _BusyApi)
    threading.Thread(target=server.serve_forever).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    with start_tracker("watch", "btc_usd", "--url", url) as process:
        assert json.loads(read_line(process.stdout)) == NEWEST
        assert read_line(process.stderr) == "tracker: connection lost; reconnecting\n"
    _BusyApi.stopped.set()
    server.shutdown()
    server.server_close()


prices = st.builds(
    lambda ticker, minute, cents, source: SourcedPrice(
        minute, ticker, Decimal(cents).scaleb(-2), NOON + minute * MINUTE, source, None
    ),
    st.sampled_from(["a_b", "c_d"]),
    st.integers(0, 5),
    st.integers(1, 9),
    st.sampled_from(["poll", "chart"]),
)


@given(st.lists(prices))
def test_changes_sum_to_newest_price(stored: list[SourcedPrice]) -> None:
    """An index's first price and changes sum to its newest price, in any order of arrival."""
    changes = list(price_changes(stored))

    for ticker in ("a_b", "c_d"):
        mine = [each for each in changes if each.price.ticker == ticker]
        if mine:
            total = sum(each.change or 0 for each in mine)
            newest = max(each.price.created_at for each in mine)
            last = [each for each in mine if each.price.created_at == newest][-1]
            assert mine[0].price.price + total == last.price.price


def test_repeated_price_is_no_change() -> None:
    """The stream may repeat the newest price."""
    price = SourcedPrice(1, "a_b", Decimal("1.50"), NOON, "poll", NOON + timedelta(seconds=1))
    assert list(price_changes([price, price])) == [PriceChange(price)]
