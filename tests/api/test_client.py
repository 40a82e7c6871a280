"""The client against the served API: values, pages, the stream, and what it says of errors."""

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing, closing
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import islice
from typing import Any, TypeVar

import httpx
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.bench.processes import free_ports
from tests.support.serving import served
from tests.support.working import wait_for
from tracker.client import AsyncClient, Client
from tracker.errors import ApiError
from tracker.gaps import Coverage, Gap
from tracker.models import Candle, SourcedPrice
from tracker.replies import Events, Point, Reset
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
INSERT = (
    "INSERT INTO prices (ticker, created_at, price)"
    " SELECT 'eth_usd', %s + n * INTERVAL '1 min', 1.50 FROM generate_series(1, %s) AS n"
)

T = TypeVar("T")
# Asks for something: an attribute of the client, called; all of it, if it is many.
Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def url(base: Settings) -> Iterator[str]:
    """The API of that database, which has three prices."""
    with psycopg.connect(base.database_dsn) as conn:
        conn.execute(ROWS, {"at": NOON, "seen": SEEN})
    with served(base) as client:
        yield f"{client.base_url}/v1"


@pytest.fixture(scope="module")
def writer(base: Settings) -> Iterator[psycopg.Connection]:
    """A connection to that database."""
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        yield conn


async def _asked(url: str, name: str, *args: Any, **options: Any) -> Any:
    async with AsyncClient(url) as client:
        found = getattr(client, name)(*args, **options)
        if isinstance(found, Coroutine):
            return await found
        return [each async for each in found]


def _asked_blocking(url: str, name: str, *args: Any, **options: Any) -> Any:
    with Client(url) as client:
        found = getattr(client, name)(*args, **options)
        return list(found) if isinstance(found, Iterator) else found


@pytest.fixture(params=["blocking", "async"])
def ask(request: pytest.FixtureRequest, url: str) -> Ask:
    """Ask one of the two clients."""
    if request.param == "blocking":
        return lambda *args, **options: _asked_blocking(url, *args, **options)
    return lambda *args, **options: asyncio.run(_asked(url, *args, **options))


def test_one_price(ask: Ask) -> None:
    """Exact, in UTC, with its origin."""
    assert ask("last", "btc_usd") == STORED[0]
    assert ask("at", "btc_usd", NOON + timedelta(seconds=59)) == STORED[2]
    assert ask("at", "btc_usd", NOON + 2 * MINUTE, tolerance=60) == STORED[1]


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_pages_follow_each_other(ask: Ask, limit: int) -> None:
    """However few a page has, and in both directions; times of any zone are understood."""
    assert ask("prices", "btc_usd", limit=limit) == STORED
    assert ask("prices", "btc_usd", limit=limit, order="asc") == STORED[::-1]
    far = (NOON + MINUTE).astimezone(timezone(timedelta(hours=5.5)))
    assert ask("prices", "btc_usd", limit=limit, order="asc", start=far) == STORED[1::-1]
    assert ask("prices", "btc_usd", order="asc", end=far) == STORED[2:]


def test_what_is_missing(ask: Ask) -> None:
    """Gaps end before the minute that is there again; coverage counts them."""
    end = NOON + 5 * MINUTE
    gap = Gap(NOON + 2 * MINUTE, NOON + 4 * MINUTE, "not_polled")
    assert ask("gaps", "btc_usd", end=end, limit=1) == [gap]
    assert ask("coverage", "btc_usd", end=end, interval="1d") == [
        Coverage(gap.since.replace(hour=0, minute=0), 5, 2, 1)
    ]


def test_candles(ask: Ask) -> None:
    """With the buckets of a zone; their prices are exact."""
    prices = [Decimal(text) for text in ("68241.50", "68250.00", "68240.993333", "68250.00")]
    options = {"interval": "1d", "tz": "Europe/Berlin", "order": "asc", "limit": 1}
    assert ask("candles", "btc_usd", **options) == [
        Candle(datetime(2024, 1, 14, 23, tzinfo=UTC), *prices, samples=3)
    ]


def test_tickers(ask: Ask) -> None:
    """What is configured and has no price has its name at least."""
    first, second = ask("tickers")[:2]
    assert (first.ticker, first.configured, first.rows, first.since) == ("btc_usd", True, 3, NOON)
    assert first.first == Point(Decimal("68241.50"), NOON)
    assert first.high_24h == Decimal("68250.00")
    assert (second.ticker, second.configured) == ("eth_usd", True)


def test_errors_name_the_culprits(ask: Ask) -> None:
    """One exception, whatever was refused."""
    with pytest.raises(ApiError, match=r"^ticker: 'never_usd' is not tracked") as caught:
        ask("last", "never_usd")
    assert (caught.value.status, list(caught.value.errors)) == (422, ["ticker"])
    with pytest.raises(ApiError, match=r"^limit: "):
        ask("prices", "btc_usd", limit=0)
    with pytest.raises(ApiError) as caught:
        ask("at", "btc_usd", NOON + 2 * MINUTE)
    assert (caught.value.status, list(caught.value.errors)) == (404, ["date"])
    with pytest.raises(ApiError, match=r"^ticker: "):
        ask("stream", "never_usd")


