"""Answers that are kept in memory: the same as those that are not, and never old."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from threading import Event, Thread

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.serving import linked_url, served
from tracker.settings import Settings
from tracker.times import MINUTE, minute_of
from tracker.web import cache
from tracker.web.cache import MAX_AGE

HEARD = 5.0  # seconds; a change is heard of within milliseconds, and machines are shared
SLACK = 0.5  # seconds between two lines of this file
START = minute_of(datetime.now(UTC)) - timedelta(hours=1)
STORE = (
    "INSERT INTO prices (ticker, created_at, price, source) VALUES (%s, %s, %s, %s)"
    " ON CONFLICT (ticker, created_at) DO UPDATE SET price = excluded.price,"
    " source = excluded.source"
)
FORGET = "DELETE FROM prices WHERE ticker = %s AND created_at = %s"
TICKERS = ("btc_usd", "eth_usd")
PATHS = (
    "/prices?ticker={}",
    "/prices?ticker={}&limit=3&order=asc&include=source",
    f"/v1/prices?ticker={{}}&before={START.isoformat().replace('+00:00', 'Z')}&format=csv",
    "/prices/last?ticker={}",
    f"/prices/filtered?ticker={{}}&date={int(START.timestamp())}&tolerance=120",
    "/prices/candles?ticker={}&interval=15m",
    "/prices/candles?ticker={}&interval=1d&tz=Asia/Kolkata",
)
# What differs from one answer to the next, or counts down.
PASSING = {"date", "x-request-id", "cache-control"}


@pytest.fixture(scope="module")
def kept(base: Settings) -> Iterator[httpx.Client]:
    """A client of an API that keeps its answers."""
    with served(base) as client:
        wait_for(lambda: "tracker_feed_current 1.0" in client.get("/metrics").text)
        yield client


@pytest.fixture(scope="module")
def plain(base: Settings) -> Iterator[httpx.Client]:
    """A client of one that keeps nothing."""
    with served(base, cache=False) as client:
        yield client


@pytest.fixture(autouse=True)
def _keen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is kept, though nobody waits for it."""
    monkeypatch.setattr(cache, "MIN_WAITING", 0)


@pytest.fixture(autouse=True)
def empty(writer: psycopg.Connection) -> None:
    """Nothing is stored."""
    writer.execute("DELETE FROM prices")


def wait_for(what: Callable[[], object], seconds: float = HEARD) -> None:
    """Wait until *what* is true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def said(client: httpx.Client, path: str) -> tuple[int, dict[str, str], bytes]:
    """An answer without what passes."""
    answer = client.get(path)
    headers = {
        name: value
        for name, value in answer.headers.items()
        if name not in PASSING and not (name == "content-length" and answer.status_code != 200)
    }
    body = answer.content if answer.is_success else b""  # an error has a request's id
    return answer.status_code, headers, body


offsets = st.integers(-30, 59).map(lambda count: START + count * MINUTE)
prices = st.integers(1, 10**9).map(lambda cents: Decimal(cents).scaleb(-2))
writes = st.tuples(
    st.sampled_from(TICKERS), offsets, prices, st.sampled_from(["poll", "chart", None])
)
questions = st.builds(str.format, st.sampled_from(PATHS), st.sampled_from(TICKERS))


# What is stored may stay from example to example: both are asked of the same.
@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(st.tuples(writes, st.lists(questions, max_size=4)), max_size=6))
def test_a_kept_answer_is_the_one_that_would_be_read(
    kept: httpx.Client,
    plain: httpx.Client,
    writer: psycopg.Connection,
    steps: list[tuple[tuple[str, datetime, Decimal, str | None], list[str]]],
) -> None:
    """Whatever is stored, repaired or deleted between two questions, once it is heard of."""
    for (ticker, minute, price, source), asked in steps:
        for path in asked:
            kept.get(path)
        if source:
            writer.execute(STORE, [ticker, minute, price, source])
        else:
            writer.execute(FORGET, [ticker, minute])
        for path in asked:
            wait_for(lambda path=path: said(kept, path) == said(plain, path))  # type: ignore[misc]


class Counting:
    """Stores one number after the other as the newest price, and knows when each was there."""

    def __init__(self, dsn: str) -> None:
        """Nothing is stored yet."""
        self._dsn = dsn
        self._ended = Event()
        self.begun = [0.0]
        self.done = [0.0]

    def store(self) -> None:
        """Count on, until told to end."""
        with psycopg.connect(self._dsn, autocommit=True) as conn:
            while not self._ended.is_set():
                self.begun.append(time.monotonic())
                source = "poll" if len(self.begun) % 2 else "chart"
                conn.execute(STORE, ["btc_usd", START, len(self.begun) + Decimal("0.00"), source])
                self.done.append(time.monotonic())
                time.sleep(0.003)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count as long as the block."""
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
        was_there = self.begun[place] <= until
        next_came = self.done[place + 1] if place + 1 < len(self.done) else until
        return was_there and next_came >= since


def shown(client: httpx.Client) -> int:
    """The number that is stored, as the API has it."""
    return int(Decimal(client.get("/prices/last?ticker=btc_usd").json()["price"]))


def watch(client: httpx.Client, counting: Counting, seconds: float) -> int:
    """Ask for so many *seconds*, and see that no answer is older than promised: how many."""
    end, asked = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        before = time.monotonic()
        number = shown(client)
        after = time.monotonic()
        assert counting.may_show(number, before - MAX_AGE - SLACK, after), (number, asked)
        asked += 1
    return asked


def test_answers_follow_a_writer(kept: httpx.Client, base: Settings) -> None:
    """While it stores and repairs all the time, no answer is old, nor ahead of it."""
    counting = Counting(base.database_dsn)
    with counting.running():
        wait_for(lambda: len(counting.done) > 2)
        assert watch(kept, counting, 1.5) > 10


