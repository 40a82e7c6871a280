"""Cached responses equal uncached ones and are never stale."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from threading import Event, Thread

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.api import follow_links, linked_url, read_metric, serve_api
from tests.support.database import insert_minutes, minutes_from, upsert_prices
from tests.support.processes import pause_process
from tests.support.waiting import wait_until
from tracker.settings import Settings
from tracker.times import MINUTE, minute_of
from tracker.web import cache
from tracker.web.cache import MAX_AGE

NOTIFY_TIMEOUT = 60.0  # seconds; milliseconds are usual
SLACK = 0.5  # seconds between two lines of this file
START = minute_of(datetime.now(UTC)) - timedelta(hours=1)
DELETE = "DELETE FROM prices WHERE ticker = %s AND created_at = %s"
TICKERS = ("btc_usd", "eth_usd")
PATHS = (
    "/prices?ticker={}",
    "/prices?ticker={}&limit=3&order=asc&include=source",
    "/prices?ticker={}&include=source&include=observed_at",
    f"/v1/prices?ticker={{}}&before={START.isoformat().replace('+00:00', 'Z')}&format=csv",
    "/prices/last?ticker={}",
    f"/prices/filtered?ticker={{}}&date={int(START.timestamp())}&tolerance=120",
    "/prices/candles?ticker={}&interval=15m",
    "/prices/candles?ticker={}&interval=1d&tz=Asia/Kolkata",
)
# What differs from one answer to the next, or counts down.
VARYING = {"date", "x-request-id", "cache-control"}


@pytest.fixture(scope="module")
def cached(base: Settings) -> Iterator[httpx.Client]:
    """A client of an API that caches responses."""
    with serve_api(base) as client:
        wait_until(lambda: read_metric(client, "tracker_feed_current"))
        yield client


@pytest.fixture(scope="module")
def uncached(base: Settings) -> Iterator[httpx.Client]:
    """A client of one that does not."""
    with serve_api(base, cache=False) as client:
        yield client


@pytest.fixture(autouse=True)
def _cache_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Responses are cached without concurrent requests, too."""
    monkeypatch.setattr(cache, "MIN_WAITING", 0)


@pytest.fixture(autouse=True)
def empty(writer: psycopg.Connection) -> None:
    """No price is stored."""
    writer.execute("DELETE FROM prices")


def observe(client: httpx.Client, path: str) -> tuple[int, dict[str, str], bytes]:
    """A response without what differs between requests."""
    response = client.get(path)
    headers = {
        name: value
        for name, value in response.headers.items()
        if name not in VARYING and not (name == "content-length" and response.status_code != 200)
    }
    body = response.content if response.is_success else b""  # an error has a request's id
    return response.status_code, headers, body


offsets = st.integers(-30, 59).map(lambda count: START + count * MINUTE)
prices = st.integers(1, 10**9).map(lambda cents: Decimal(cents).scaleb(-2))
writes = st.tuples(
    st.sampled_from(TICKERS), offsets, prices, st.sampled_from(["poll", "chart", "import", None])
)
requests = st.builds(str.format, st.sampled_from(PATHS), st.sampled_from(TICKERS))


# What is stored may stay from example to example: both are asked of the same.
@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(st.tuples(writes, st.lists(requests, max_size=4)), max_size=6))
def test_cached_response_equals_an_uncached_one(
    cached: httpx.Client,
    uncached: httpx.Client,
    writer: psycopg.Connection,
    steps: list[tuple[tuple[str, datetime, Decimal, str | None], list[str]]],
) -> None:
    """After any insert, repair or deletion between two requests, once it is notified."""
    for (ticker, minute, price, source), paths in steps:
        for path in paths:
            cached.get(path)
        if source:
            upsert_prices(writer, ticker, {minute: price}, source)
        else:
            writer.execute(DELETE, [ticker, minute])
        for path in paths:
            wait_until(
                lambda path=path: observe(cached, path) == observe(uncached, path), NOTIFY_TIMEOUT
            )


class NumberWriter:
    """Stores ascending numbers as the newest price, and records when each was current."""

    def __init__(self, dsn: str) -> None:
        """Nothing is stored yet."""
        self._dsn = dsn
        self._ended = Event()
        self.started = [0.0]
        self.done = [0.0]

    def store(self) -> None:
        """Store numbers until stopped."""
        with psycopg.connect(self._dsn, autocommit=True) as conn:
            while not self._ended.is_set():
                self.started.append(time.monotonic())
                source = "poll" if len(self.started) % 2 else "chart"
                upsert_prices(conn, "btc_usd", {START: f"{len(self.started)}.00"}, source)
                self.done.append(time.monotonic())
                time.sleep(0.003)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Store numbers in the block."""
        thread = Thread(target=self.store)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def may_show(self, number: int, since: float, until: float) -> bool:
        """Whether *number* was the newest at some time from *since* to *until*."""
        place = number - 1
        was_there = self.started[place] <= until
        next_came = self.done[place + 1] if place + 1 < len(self.done) else until
        return was_there and next_came >= since


def fetch_number(client: httpx.Client) -> int:
    """The number that the API returns."""
    return int(Decimal(client.get("/prices/last?ticker=btc_usd").json()["price"]))


def poll_numbers(client: httpx.Client, numbers: NumberWriter, seconds: float) -> int:
    """Request for so many *seconds*; asserts that no response is too old; returns their number."""
    end, paths = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        before = time.monotonic()
        number = fetch_number(client)
        after = time.monotonic()
        assert numbers.may_show(number, before - MAX_AGE - SLACK, after), (number, paths)
        paths += 1
    return paths


def test_responses_follow_a_writer(cached: httpx.Client, base: Settings) -> None:
    numbers = NumberWriter(base.database_dsn)
    with numbers.running():
        wait_until(lambda: len(numbers.done) > 2)
        assert poll_numbers(cached, numbers, 1.5) > 10


def test_responses_stay_fresh_without_notifications(
    cached: httpx.Client, base: Settings, writer: psycopg.Connection
) -> None:
    """The listener's server process is stopped, and the API has not noticed yet."""
    query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'tracker-feed'"
    pids = [pid for (pid,) in writer.execute(query)]
    assert pids
    numbers = NumberWriter(base.database_dsn)
    with numbers.running():
        wait_until(lambda: len(numbers.done) > 2)
        with ExitStack() as paused:
            for pid in pids:
                paused.enter_context(pause_process(pid))
            poll_numbers(cached, numbers, 2.5)
    wait_until(lambda: read_metric(cached, "tracker_feed_current"))


