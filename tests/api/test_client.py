"""The client against the served API: values, pages, the stream, and what it says of errors."""

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing, closing
from dataclasses import asdict
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import islice
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.bench.processes import free_ports
from tests.support.api import read_metrics, serve_api
from tests.support.database import insert_minutes, minutes_from
from tests.support.waiting import wait_until
from tracker.client import (
    AsyncClient,
    Client,
    Connected,
    Disconnected,
    Events,
    Point,
    Reset,
)
from tracker.errors import ApiError
from tracker.gaps import Coverage, Gap
from tracker.models import Candle, EmptyBucket, FilledPrice, SourcedPrice
from tracker.settings import CHECKOUT, Settings
from tracker.times import MINUTE

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
SEEN = NOON + timedelta(seconds=7.25)
ROWS = (
    "INSERT INTO prices (ticker, created_at, price, source, observed_at) VALUES"
    " ('btc_usd', %(at)s, 68241.50, 'poll', %(seen)s),"
    " ('btc_usd', %(at)s + INTERVAL '1 min', 68240.993333, 'chart', NULL),"
    " ('btc_usd', %(at)s + INTERVAL '4 min', 68250.00, 'poll', NULL)"
)
STORED = [
    SourcedPrice(3, "btc_usd", Decimal("68250.00"), NOON + 4 * MINUTE, "poll", None),
    SourcedPrice(2, "btc_usd", Decimal("68240.993333"), NOON + MINUTE, "chart", None),
    SourcedPrice(1, "btc_usd", Decimal("68241.50"), NOON, "poll", SEEN),
]

# Calls a method of the client; an iterator is read to its end.
Call = Callable[..., Any]


@pytest.fixture(scope="module")
def url(base: Settings) -> Iterator[str]:
    """The API of a database with three prices."""
    with psycopg.connect(base.database_dsn) as conn:
        conn.execute(ROWS, {"at": NOON, "seen": SEEN})
    with serve_api(base) as client:
        yield f"{client.base_url}/v1"


async def _call_async(url: str, name: str, *args: Any, **options: Any) -> Any:
    async with AsyncClient(url) as client:
        found = getattr(client, name)(*args, **options)
        if isinstance(found, Coroutine):
            return await found
        return [each async for each in found]


def _call_blocking(url: str, name: str, *args: Any, **options: Any) -> Any:
    with Client(url) as client:
        found = getattr(client, name)(*args, **options)
        return list(found) if isinstance(found, Iterator) else found


@pytest.fixture(params=["blocking", "async"])
def call(request: pytest.FixtureRequest, url: str) -> Call:
    """Call a method of one of the two clients."""
    if request.param == "blocking":
        return lambda *args, **options: _call_blocking(url, *args, **options)
    return lambda *args, **options: asyncio.run(_call_async(url, *args, **options))


def test_last_and_at_return_exact_price(call: Call) -> None:
    assert call("last", "btc_usd") == STORED[0]
    assert call("at", "btc_usd", NOON + timedelta(seconds=59)) == STORED[2]
    assert call("at", "btc_usd", NOON + 2 * MINUTE, tolerance=60) == STORED[1]


def test_prices_of_many_indexes_are_one_list(call: Call) -> None:
    """In the order of the arguments; by default of all that have one."""
    assert call("latest") == call("latest", "eth_usd", "btc_usd") == STORED[:1]
    assert call("prices_at", NOON + timedelta(seconds=59)) == STORED[2:]
    date = NOON + 2 * MINUTE
    assert call("prices_at", date, "btc_usd", tolerance=60) == STORED[1:2]
    assert call("prices_at", date, "btc_usd", tolerance=59) == []
    with pytest.raises(ApiError, match=r"^ticker: 'never_usd' is not tracked"):
        call("latest", "btc_usd", "never_usd")


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_iterators_follow_pages(call: Call, limit: int) -> None:
    """With any page size, in both orders, with bounds in any time zone."""
    assert call("prices", "btc_usd", limit=limit) == STORED
    assert call("prices", "btc_usd", limit=limit, order="asc") == STORED[::-1]
    far = (NOON + MINUTE).astimezone(timezone(timedelta(hours=5.5)))
    assert call("prices", "btc_usd", limit=limit, order="asc", start=far) == STORED[1::-1]
    assert call("prices", "btc_usd", order="asc", end=far) == STORED[2:]


