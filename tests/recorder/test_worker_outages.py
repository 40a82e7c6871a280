"""The worker during outages of database and queue: it loses no price, and stores none twice."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import dramatiq
import psycopg
import pytest
import redis

from tests.support.clock import NOON, ManualClock
from tests.support.database import make_settings, read_misses, read_polls
from tests.support.exchange import assert_true_polls, count_calls, inject_fault
from tests.support.logs import capture_log
from tests.support.processes import pause_process
from tests.support.waiting import wait_until
from tests.support.worker import is_idle, running_worker, send_message, send_tick
from tracker import migrations
from tracker.database import Timeouts
from tracker.embedded.home import home_servers, start_background, stop_background
from tracker.embedded.servers import Server
from tracker.settings import Settings
from tracker.simulator import Simulator
from tracker.times import MINUTE

pytestmark = pytest.mark.slow

BOTH = ["btc_usd", "eth_usd"]


@pytest.fixture(scope="module")
def own_servers(open_tmp: Path) -> Iterator[Settings]:
    """Servers of these tests, which may be stopped."""
    settings = make_settings(open_tmp / "outage")
    try:
        start_background(settings)
        migrations.apply(settings.database_dsn)
        yield settings
    finally:
        stop_background(settings)


@pytest.fixture
def tracked(own_servers: Settings, exchange: Simulator) -> Settings:
    """Settings of those servers, running and empty, and of the exchange."""
    start_background(own_servers)
    with redis.from_url(own_servers.broker_url) as client:
        client.flushdb()
    with psycopg.connect(own_servers.database_dsn, autocommit=True) as conn:
        conn.execute("TRUNCATE tickers, prices, misses, candles_1h RESTART IDENTITY")
    return own_servers.changed(client_base_url=exchange.url, tickers=",".join(BOTH))


@pytest.fixture(autouse=True)
def short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let dramatiq reconnect sooner than in production."""
    monkeypatch.setattr("dramatiq.worker.CONSUMER_RESTART_DELAY_SECS", 0.5)
    monkeypatch.setattr("dramatiq.worker.POST_PROCESS_MESSAGE_RETRY_DELAY_SECS", 0.5)


Worker = Callable[[], AbstractContextManager[dramatiq.Worker]]


@pytest.fixture
def worker(tracked: Settings, clock: ManualClock) -> Worker:
    """A worker with shorter timeouts."""
    timeouts = Timeouts(connect=2, response=2)
    return partial(running_worker, tracked, clock, timeouts=timeouts, redis_timeout=0.5)


@pytest.fixture
def postgres(own_servers: Settings) -> Server:
    """The database server."""
    return home_servers(own_servers)[0]


@pytest.fixture
def queue(own_servers: Settings) -> Server:
    """The queue's server."""
    return home_servers(own_servers)[1]


def kill(server: Server) -> None:
    """Kill *server*."""
    os.kill(server.pid() or 0, signal.SIGKILL)
    assert server.wait_stopped()


def both_stored(settings: Settings) -> bool:
    """Whether both indexes have a price."""
    with psycopg.connect(settings.database_dsn) as conn:
        return len(read_polls(conn)) == 2


def assert_stored(settings: Settings, exchange: Simulator) -> None:
    """Noon has the exchange's true prices; no miss is recorded and no message left."""
    with psycopg.connect(settings.database_dsn) as conn:
        assert read_polls(conn) == [(ticker, NOON) for ticker in BOTH]
        assert read_misses(conn) == []
        assert_true_polls(conn, exchange)
    assert is_idle(settings)


def test_price_survives_restart_of_database(
    tracked: Settings, exchange: Simulator, postgres: Server, worker: Worker
) -> None:
    """It is fetched during the outage and stored afterwards, once, under its own minute."""
    with worker():
        postgres.stop()
        send_tick(tracked, NOON)
        wait_until(lambda: count_calls(exchange) == 2 and not count_polls(tracked))
        start_background(tracked)
        wait_until(lambda: both_stored(tracked) and is_idle(tracked))

    assert_stored(tracked, exchange)


def count_polls(settings: Settings) -> int:
    """The number of ticks and polls that are queued or in work."""
    with redis.from_url(settings.broker_url) as client:
        return int(client.hlen("dramatiq:default.msgs"))


def count_delayed(settings: Settings) -> int:
    """The number of delayed messages in the worker's memory, which are unfinished in the queue."""
    with redis.from_url(settings.broker_url) as client:
        return sum(client.scard(key) for key in client.keys("dramatiq:__acks__.*.later.DQ"))