def test_an_answer_of_somebody_else_is_an_error_too() -> None:
    """A proxy's, say, which is no problem document."""
    transport = httpx.MockTransport(lambda _: httpx.Response(502, text="<html>"))
    with Client("http://proxy", transport=transport) as client, pytest.raises(ApiError) as caught:
        client.last("btc_usd")
    assert (caught.value.status, str(caught.value)) == (502, "answer: HTTP 502")
    assert caught.value.passing


def test_a_stream_goes_on_where_it_was(url: str, writer: psycopg.Connection) -> None:
    """In another process too, for whoever keeps the id; ranges that must be read anew are told."""
    events = Events("eth_usd:0")
    writer.execute(INSERT, [NOON, 3])
    with Client(url) as client, closing(client.stream("eth_usd", events=events)) as stream:
        first = list(islice(stream, 2))
    assert events.last_id == "eth_usd:0.2"

    async def rest() -> list[SourcedPrice | Reset]:
        async with (
            AsyncClient(url) as client,
            aclosing(client.stream("eth_usd", events=Events(events.last_id))) as stream,
        ):
            found = [await anext(stream)]
            writer.execute(INSERT, [NOON + timedelta(days=1), 1001])
            writer.execute(INSERT, [NOON - 9 * MINUTE, 1])
            return [*found, await anext(stream), await anext(stream)]

    third, reset, last = asyncio.run(rest())
    minutes = [each.created_at for each in (*first, third, last)]
    assert minutes == [NOON + n * MINUTE for n in (1, 2, 3, -8)]
    day = NOON + timedelta(days=1)
    assert reset == Reset("eth_usd", day + MINUTE, day + 1001 * MINUTE)


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_a_stream_outlives_the_server(base: Settings, sign: signal.Signals) -> None:
    """It is stopped or killed, away for a while, and back: every price comes, and comes once."""
    settings = base.changed(web_port=free_ports(1)[0])
    start = NOON + timedelta(days=100 + sign)
    command = [sys.executable, "-m", "tracker", "web"]

    def web() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, env=settings.environment(), stderr=subprocess.DEVNULL)

    running = [web()]
    with (
        psycopg.connect(base.database_dsn, autocommit=True) as conn,
        Client(f"http://127.0.0.1:{settings.web_port}") as client,
    ):
        newest = conn.execute("SELECT max(revision) FROM tickers WHERE ticker = 'eth_usd'")
        events = Events(f"eth_usd:{newest.fetchone()[0] or 0}")  # type: ignore[index]  # max() answers
        stream = client.stream("eth_usd", events=events)
        try:
            conn.execute(INSERT, [start, 5])
            got = list(islice(stream, 3))
            running[0].send_signal(sign)
            running[0].wait()
            conn.execute(INSERT, [start + 10 * MINUTE, 2])
            running.append(web())
            got += islice(stream, 4)
        finally:
            stream.close()  # type: ignore[attr-defined]  # it is a generator
            for process in running:
                process.kill()
                process.wait()
    assert [price.created_at for price in got] == [
        start + n * MINUTE for n in (1, 2, 3, 4, 5, 11, 12)
    ]


@given(
    st.lists(
        st.sampled_from(
            ["", ":", "id: a_b:1", "id", "event: price", "data: {}", "retry: 5", "x: y"]
        )
    )
)
def test_half_an_event_is_none(lines: list[str]) -> None:
    """Whatever comes before the connection is cut, the id is that of the newest whole event."""
    events = Events("a_b:0")
    for line in [each for each in lines if each != "event: price"]:
        assert events.take(line) is None
    blank = len(lines) - lines[::-1].index("") if "" in lines else 0
    whole = lines[:blank]
    known = [line for line in whole if line.startswith("id")]
    expected = {"id: a_b:1": "a_b:1", "id": ""}[known[-1]] if known else "a_b:0"
    assert events.last_id == expected


def test_it_imports_little() -> None:
    """No database driver, no settings: it can be used from anywhere."""
    code = "import sys, tracker.client; print(*[m for m in sys.modules if 'tracker.' in m])"
    found = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    names = {"asking", "client", "errors", "gaps", "models", "replies", "times"}
    assert {name.removeprefix("tracker.") for name in found} == names


def test_the_example_of_the_readme_runs(url: str, writer: psycopg.Connection) -> None:
    """It prints what is stored, and what comes."""
    blocks = re.findall(r"```python\n(.*?)```", (CHECKOUT / "README.md").read_text(), re.DOTALL)
    [example] = [block for block in blocks if "tracker.client" in block]
    code = example.replace("http://127.0.0.1:8000/v1", url).replace("2026, 11, 20", "2024, 1, 1")
    command = [sys.executable, "-u", "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        shown = [process.stdout.readline().strip() for _ in range(4)]
        wait_for(lambda: _followed(url))
        writer.execute(INSERT, [NOON + timedelta(days=50), 1])
        last = process.stdout.readline()
        process.kill()

    assert shown[0] == "68250.00"
    assert shown[1:] == [f"{p.created_at} {p.price} {p.source}" for p in STORED[::-1]]
    assert last.startswith("SourcedPrice(id=")


def _followed(url: str) -> bool:
    return "tracker_stream_clients 1.0" in httpx.get(f"{url}/metrics").text
