"""Streams in an outage of the database, and the memory and shutdown of their process."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import httpx
import psycopg
import pytest

from tests.support.api import error_reasons, format_moment, read_metric, run_web, serve_api
from tests.support.database import insert_minutes, minutes_from, postmaster_pid
from tests.support.processes import memory_megabytes, pause_process
from tests.support.stream import count_subscribers, open_stream
from tests.support.waiting import wait_until
from tracker.embedded.home import running_servers
from tracker.settings import Settings
from tracker.times import MINUTE
from tracker.web.stream.responses import StreamOptions

pytestmark = pytest.mark.slow

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
PATH = "/prices/stream?ticker=btc_usd"
OPTIONS = StreamOptions(heartbeat=0.1)
CLIENTS = 500
BOTH = ("btc_usd", "eth_usd")


@pytest.fixture
def minutes() -> Iterator[datetime]:
    """Unused minutes."""
    return iter(_MINUTES)


_MINUTES = (NOON + n * MINUTE for n in range(10**6))


def store_minutes(
    settings: Settings,
    minutes: Iterator[datetime],
    *,
    count: int = 1,
    tickers: Sequence[str] = ("btc_usd",),
) -> list[str]:
    """Insert *count* minutes with a statement for each price; returns the minutes."""
    stored = [next(minutes) for _ in range(count)]
    with psycopg.connect(settings.database_dsn, autocommit=True) as conn:
        for minute in stored:
            for ticker in tickers:
                insert_minutes(conn, [minute], ticker)
    return [format_moment(minute) for minute in stored]


def test_streams_survive_a_killed_server(stopped: Settings, minutes: Iterator[datetime]) -> None:
    """Heartbeats continue, new clients are refused, and missed prices are sent afterwards."""
    with serve_api(stopped, OPTIONS) as client:
        with running_servers(stopped):
            wait_until(lambda: client.head(PATH).status_code == 200)
            stream = ExitStack()
            subscriber = stream.enter_context(open_stream(client.base_url))
            stored = store_minutes(stopped, minutes)
            assert [event.data["created_at"] for event in subscriber.take(1)] == stored
            stored += store_minutes(stopped, minutes, count=3)
            os.kill(postmaster_pid(stopped) or 0, signal.SIGKILL)
            wait_until(lambda: not read_metric(client, "tracker_feed_current"))
            assert error_reasons(client.get(PATH), 503) == {"database": "does not respond"}
            time.sleep(3 * OPTIONS.heartbeat)
        with running_servers(stopped), stream:
            stored += store_minutes(stopped, minutes, count=2)
            restarted_at = time.monotonic()
            got = subscriber.take(5)

            assert time.monotonic() - restarted_at < 10
            assert [event.data["created_at"] for event in got] == stored[1:]
            assert subscriber.comments >= 2
            wait_until(lambda: client.head(PATH).status_code == 200)


def test_unresponsive_server_is_noticed_within_seconds(
    stopped: Settings, minutes: Iterator[datetime]
) -> None:
    with running_servers(stopped), serve_api(stopped, OPTIONS) as client:
        wait_until(lambda: client.head(PATH).status_code == 200)
        with open_stream(client.base_url) as subscriber:
            with pause_process(postmaster_pid(stopped)):
                started_at = time.monotonic()
                wait_until(lambda: not read_metric(client, "tracker_feed_current"))
                assert time.monotonic() - started_at < 10
                assert error_reasons(client.get(PATH), 503) == {"database": "does not respond"}
            stored = store_minutes(stopped, minutes, count=2)
            assert [event.data["created_at"] for event in subscriber.take(2)] == stored


def test_api_stops_while_the_server_is_unresponsive(stopped: Settings) -> None:
    serving, stream = ExitStack(), ExitStack()
    with running_servers(stopped):
        client = serving.enter_context(serve_api(stopped, OPTIONS))
        wait_until(lambda: client.head(PATH).status_code == 200)
        subscriber = stream.enter_context(open_stream(client.base_url))
        with stream, pause_process(postmaster_pid(stopped)):
            stopped_at = time.monotonic()
            serving.close()
            assert time.monotonic() - stopped_at < 5
            assert [event.name for event in subscriber.events()] == ["bye"]


def test_index_first_stored_after_an_outage_is_sent_completely(
    stopped: Settings, minutes: Iterator[datetime]
) -> None:
    with serve_api(stopped, OPTIONS) as client:
        with running_servers(stopped):
            wait_until(lambda: client.head(PATH).status_code == 200)
            stream = ExitStack()
            subscriber = stream.enter_context(open_stream(client.base_url, "eth_usd"))
        with (
            running_servers(stopped),
            stream,
            psycopg.connect(stopped.database_dsn, autocommit=True) as conn,
        ):
            stored = [next(minutes), next(minutes)]
            insert_minutes(conn, stored, "eth_usd")
            shown = [event.data["created_at"] for event in subscriber.take(2)]
            assert shown == [format_moment(minute) for minute in stored]


async def collect_events(
    client: httpx.Client, ready: asyncio.Semaphore, last: str
) -> list[tuple[str, str]]:
    """Subscribe to both indexes until each has sent the minute *last*."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
    writer.write(b"GET %s&ticker=eth_usd HTTP/1.1\r\nHost: x\r\n\r\n" % PATH.encode())
    got: list[tuple[str, str]] = []
    while [minute for _, minute in got].count(last) < len(BOTH):
        line = await reader.readline()
        assert line, "the stream ended"
        if line == b"event: ready\n":
            ready.release()
        if line.startswith(b"data: ") and b'"price":' in line:
            parts = line.decode().split('"')
            got.append((parts[5], parts[13]))
    writer.close()
    return got