@pytest.mark.parametrize("fill", ["null", "previous"])
def test_filled_prices_have_every_minute(call: Call, fill: str) -> None:
    """A missing one has no origin; minutes before the first price have none to be filled with."""
    stored = {price.created_at: price for price in STORED}
    expected, previous = [], None
    for minute in (NOON + n * MINUTE for n in range(-1, 6)):
        if price := stored.get(minute):
            previous = price.price
            expected.append(FilledPrice(**asdict(price), filled=False))
        else:
            shown = previous if fill == "previous" else None
            empty = {"id": None, "price": shown, "source": None, "observed_at": None}
            row = FilledPrice(ticker="btc_usd", created_at=minute, filled=True, **empty)
            expected.append(row)

    bounds = {"start": NOON - MINUTE, "end": NOON + 6 * MINUTE}
    assert call("filled_prices", "btc_usd", fill, **bounds, limit=3) == expected[::-1]
    assert call("filled_prices", "btc_usd", fill, **bounds, order="asc") == expected


@pytest.mark.parametrize(("fill", "close"), [("null", None), ("previous", Decimal("68250.00"))])
def test_filled_candles_have_every_bucket(call: Call, fill: str, close: Decimal | None) -> None:
    """One without a price is no candle, but has the price that it is filled with."""
    width = timedelta(minutes=5)
    prices = [Decimal(text) for text in ("68241.50", "68250.00", "68240.993333", "68250.00")]
    query = {"start": NOON - width, "end": NOON + 2 * width, "interval": "5m"}

    expected = [
        EmptyBucket(NOON + width, close),
        Candle(NOON, *prices, samples=3),
        EmptyBucket(NOON - width, None),
    ]
    assert call("filled_candles", "btc_usd", fill, **query, limit=2) == expected
    assert call("filled_candles", "btc_usd", fill, **query, order="asc") == expected[::-1]


@pytest.mark.parametrize("name", ["filled_prices", "filled_candles"])
def test_filled_series_need_both_bounds(call: Call, name: str) -> None:
    with pytest.raises(ApiError, match=r"^fill: needs start_date and end_date$") as caught:
        call(name, "btc_usd", "null", start=NOON)
    assert caught.value.status == 422


def test_gaps_and_coverage(call: Call) -> None:
    """A gap ends before the next stored minute; coverage counts its minutes."""
    end = NOON + 5 * MINUTE
    gap = Gap(NOON + 2 * MINUTE, NOON + 4 * MINUTE, "not_polled")
    assert call("gaps", "btc_usd", end=end, limit=1) == [gap]
    assert call("coverage", "btc_usd", end=end, interval="1d") == [
        Coverage(gap.since.replace(hour=0, minute=0), 5, 2, 1)
    ]


def test_candles_have_buckets_of_zone(call: Call) -> None:
    prices = [Decimal(text) for text in ("68241.50", "68250.00", "68240.993333", "68250.00")]
    options = {"interval": "1d", "tz": "Europe/Berlin", "order": "asc", "limit": 1}
    assert call("candles", "btc_usd", **options) == [
        Candle(datetime(2024, 1, 14, 23, tzinfo=UTC), *prices, samples=3)
    ]


def test_statistics_of_a_range(call: Call) -> None:
    """Exact decimals and moments; None where the range has no price."""
    found = call("stats", "btc_usd", start=NOON, end=NOON + 5 * MINUTE)
    assert (found.first_at, found.first) == (NOON, Decimal("68241.50"))
    assert (found.change, found.ratio) == (Decimal("8.50"), 0.6)
    assert (found.log_returns, found.samples, found.missing) == (1, 3, 2)
    assert call("stats", "btc_usd", end=NOON).first is None