def test_no_answer_is_old_though_nobody_hears(
    kept: httpx.Client, base: Settings, writer: psycopg.Connection
) -> None:
    """The listener's server process stands still, and the API has not noticed yet."""
    query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'tracker-feed'"
    pids = [pid for (pid,) in writer.execute(query)]
    assert pids
    counting = Counting(base.database_dsn)
    with counting.running():
        wait_for(lambda: len(counting.done) > 2)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            watch(kept, counting, 2.5)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
    wait_for(lambda: "tracker_feed_current 1.0" in kept.get("/metrics").text)


def test_the_same_question_is_read_once_at_a_time(
    kept: httpx.Client, writer: psycopg.Connection
) -> None:
    """Many ask at once while the table is locked: one waits for the database, all are answered."""
    writer.execute(STORE, ["btc_usd", START, Decimal("1.50"), "poll"])
    path = "/prices?ticker=btc_usd&limit=7"
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE application_name = 'tracker-web' AND wait_event_type = 'Lock'"
    )
    answers: list[httpx.Response] = []
    threads = [Thread(target=lambda: answers.append(kept.get(path))) for _ in range(9)]
    with writer.transaction():
        writer.execute("LOCK TABLE prices IN ACCESS EXCLUSIVE MODE")
        for thread in threads:
            thread.start()
        time.sleep(0.15)
        [count] = writer.execute(waiting).fetchone() or ()
    for thread in threads:
        thread.join()

    assert count == 1
    assert [answer.status_code for answer in answers] == [200] * 9
    assert len({answer.headers["x-request-id"] for answer in answers}) == 9


def test_what_cannot_be_kept_is_asked_for_each_time(kept: httpx.Client) -> None:
    """Errors have a request's id each, whoever asks and however often."""
    for path in ("/prices?ticker=btc_usd&limit=0", "/prices/last?ticker=eth_usd"):
        answers = [kept.get(path) for _ in range(3)]
        assert len({answer.json()["request_id"] for answer in answers}) == 3
    assert kept.post("/prices?ticker=btc_usd").status_code == 405


def test_each_gets_the_form_that_it_asks_for(
    kept: httpx.Client, writer: psycopg.Connection
) -> None:
    """A kept answer is for those who accept the same; who has it already is told so."""
    many = [["btc_usd", START + n * MINUTE, Decimal("1.25"), "poll"] for n in range(50)]
    with writer.cursor() as cursor:
        cursor.executemany(STORE, many)
    path = "/prices?ticker=btc_usd"
    for _ in range(2):
        table = kept.get(path, headers={"Accept": "text/csv"})
        packed = kept.get(path)
        bare = kept.get(path, headers={"Accept-Encoding": "identity"})
        known = kept.get(path, headers={"If-None-Match": packed.headers["etag"]})
        head = kept.head(path)
        assert table.headers["content-type"].startswith("text/csv")
        assert packed.headers["content-encoding"] == "gzip"
        assert "content-encoding" not in bare.headers
        assert packed.content == bare.content != table.content
        assert (known.status_code, known.content) == (304, b"")
        assert (head.content, head.headers["etag"]) == (b"", packed.headers["etag"])


def test_link_is_independent_of_host(
    kept: httpx.Client, writer: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Concurrent requests share a response; none contains a name that another client sent.

    Each link resolves against the URL of its own request, and leads through all pages.
    """
    monkeypatch.setattr(cache, "MIN_WAITING", 1)
    with writer.cursor() as cursor:
        stored = [["btc_usd", START + n * MINUTE, Decimal("1.25"), "poll"] for n in range(9)]
        cursor.executemany(STORE, stored)
    paths = ("/prices?ticker=btc_usd", "/v1/prices/candles?ticker=btc_usd&interval=1m")
    hosts = ("api.example", "evil.example")
    requests = [(f"{path}&limit=2", host) for path in paths for host in hosts] * 100

    def fetch(request: tuple[str, str]) -> httpx.Response:
        path, host = request
        forwarded = {"X-Forwarded-Host": host, "X-Forwarded-Proto": "https"}
        return kept.get(path, headers={"Host": host, **forwarded})

    with ThreadPoolExecutor(16) as threads:
        responses = list(threads.map(fetch, requests))

    for response in responses:
        assert response.status_code == 200
        assert [host for host in hosts if host in f"{response.headers}{response.text}"] == []
        assert linked_url(response)
    for path, _ in requests[: 2 * len(paths) : 2]:
        minutes, following = [], path
        while following:
            page = kept.get(following)
            minutes += [row["created_at"] for row in page.json()]
            following = linked_url(page)
        assert len(minutes) == len(set(minutes)) == len(stored)


@pytest.mark.parametrize(("clients", "status"), [(8, 200), (1, 503)])
def test_only_what_several_ask_for_at_once_is_kept(
    kept: httpx.Client,
    writer: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    clients: int,
    status: int,
) -> None:
    """While nobody can read the table, a kept answer is all that there is."""
    monkeypatch.setattr(cache, "MIN_WAITING", 1)
    writer.execute(STORE, ["btc_usd", START, Decimal("1.50"), "poll"])
    path = f"/prices?ticker=btc_usd&limit={clients}"

    def blind() -> int:
        with ThreadPoolExecutor(clients) as threads:
            answers = list(threads.map(kept.get, [path] * 24))
        assert {answer.status_code for answer in answers} == {200}
        with writer.transaction():
            writer.execute("LOCK TABLE prices IN ACCESS EXCLUSIVE MODE")
            return kept.get(path).status_code

    if clients == 1:
        assert blind() == status
    else:
        wait_for(lambda: blind() == status, 30)  # a second may end among them