def test_price_after_restart_of_database_is_stored_at_once(
    tracked: Settings, exchange: Simulator, postgres: Server, worker: Worker
) -> None:
    """The pool replaces its dead connections, and no price is queued."""
    with worker(), capture_log("WARNING") as lines:
        send_tick(tracked, NOON)
        wait_until(lambda: both_stored(tracked) and is_idle(tracked))
        kill(postgres)
        start_background(tracked)
        with psycopg.connect(tracked.database_dsn, autocommit=True) as conn:
            conn.execute("TRUNCATE prices")
        send_tick(tracked, NOON)
        wait_until(lambda: both_stored(tracked) and is_idle(tracked))

    assert_stored(tracked, exchange)
    assert not [line for line in lines if "is queued" in line]


def test_restart_of_database_during_polls_loses_no_price(
    tracked: Settings, exchange: Simulator, postgres: Server, worker: Worker
) -> None:
    """The connections of the previous minute are dead; the prices are stored all the same."""
    with worker():
        send_tick(tracked, NOON)
        wait_until(lambda: both_stored(tracked) and is_idle(tracked))
        with psycopg.connect(tracked.database_dsn, autocommit=True) as conn:
            conn.execute("TRUNCATE prices")
        inject_fault(exchange, "latency", delay=3.0, method="get_index_price")
        before = count_calls(exchange)
        send_tick(tracked, NOON)
        wait_until(lambda: count_calls(exchange) == before + 2)
        kill(postgres)
        start_background(tracked)
        wait_until(lambda: both_stored(tracked) and is_idle(tracked))

    assert_stored(tracked, exchange)


def test_stopped_worker_closes_its_connections(tracked: Settings, worker: Worker) -> None:
    """Its pool is open only as long as it runs."""
    query = "SELECT FROM pg_stat_activity WHERE application_name = 'tracker-worker'"
    with psycopg.connect(tracked.database_dsn, autocommit=True) as conn:
        with worker():
            send_tick(tracked, NOON)
            wait_until(lambda: both_stored(tracked) and is_idle(tracked))
            assert conn.execute(query).rowcount >= 1
        wait_until(lambda: conn.execute(query).rowcount == 0)


def test_price_survives_unresponsive_database(
    tracked: Settings, exchange: Simulator, postgres: Server, worker: Worker
) -> None:
    """The worker closes the connection, and retries."""
    with worker():
        with pause_process(postgres.pid()):
            send_tick(tracked, NOON)
            wait_until(lambda: count_calls(exchange) == 2 and not count_polls(tracked))
        wait_until(lambda: both_stored(tracked) and is_idle(tracked))

    assert_stored(tracked, exchange)


def test_price_survives_restart_of_redis(
    tracked: Settings, exchange: Simulator, queue: Server, worker: Worker
) -> None:
    """Polls in work succeed, and so does the next tick of the same minute."""
    inject_fault(exchange, "latency", delay=1.0)
    with worker():
        send_tick(tracked, NOON)
        wait_until(lambda: count_calls(exchange) == 2)
        kill(queue)
        time.sleep(1)
        start_background(tracked)
        send_tick(tracked, NOON)
        wait_until(lambda: both_stored(tracked) and is_idle(tracked))

    assert_stored(tracked, exchange)


def test_consumers_survive_unresponsive_redis(
    tracked: Settings, exchange: Simulator, queue: Server, worker: Worker
) -> None:
    """A timeout is handled as a lost connection is."""
    with worker() as running:
        with pause_process(queue.pid()):
            time.sleep(2)
        send_tick(tracked, NOON)
        wait_until(lambda: both_stored(tracked) and is_idle(tracked))
        assert all(consumer.is_alive() for consumer in running.consumers.values())

    assert_stored(tracked, exchange)


def test_price_survives_outage_of_database_and_queue(
    tracked: Settings, exchange: Simulator, postgres: Server, queue: Server, worker: Worker
) -> None:
    """It is delayed until the database is available, and again until the queue is."""
    with worker() as running:
        postgres.stop()
        send_tick(tracked, NOON)
        wait_until(lambda: count_delayed(tracked) == 2)
        kill(queue)
        time.sleep(1)
        start_background(tracked)
        wait_until(lambda: both_stored(tracked) and is_idle(tracked))
        assert all(consumer.is_alive() for consumer in running.consumers.values())

    assert_stored(tracked, exchange)


def test_backlog_does_not_delay_polls(
    tracked: Settings, exchange: Simulator, postgres: Server, worker: Worker
) -> None:
    """Two hundred prices wait for an unresponsive database; new ones are fetched at once."""
    with pause_process(postgres.pid()):
        for back in range(1, 201):
            late = (NOON - back * MINUTE).isoformat()
            send_message(tracked, "store", "btc_usd", late, "1.00", late, queue="later")
        with worker():
            send_tick(tracked, NOON)
            wait_until(lambda: count_calls(exchange) == 2)