def test_frame_has_the_prices_of_an_export(call: Call) -> None:
    """Doubles for computing, or exact decimals."""
    frame = call("frame", "btc_usd", start=NOON + MINUTE, end=NOON + 5 * MINUTE)
    exact = call("frame", "btc_usd", price_type="decimal")
    rows = [(p.ticker, p.created_at, p.price, p.source, p.observed_at) for p in STORED[::-1]]

    assert frame.columns == ["ticker", "created_at", "price", "source", "observed_at"]
    assert frame["price"].to_list() == [68240.993333, 68250.0]
    assert exact.rows() == rows


def test_tickers_include_index_without_price(call: Call) -> None:
    first, second = call("tickers")[:2]
    assert (first.ticker, first.configured, first.rows, first.since) == ("btc_usd", True, 3, NOON)
    assert first.first == Point(Decimal("68241.50"), NOON)
    assert first.high_24h == Decimal("68250.00")
    assert (first.base, first.quote, first.decimals, first.missing_24h) == ("BTC", "USD", 2, 1440)
    assert (second.ticker, second.configured) == ("eth_usd", True)


def test_api_errors_name_parameters(call: Call) -> None:
    """One exception type, with the status and the reason for each parameter."""
    with pytest.raises(ApiError, match=r"^ticker: 'never_usd' is not tracked") as caught:
        call("last", "never_usd")
    assert (caught.value.status, list(caught.value.errors)) == (422, ["ticker"])
    with pytest.raises(ApiError, match=r"^limit: "):
        call("prices", "btc_usd", limit=0)
    with pytest.raises(ApiError) as caught:
        call("at", "btc_usd", NOON + 2 * MINUTE)
    assert (caught.value.status, list(caught.value.errors)) == (404, ["date"])
    with pytest.raises(ApiError, match=r"^ticker: "):
        call("stream", "never_usd")


def test_foreign_error_response_is_api_error() -> None:
    """A proxy's error page is no problem document."""
    transport = httpx.MockTransport(lambda _: httpx.Response(502, text="<html>"))
    with (
        Client("http://proxy", transport=transport, attempts=1) as client,
        pytest.raises(ApiError) as caught,
    ):
        client.last("btc_usd")
    assert (caught.value.status, str(caught.value)) == (502, "response: HTTP 502")
    assert caught.value.transient


def newest_position(conn: psycopg.Connection) -> str:
    """The id of a client that has received every event."""
    [(newest,)] = conn.execute("SELECT coalesce(max(position), 0)::text FROM internal.batches")
    return str(newest)


def test_stream_resumes_at_last_id(url: str, base_conn: psycopg.Connection) -> None:
    """Also in another process; a reset names the minutes to read again."""
    newest = newest_position(base_conn)
    events = Events(newest)
    day = NOON + timedelta(days=1)
    insert_minutes(base_conn, minutes_from(NOON + MINUTE, 3), "eth_usd")
    with Client(url) as client, closing(client.stream("eth_usd", events=events)) as stream:
        first = list(islice(stream, 2))
    assert events.last_id == f"{int(newest) + 1}.1.2"

    async def rest() -> list[SourcedPrice | Reset]:
        async with (
            AsyncClient(url) as client,
            aclosing(client.stream("eth_usd", events=Events(events.last_id))) as stream,
        ):
            found = [await anext(stream)]
            insert_minutes(base_conn, minutes_from(day + MINUTE, 1001), "eth_usd")
            insert_minutes(base_conn, [NOON - 8 * MINUTE], "eth_usd")
            return [*found, await anext(stream), await anext(stream)]

    third, reset, last = asyncio.run(rest())
    minutes = [each.created_at for each in (*first, third, last)]
    assert minutes == [NOON + n * MINUTE for n in (1, 2, 3, -8)]
    assert reset == Reset("eth_usd", day + MINUTE, day + 1001 * MINUTE)


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_stream_survives_restart_of_server(base: Settings, sign: signal.Signals) -> None:
    """The server is stopped or killed, unavailable, and restarted: each price arrives once."""
    settings = base.changed(web_port=free_ports(1)[0])
    start = NOON + timedelta(days=100 + sign)
    command = [sys.executable, "-m", "tracker", "web"]

    def start_web() -> subprocess.Popen[bytes]:
        environment = settings.environment()
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        wait_until(lambda: read_metrics(f"http://127.0.0.1:{settings.web_port}/metrics"))
        return process

    running = [start_web()]
    with (
        psycopg.connect(base.database_dsn, autocommit=True) as conn,
        Client(f"http://127.0.0.1:{settings.web_port}") as client,
    ):
        stream = client.stream("eth_usd", events=Events(newest_position(conn)))
        try:
            insert_minutes(conn, minutes_from(start + MINUTE, 5), "eth_usd")
            got = list(islice(stream, 3))
            running[0].send_signal(sign)
            running[0].wait()
            insert_minutes(conn, minutes_from(start + 11 * MINUTE, 2), "eth_usd")
            running.append(start_web())
            got += islice(stream, 4)
        finally:
            stream.close()  # type: ignore[attr-defined]  # it is a generator
            for process in running:
                process.kill()
                process.wait()
    assert [price.created_at for price in got] == [
        start + n * MINUTE for n in (1, 2, 3, 4, 5, 11, 12)
    ]


