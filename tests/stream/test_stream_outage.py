"""The stream while the database is away or stands still; and the process that serves it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psycopg
import pytest

from ops.bench.processes import free_ports
from tests.api.test_database_outage import postmaster
from tests.stream.test_stream import FILL, followers, measured, text
from tests.support.processes import paused
from tests.support.servers import make_settings
from tests.support.serving import problem, served
from tests.support.streaming import following
from tests.support.working import wait_for
from tracker import migrations
from tracker.embedded.home import started
from tracker.settings import Settings
from tracker.times import MINUTE
from tracker.web.stream.responses import StreamOptions

pytestmark = pytest.mark.slow

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
PATH = "/prices/stream?ticker=btc_usd"
QUICK = StreamOptions(heartbeat=0.1)
CLIENTS = 500
BOTH = ("btc_usd", "eth_usd")


@pytest.fixture(scope="module")
def own(open_tmp: Path) -> Settings:
    """A PostgreSQL of this file's own, which loses nothing when it is killed; it is stopped."""
    settings = make_settings(open_tmp / "stream-outage", redis_host="127.0.0.1")
    with started(settings):
        migrations.apply(settings.database_dsn)
    return settings


@pytest.fixture
def minutes() -> Iterator[datetime]:
    """Minutes that nobody has used."""
    return iter(_MINUTES)


_MINUTES = (NOON + n * MINUTE for n in range(10**6))


def store(settings: Settings, minutes: Iterator[datetime], *, count: int = 1) -> list[str]:
    """Store a price of btc_usd for each of *count* minutes, as texts: which."""
    stored = [next(minutes) for _ in range(count)]
    with psycopg.connect(settings.database_dsn, autocommit=True) as conn:
        for minute in stored:
            conn.execute(FILL, ["btc_usd", minute, 1])
    return [text(minute) for minute in stored]


def test_the_server_is_killed_and_comes_back(own: Settings, minutes: Iterator[datetime]) -> None:
    """Streams live on, with signs of life; nobody new is let in; then all that was missed comes."""
    with served(own, QUICK) as client:
        with started(own):
            wait_for(lambda: client.head(PATH).status_code == 200)
            stream = ExitStack()
            follower = stream.enter_context(following(client.base_url))
            stored = store(own, minutes)
            assert [event.data["created_at"] for event in follower.take(1)] == stored
            stored += store(own, minutes, count=3)
            os.kill(postmaster(own) or 0, signal.SIGKILL)
            wait_for(lambda: not measured(client)["tracker_feed_current"], 10)
            assert problem(client.get(PATH), 503) == {"database": "does not respond"}
            time.sleep(3 * QUICK.heartbeat)
        with started(own), stream:
            stored += store(own, minutes, count=2)
            back = time.monotonic()
            got = follower.take(5)

            assert time.monotonic() - back < 10
            assert [event.data["created_at"] for event in got] == stored[1:]
            assert follower.comments >= 2
            wait_for(lambda: client.head(PATH).status_code == 200)


def test_the_server_stands_still_and_goes_on(own: Settings, minutes: Iterator[datetime]) -> None:
    """It is noticed within seconds, though every connection is open."""
    with started(own), served(own, QUICK) as client:
        wait_for(lambda: client.head(PATH).status_code == 200)
        with following(client.base_url) as follower:
            with paused(postmaster(own)):
                begun = time.monotonic()
                wait_for(lambda: not measured(client)["tracker_feed_current"])
                assert time.monotonic() - begun < 10
                assert problem(client.get(PATH), 503) == {"database": "does not respond"}
            stored = store(own, minutes, count=2)
            assert [event.data["created_at"] for event in follower.take(2)] == stored


def test_the_api_stops_while_the_server_stands_still(own: Settings) -> None:
    """Neither its feed nor its streams wait for an answer."""
    serving, stream = ExitStack(), ExitStack()
    with started(own):
        client = serving.enter_context(served(own, QUICK))
        wait_for(lambda: client.head(PATH).status_code == 200)
        follower = stream.enter_context(following(client.base_url))
        with stream, paused(postmaster(own)):
            stopping = time.monotonic()
            serving.close()
            assert time.monotonic() - stopping < 5
            assert [event.name for event in follower.events()] == ["bye"]