def test_five_hundred_clients_survive_a_restart(
    stopped: Settings, minutes: Iterator[datetime]
) -> None:
    """Each receives each price exactly once."""

    def store_both(minutes: Iterator[datetime], count: int) -> list[str]:
        return store_minutes(stopped, minutes, count=count, tickers=BOTH)

    async def all_of_them() -> None:
        ready = asyncio.Semaphore(0)
        subscriptions = [collect_events(client, ready, format_moment(last)) for _ in range(CLIENTS)]
        clients = [asyncio.create_task(each) for each in subscriptions]
        for _ in clients:
            await ready.acquire()
        stored.extend(await asyncio.to_thread(store_both, minutes, 5))
        await asyncio.to_thread(servers.close)
        with running_servers(stopped):
            stored.extend(await asyncio.to_thread(store_both, minutes, 5))
            stored.extend(await asyncio.to_thread(store_both, iter([last]), 1))
            expected = sorted((ticker, minute) for ticker in BOTH for minute in stored)
            for got in await asyncio.gather(*clients):
                assert sorted(got) == expected

    last = next(minutes)
    stored: list[str] = []
    with ExitStack() as servers:
        servers.enter_context(running_servers(stopped))
        with run_web(stopped) as (_, client):
            wait_until(lambda: client.head(PATH).status_code == 200)
            asyncio.run(all_of_them())
            wait_until(lambda: count_subscribers(client) == 0)


def test_slow_consumers_do_not_hold_memory_or_the_shutdown(stopped: Settings) -> None:
    with running_servers(stopped), run_web(stopped) as (process, client), ExitStack() as slow:
        wait_until(lambda: client.head(PATH).status_code == 200)
        for _ in range(100):
            slow.enter_context(open_stream(client.base_url, receive_buffer=4096))
        started_at = memory_megabytes(process.pid)
        with (
            open_stream(client.base_url) as quick,
            psycopg.connect(stopped.database_dsn, autocommit=True) as conn,
        ):
            for n in range(10):
                first = NOON + (1 + n) * timedelta(days=99)
                insert_minutes(conn, minutes_from(first, 1000))
                assert {event.name for event in quick.take(1000)} == {"price"}
        growth = memory_megabytes(process.pid) - started_at

        stopped_at = time.monotonic()
        process.terminate()
        assert process.wait(10) == 0
        assert time.monotonic() - stopped_at < 2
    assert growth < 40