def test_stream_events_report_connection() -> None:
    """A client resumes after the last complete event, and reconnects by itself."""
    bodies = iter(
        [
            "retry: 1\nid: 7\nevent: ready\ndata: {}\n\nid: 8.1.1",
            "retry: 1\nid: 7\nevent: ready\ndata: {}\n\n",
        ]
    )
    last_ids = []

    def respond(request: httpx.Request) -> httpx.Response:
        last_ids.append(request.headers.get("Last-Event-ID"))
        return httpx.Response(200, text=next(bodies))

    with Client("http://api", transport=httpx.MockTransport(respond)) as client:
        events = list(islice(client.stream_events("a_b"), 3))

    assert events == [Connected(resumed=False), Disconnected(), Connected(resumed=True)]
    assert last_ids == [None, "7"]


@given(
    st.lists(
        st.sampled_from(
            ["", ":", "id: a_b:1", "id", "event: price", "data: {}", "retry: 5", "x: y"]
        )
    )
)
def test_partial_event_is_dropped(lines: list[str]) -> None:
    """Wherever the connection is cut, last_id is that of the last complete event."""
    events = Events("a_b:0")
    for line in [each for each in lines if each != "event: price"]:
        assert events.parse_line(line) is None
    blank = len(lines) - lines[::-1].index("") if "" in lines else 0
    whole = lines[:blank]
    known = [line for line in whole if line.startswith("id")]
    expected = {"id: a_b:1": "a_b:1", "id": ""}[known[-1]] if known else "a_b:0"
    assert events.last_id == expected


def test_blocking_client_is_made_of_the_one_for_asyncio() -> None:
    made = subprocess.check_output(
        [sys.executable, "-c", "import blocking_client as b; print(b.blocking_source(), end='')"],
        cwd=CHECKOUT / "ops",
        text=True,
    )
    assert made == (CHECKOUT / "tracker/client/blocking.py").read_text()


def test_client_imports_no_database_or_settings() -> None:
    code = "import sys, tracker.client; print(*[m for m in sys.modules if 'tracker.' in m])"
    found = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    names = {"client", "errors", "gaps", "models", "proxies", "times"}
    assert {name.split(".")[1] for name in found} == names


def test_readme_example_runs(url: str, base_conn: psycopg.Connection) -> None:
    """It prints stored prices, then a new one."""
    blocks = re.findall(r"```python\n(.*?)```", (CHECKOUT / "README.md").read_text(), re.DOTALL)
    [example] = [block for block in blocks if "tracker.client" in block]
    code = example.replace("http://127.0.0.1:8000/v1", url).replace("2026, 11, 20", "2024, 1, 1")
    command = [sys.executable, "-u", "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        shown = [process.stdout.readline().strip() for _ in range(4)]
        wait_until(lambda: read_metrics(f"{url}/metrics").get(("tracker_stream_clients",)) == 1)
        insert_minutes(base_conn, [NOON + timedelta(days=50)], "eth_usd")
        last = process.stdout.readline()
        process.kill()

    assert shown[0] == "68250.00"
    assert shown[1:] == [f"{p.created_at} {p.price} {p.source}" for p in STORED[::-1]]
    assert last.startswith("SourcedPrice(id=")
