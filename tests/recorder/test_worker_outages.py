"""The worker while the database or the queue is away: no price is lost, none is stored twice."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import psycopg
import pytest
import redis
from loguru import logger

from tests.support.processes import paused
from tests.support.servers import make_settings
from tests.support.working import (
    asked,
    assert_true,
    idle,
    misses,
    order,
    rows,
    send,
    this_minute,
    tick,
    wait_for,
    working,
)
from tracker import migrations
from tracker.database import Timeouts
from tracker.embedded.home import home_servers, start_background, stop_background
from tracker.embedded.servers import Server
from tracker.settings import Settings
from tracker.simulator import Options, Served, serve
from tracker.times import MINUTE

pytestmark = pytest.mark.slow

BOTH = ["btc_usd", "eth_usd"]


@pytest.fixture(scope="module")
def own(open_tmp: Path) -> Iterator[Settings]:
    """Servers of our own, that may be stopped."""
    settings = make_settings(open_tmp / "outage")
    try:
        start_background(settings)
        migrations.apply(settings.database_dsn)
        yield settings
    finally:
        stop_background(settings)


@pytest.fixture
def exchange() -> Iterator[Served]:
    """A stand-in without faults."""
    with serve(Options(seed=13)) as served:
        yield served


@pytest.fixture
def tracked(own: Settings, exchange: Served) -> Settings:
    """Settings that lead to those servers, emptied, and to the stand-in."""
    start_background(own)
    with redis.from_url(own.broker_url) as client:
        client.flushdb()
    with psycopg.connect(own.database_dsn, autocommit=True) as conn:
        conn.execute("TRUNCATE tickers, prices, misses, candles_1h RESTART IDENTITY")
    return own.changed(client_base_url=exchange.url, tickers=",".join(BOTH))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter waits than in production, of the same order."""
    monkeypatch.setattr("dramatiq.worker.CONSUMER_RESTART_DELAY_SECS", 0.5)
    monkeypatch.setattr("dramatiq.worker.POST_PROCESS_MESSAGE_RETRY_DELAY_SECS", 0.5)


quick_worker = partial(working, timeouts=Timeouts(connect=2, response=2), redis_timeout=0.5)


@pytest.fixture
def postgres(own: Settings) -> Server:
    """The database server."""
    return home_servers(own)[0]


@pytest.fixture
def queue(own: Settings) -> Server:
    """The queue's server."""
    return home_servers(own)[1]


def kill(server: Server) -> None:
    """End *server* as a crash would."""
    os.kill(server.pid() or 0, signal.SIGKILL)
    assert server.wait_stopped()


@contextmanager
def warnings() -> Iterator[list[str]]:
    """What is logged meanwhile, of warnings and errors."""
    lines: list[str] = []
    number = logger.add(lines.append, level="WARNING", format="{message}")
    yield lines
    logger.remove(number)


def both_stored(settings: Settings) -> bool:
    """Whether two prices are there."""
    with psycopg.connect(settings.database_dsn) as conn:
        return len(rows(conn)) == 2


def assert_stored(settings: Settings, exchange: Served, *minutes: object) -> None:
    """Those minutes have the exchange's true prices, and nothing is missing or left over."""
    with psycopg.connect(settings.database_dsn) as conn:
        assert rows(conn) == [(ticker, minute) for minute in minutes for ticker in BOTH]
        assert misses(conn) == []
        assert_true(conn, exchange)
    assert idle(settings)


def test_a_price_outlives_the_database(
    tracked: Settings, exchange: Served, postgres: Server
) -> None:
    """Fetched while it was down, stored when it is back: once, under its own minute."""
    minute = this_minute()
    with quick_worker(tracked):
        postgres.stop()
        tick(tracked, minute)
        wait_for(lambda: asked(exchange) == 2 and not polls(tracked))
        start_background(tracked)
        wait_for(lambda: both_stored(tracked) and idle(tracked))

    assert_stored(tracked, exchange, minute)


def polls(settings: Settings) -> int:
    """How many ticks and polls are queued or under way."""
    with redis.from_url(settings.broker_url) as client:
        return int(client.hlen("dramatiq:default.msgs"))


def in_memory(settings: Settings) -> int:
    """How many messages are delayed in the worker's memory; the queue knows them as unfinished."""
    with redis.from_url(settings.broker_url) as client:
        return sum(client.scard(key) for key in client.keys("dramatiq:__acks__.*.later.DQ"))


def test_a_restart_of_the_database_costs_nothing(
    tracked: Settings, exchange: Served, postgres: Server
) -> None:
    """The next price is stored at once: no dead connection sends it to the queue."""
    minute = this_minute()
    with quick_worker(tracked), warnings() as lines:
        tick(tracked, minute)
        wait_for(lambda: both_stored(tracked) and idle(tracked))
        kill(postgres)
        start_background(tracked)
        with psycopg.connect(tracked.database_dsn, autocommit=True) as conn:
            conn.execute("TRUNCATE prices")
        tick(tracked, minute)
        wait_for(lambda: both_stored(tracked) and idle(tracked), timeout=10)

    assert_stored(tracked, exchange, minute)
    assert not [line for line in lines if "is queued" in line]