def test_an_index_that_begins_during_an_outage(own: Settings) -> None:
    """The feed begins before the database and its first row: nothing of it is missed."""
    with served(own, QUICK) as client:
        with started(own):
            wait_for(lambda: client.head(PATH).status_code == 200)
            stream = ExitStack()
            follower = stream.enter_context(following(client.base_url, "eth_usd"))
        with started(own), stream, psycopg.connect(own.database_dsn, autocommit=True) as conn:
            conn.execute(FILL, ["eth_usd", NOON, 2])
            assert [event.id for event in follower.take(2)] == ["eth_usd:0.1", "eth_usd:1"]


@contextmanager
def web(settings: Settings) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """The API in a process of its own, as `tracker web` runs it, once it serves streams."""
    command = [sys.executable, "-m", "tracker", "web"]
    process = subprocess.Popen(command, env=settings.environment(), stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{settings.web_port}", timeout=20) as client:

            def serves() -> bool:
                try:
                    return client.head(PATH).status_code == 200
                except httpx.TransportError:
                    return False

            wait_for(serves)
            yield process, client
    finally:
        process.kill()
        process.wait()


def memory(process: subprocess.Popen[bytes]) -> int:
    """Bytes that *process* holds."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def follow(port: int, ready: asyncio.Semaphore, last: str) -> list[tuple[str, str]]:
    """Follow both indexes until each has had the minute *last*: what came, by index and minute."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET %s&ticker=eth_usd HTTP/1.1\r\nHost: x\r\n\r\n" % PATH.encode())
    got: list[tuple[str, str]] = []
    while [minute for _, minute in got].count(last) < len(BOTH):
        line = await reader.readline()
        assert line, "the stream ended"
        if line.startswith(b"id: ") and not got:
            ready.release()
        if line.startswith(b"data: "):
            parts = line.decode().split('"')
            got.append((parts[5], parts[13]))
    writer.close()
    return got


def fill(settings: Settings, minutes: Iterator[datetime], count: int) -> list[str]:
    """Store *count* minutes of both indexes from two connections, a statement for each price."""
    stored = [next(minutes) for _ in range(count)]
    with psycopg.connect(settings.database_dsn, autocommit=True) as conn:
        for minute in stored:
            for ticker in BOTH:
                conn.execute(FILL, [ticker, minute, 1])
    return [text(minute) for minute in stored]


def test_five_hundred_clients_through_a_restart(own: Settings, minutes: Iterator[datetime]) -> None:
    """Each of them gets each price exactly once."""
    settings = own.changed(web_port=free_ports(1)[0])

    async def all_of_them() -> None:
        ready = asyncio.Semaphore(0)
        followed = [follow(settings.web_port, ready, text(last)) for _ in range(CLIENTS)]
        clients = [asyncio.create_task(each) for each in followed]
        for _ in clients:
            await ready.acquire()
        stored.extend(await asyncio.to_thread(fill, settings, minutes, 5))
        await asyncio.to_thread(servers.close)
        with started(own):
            stored.extend(await asyncio.to_thread(fill, settings, minutes, 5))
            stored.extend(await asyncio.to_thread(fill, settings, iter([last]), 1))
            expected = sorted((ticker, minute) for ticker in BOTH for minute in stored)
            for got in await asyncio.gather(*clients):
                assert sorted(got) == expected

    last = next(minutes)
    stored: list[str] = []
    with ExitStack() as servers:
        servers.enter_context(started(own))
        with web(settings) as (_, client):
            asyncio.run(all_of_them())
            wait_for(lambda: followers(client) == 0)


def test_slow_readers_hold_neither_memory_nor_the_end(own: Settings) -> None:
    """A hundred of them, each some megabytes behind; then SIGTERM."""
    settings = own.changed(web_port=free_ports(1)[0])
    with started(own), web(settings) as (process, client), ExitStack() as slow:
        for _ in range(100):
            slow.enter_context(following(client.base_url, receive_buffer=4096))
        begun = memory(process)
        with following(client.base_url) as quick:
            with psycopg.connect(own.database_dsn, autocommit=True) as conn:
                for n in range(10):
                    conn.execute(FILL, ["btc_usd", NOON + (1 + n) * timedelta(days=99), 1000])
            assert {event.name for event in quick.take(10_000)} == {"price"}
        grown = memory(process) - begun

        stopping = time.monotonic()
        process.terminate()
        assert process.wait(10) == 0
        assert time.monotonic() - stopping < 2
    assert grown < 40 * 2**20