def test_concurrent_identical_requests_share_a_query(
    cached: httpx.Client, writer: psycopg.Connection
) -> None:
    insert_minutes(writer, [START])
    path = "/prices?ticker=btc_usd&limit=7"
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE application_name = 'tracker-web' AND wait_event_type = 'Lock'"
    )
    responses: list[httpx.Response] = []
    threads = [Thread(target=lambda: responses.append(cached.get(path))) for _ in range(9)]
    with writer.transaction():
        writer.execute("LOCK TABLE prices IN ACCESS EXCLUSIVE MODE")
        for thread in threads:
            thread.start()
        time.sleep(0.15)
        [count] = writer.execute(waiting).fetchone() or ()
    for thread in threads:
        thread.join()

    assert count == 1
    assert [response.status_code for response in responses] == [200] * 9
    assert len({response.headers["x-request-id"] for response in responses}) == 9


def test_errors_are_not_cached(cached: httpx.Client) -> None:
    for path in ("/prices?ticker=btc_usd&limit=0", "/prices/last?ticker=eth_usd"):
        responses = [cached.get(path) for _ in range(3)]
        assert len({response.json()["request_id"] for response in responses}) == 3
    assert cached.post("/prices?ticker=btc_usd").status_code == 405


def test_cached_responses_differ_by_accepted_format(
    cached: httpx.Client, writer: psycopg.Connection
) -> None:
    insert_minutes(writer, minutes_from(START, 50))
    path = "/prices?ticker=btc_usd"
    for _ in range(2):
        table = cached.get(path, headers={"Accept": "text/csv"})
        compressed = cached.get(path)
        lines = cached.get(path, headers={"Accept": "application/jsonl"})
        identity = cached.get(path, headers={"Accept-Encoding": "identity"})
        unchanged = cached.get(path, headers={"If-None-Match": compressed.headers["etag"]})
        changed = cached.get(path, headers={"If-Match": unchanged.headers["etag"][:-1] + 'x"'})
        head = cached.head(path)
        assert table.headers["content-type"].startswith("text/csv")
        assert lines.headers["content-type"] == "application/jsonl"
        assert compressed.headers["content-encoding"] == "gzip"
        assert "content-encoding" not in identity.headers
        assert compressed.content == identity.content != table.content
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        assert changed.status_code == 412
        assert (head.content, head.headers["etag"]) == (b"", compressed.headers["etag"])


def test_link_is_independent_of_host(
    cached: httpx.Client, writer: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Concurrent requests share a response; none contains a name that another client sent.

    Each link resolves against the URL of its own request, and leads through all pages.
    """
    monkeypatch.setattr(cache, "MIN_WAITING", 1)
    insert_minutes(writer, minutes_from(START, 9))
    paths = ("/prices?ticker=btc_usd", "/v1/prices/candles?ticker=btc_usd&interval=1m")
    hosts = ("api.example", "evil.example")
    requests = [(f"{path}&limit=2", host) for path in paths for host in hosts] * 100

    def fetch_as_host(request: tuple[str, str]) -> httpx.Response:
        path, host = request
        forwarded = {"X-Forwarded-Host": host, "X-Forwarded-Proto": "https"}
        return cached.get(path, headers={"Host": host, **forwarded})

    with ThreadPoolExecutor(16) as threads:
        responses = list(threads.map(fetch_as_host, requests))

    for response in responses:
        assert response.status_code == 200
        assert [host for host in hosts if host in f"{response.headers}{response.text}"] == []
        assert linked_url(response)
    for path, _ in requests[: 2 * len(paths) : 2]:
        minutes = [row["created_at"] for page in follow_links(cached, path) for row in page]
        assert len(minutes) == len(set(minutes)) == 9


@pytest.mark.parametrize(("clients", "status"), [(8, 200), (1, 503)])
def test_only_concurrent_requests_are_cached(
    cached: httpx.Client,
    writer: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    clients: int,
    status: int,
) -> None:
    """While the table is locked, only a cached response is available."""
    monkeypatch.setattr(cache, "MIN_WAITING", 1)
    insert_minutes(writer, [START])
    path = f"/prices?ticker=btc_usd&limit={clients}"

    def fetch_while_locked() -> int:
        with ThreadPoolExecutor(clients) as threads:
            responses = list(threads.map(cached.get, [path] * 24))
        assert {response.status_code for response in responses} == {200}
        with writer.transaction():
            writer.execute("LOCK TABLE prices IN ACCESS EXCLUSIVE MODE")
            return cached.get(path).status_code

    if clients == 1:
        assert fetch_while_locked() == status
    else:
        wait_until(lambda: fetch_while_locked() == status)  # a second may end among them