def test_a_restart_of_the_database_in_the_middle_of_polls_costs_nothing(
    tracked: Settings, exchange: Served, postgres: Server
) -> None:
    """Connections that served the minute before are dead; the minute's own prices are stored."""
    minute = this_minute(spare=25)
    with quick_worker(tracked):
        tick(tracked, minute)
        wait_for(lambda: both_stored(tracked) and idle(tracked))
        with psycopg.connect(tracked.database_dsn, autocommit=True) as conn:
            conn.execute("TRUNCATE prices")
        order(exchange, "latency", delay=3.0, method="get_index_price")
        before = asked(exchange)
        tick(tracked, minute)
        wait_for(lambda: asked(exchange) == before + 2)
        kill(postgres)
        start_background(tracked)
        wait_for(lambda: both_stored(tracked) and idle(tracked))

    assert_stored(tracked, exchange, minute)


def test_a_stopped_worker_leaves_no_connection(tracked: Settings) -> None:
    """Its pool is open as long as it runs, and closed with it."""
    query = "SELECT FROM pg_stat_activity WHERE application_name = 'tracker-worker'"
    with psycopg.connect(tracked.database_dsn, autocommit=True) as conn:
        with quick_worker(tracked):
            tick(tracked, this_minute())
            wait_for(lambda: both_stored(tracked) and idle(tracked))
            assert conn.execute(query).rowcount >= 1
        wait_for(lambda: conn.execute(query).rowcount == 0, timeout=5)


def test_a_price_outlives_a_database_that_is_stopped(
    tracked: Settings, exchange: Served, postgres: Server
) -> None:
    """It does not hang up; the worker does, and tries again."""
    minute = this_minute()
    with quick_worker(tracked):
        with paused(postgres.pid()):
            tick(tracked, minute)
            wait_for(lambda: asked(exchange) == 2 and not polls(tracked))
        wait_for(lambda: both_stored(tracked) and idle(tracked))

    assert_stored(tracked, exchange, minute)


def test_a_restart_of_redis_costs_nothing(
    tracked: Settings, exchange: Served, queue: Server
) -> None:
    """Polls under way end well, and the next tick is served, in the same minute."""
    order(exchange, "latency", delay=1.0)
    minute = this_minute()
    with quick_worker(tracked):
        tick(tracked, minute)
        wait_for(lambda: asked(exchange) == 2)
        kill(queue)
        time.sleep(1)
        start_background(tracked)
        tick(tracked, minute)
        wait_for(lambda: both_stored(tracked) and idle(tracked))

    assert_stored(tracked, exchange, minute)


def test_a_pause_of_redis_costs_nothing(tracked: Settings, exchange: Served, queue: Server) -> None:
    """Time-outs are no other error to a consumer than a lost connection: none dies of it."""
    minute = this_minute()
    with quick_worker(tracked) as worker:
        with paused(queue.pid()):
            time.sleep(2)
        tick(tracked, minute)
        wait_for(lambda: both_stored(tracked) and idle(tracked))
        assert all(consumer.is_alive() for consumer in worker.consumers.values())

    assert_stored(tracked, exchange, minute)


def test_a_price_outlives_database_and_queue_together(
    tracked: Settings, exchange: Served, postgres: Server, queue: Server
) -> None:
    """Delayed until the database is back, and delayed again until the queue is."""
    minute = this_minute()
    with quick_worker(tracked) as worker:
        postgres.stop()
        tick(tracked, minute)
        wait_for(lambda: in_memory(tracked) == 2)
        kill(queue)
        time.sleep(1)
        start_background(tracked)
        wait_for(lambda: both_stored(tracked) and idle(tracked), timeout=30)
        assert all(consumer.is_alive() for consumer in worker.consumers.values())

    assert_stored(tracked, exchange, minute)


def test_a_long_outage_does_not_keep_polls_waiting(
    tracked: Settings, exchange: Served, postgres: Server
) -> None:
    """Two hundred prices wait for a stopped database; this minute's are fetched all the same."""
    minute = this_minute()
    with paused(postgres.pid()):
        for back in range(1, 201):
            late = (minute - back * MINUTE).isoformat()
            send(tracked, "store", "btc_usd", late, "1.00", late, queue="later")
        with quick_worker(tracked):
            tick(tracked, minute)
            wait_for(lambda: asked(exchange) == 2, timeout=8)


def test_an_emptied_queue_is_worked_on(tracked: Settings, exchange: Served) -> None:
    """What it held is gone; what comes is served."""
    minute = this_minute()
    with quick_worker(tracked), redis.from_url(tracked.broker_url) as client:
        client.flushall()
        client.script_flush()
        tick(tracked, minute + timedelta(seconds=1))
        wait_for(lambda: both_stored(tracked) and idle(tracked))

    assert_stored(tracked, exchange, minute)
