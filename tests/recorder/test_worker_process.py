"""Worker and scheduler as processes: started, signalled, killed, and started again."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from tests.support.database import create_database, make_settings, read_misses, read_polls
from tests.support.exchange import assert_true_polls, count_calls, inject_fault
from tests.support.waiting import current_minute, wait_until
from tests.support.worker import is_idle, send_message, send_tick
from tracker import migrations
from tracker.embedded.home import home_servers, start_background, stop_background
from tracker.settings import CHECKOUT, Settings
from tracker.simulator import Simulator
from tracker.simulator.prices import INDEX_NAMES
from tracker.times import MINUTE, minute_of

pytestmark = pytest.mark.slow

BOTH = ["btc_usd", "eth_usd"]
# The scheduler, with a clock that it first reads two seconds before the end of a minute.
SHORT_MINUTE = """
import functools, sys
import pendulum, periodiq
from tracker.cli import main
now = pendulum.now
ahead = functools.cache(lambda: pendulum.duration(seconds=58 - now().second))
periodiq.pendulum.now = lambda: now() + ahead()
sys.argv[1:] = ["scheduler"]
main()
"""


# The worker, with a heartbeat every half second.
FAST_HEARTBEATS = """
import sys
from tracker.cli import main
from tracker.recorder import worker
worker._HEARTBEAT_INTERVAL = 0.5
sys.argv[1:] = ["worker"]
main()
"""

# The same; SIGUSR1 takes its file descriptors away, SIGUSR2 gives them back.
OUT_OF_FILES = f"""
import resource, signal
[few, many] = [(count, resource.getrlimit(resource.RLIMIT_NOFILE)[1]) for count in (5, 256)]
signal.signal(signal.SIGUSR1, lambda *_: resource.setrlimit(resource.RLIMIT_NOFILE, few))
signal.signal(signal.SIGUSR2, lambda *_: resource.setrlimit(resource.RLIMIT_NOFILE, many))
{FAST_HEARTBEATS}"""


@dataclass
class Running:
    """A process and its log."""

    process: subprocess.Popen[bytes]
    output: Path

    def lines(self) -> list[dict[str, str]]:
        """The lines of its log, which are JSON objects."""
        return [json.loads(line) for line in self.output.read_text().splitlines()]

    def has_logged(self, start: str) -> bool:
        """Whether a message begins with *start*."""
        return any(line["message"].startswith(start) for line in self.lines())

    def stop(self, number: int = signal.SIGTERM, seconds: float = 15) -> float:
        """Signal it and wait for its end. Returns the seconds that took."""
        before = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(seconds)
        return time.monotonic() - before

    def status(self) -> str:
        """What the kernel knows of it: proc(5)."""
        return Path(f"/proc/{self.process.pid}/status").read_text()

    def memory(self) -> float:
        """Resident megabytes."""
        status = self.status()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@pytest.fixture
def tracked(database: Settings, live_exchange: Simulator) -> Settings:
    """Settings of that exchange, an empty queue and an empty database."""
    with redis.from_url(database.broker_url) as client:
        client.flushall()
    changes = {
        "client_base_url": live_exchange.url,
        "tickers": ",".join(BOTH),
        "log_format": "json",
    }
    return database.changed(**changes)


@contextmanager
def running(settings: Settings, folder: Path, *words: str) -> Iterator[Running]:
    """`python` with *words*, killed at the end if it still runs."""
    output = folder / f"{time.monotonic_ns()}.log"
    command = [sys.executable, *words]
    environment = settings.environment() | {"dramatiq_restart_delay": "500"}  # milliseconds
    with output.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=CHECKOUT, env=environment, stdout=stream, stderr=stream
        )
    try:
        yield Running(process, output)
    finally:
        process.kill()
        process.wait()


@contextmanager
def worker(settings: Settings, folder: Path) -> Iterator[Running]:
    """A worker that has started."""
    with running(settings, folder, "-m", "tracker", "worker") as process:
        wait_until(lambda: process.has_logged("polling "))
        yield process


def test_worker_ends_once_a_newer_version_migrates(servers: Settings, tmp_path: Path) -> None:
    with create_database(servers) as settings:
        migrations.apply(settings.database_dsn)
        with (
            running(
                settings.changed(log_format="json"), tmp_path, "-c", FAST_HEARTBEATS
            ) as process,
            psycopg.connect(settings.database_dsn, autocommit=True) as conn,
        ):
            wait_until(lambda: conn.execute("SELECT FROM internal.heartbeats").rowcount)
            conn.execute(
                "INSERT INTO _yoyo_migration (migration_hash, migration_id, applied_at_utc)"
                " VALUES ('f', '0099.future', now())"
            )
            process.process.wait(15)

    *log, reason = process.output.read_text().splitlines()
    assert process.process.returncode == 1
    assert "stopping" in [json.loads(line)["message"] for line in log]
    assert reason.startswith("tracker: database ")
    assert "has migrations of a newer version: 0099.future" in reason


def test_worker_without_file_descriptors_recovers(
    tracked: Settings, conn: psycopg.Connection, tmp_path: Path
) -> None:
    """Its heartbeats go on as soon as it has some again."""
    newer = "SELECT FROM internal.heartbeats WHERE part = 'worker' AND at > %s"
    with running(tracked, tmp_path, "-c", OUT_OF_FILES) as process:
        wait_until(lambda: process.has_logged("polling"))
        process.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: process.has_logged("the worker's heartbeat failed: [Errno 24]"))
        process.process.send_signal(signal.SIGUSR2)
        row = conn.execute("SELECT clock_timestamp()").fetchone()
        wait_until(lambda: conn.execute(newer, row).rowcount)


def test_worker_stores_prices_until_sigterm(
    tracked: Settings, conn: psycopg.Connection, live_exchange: Simulator, tmp_path: Path
) -> None:
    """It logs ticker and minute of each price, stays small, and exits 0 at once."""
    with worker(tracked, tmp_path) as process:
        minute = current_minute()
        send_tick(tracked, minute)
        wait_until(lambda: len(read_polls(conn)) == 2 and is_idle(tracked))
        memory, took = process.memory(), process.stop()

    assert read_polls(conn) == [(ticker, minute) for ticker in BOTH]
    assert_true_polls(conn, live_exchange)
    stored = [line for line in process.lines() if line["message"] == "stored"]
    assert {line["ticker"] for line in stored} == set(BOTH)
    assert {line["minute"] for line in stored} == {minute.isoformat()}
    assert {line["process"] for line in process.lines()} == {"worker"}
    assert process.lines()[-1]["message"] == "stopping"
    assert process.process.returncode == 0
    assert (memory < 110, took < 5) == (True, True), (memory, took)


def test_worker_polls_what_patterns_select(
    tracked: Settings, conn: psycopg.Connection, tmp_path: Path
) -> None:
    """Also at its first start, when it knows no index yet; each has a thread."""
    names = sorted(name for name in INDEX_NAMES if name.endswith("_usdc"))
    with worker(tracked.changed(tickers="*_usdc"), tmp_path) as process:
        wait_until(lambda: process.has_logged(f"also polling {', '.join(names)}"))
        minute = current_minute()
        send_tick(tracked, minute)
        wait_until(lambda: len(read_polls(conn)) == len(names))
        threads = int(re.findall(r"Threads:\s+(\d+)", process.status())[0])

    assert read_polls(conn) == [(ticker, minute) for ticker in names]
    assert process.lines()[0]["message"].startswith("polling no index yet from http://")
    assert threads > len(names)


def test_signal_during_poll_ends_worker(
    tracked: Settings, live_exchange: Simulator, tmp_path: Path
) -> None:
    """In time, also at a second signal; the poll is no miss, and its message remains."""
    inject_fault(live_exchange, "timeout", method="get_index_price")
    other = tracked.changed(redis_celery_broker_db=2)
    with worker(tracked, tmp_path) as once, worker(other, tmp_path) as twice:
        minute = minute_of(datetime.now(UTC)) + MINUTE  # a poll that ends later than this test
        for settings in (tracked, other):
            send_message(settings, "poll", "btc_usd", minute.isoformat())
        wait_until(lambda: count_calls(live_exchange) == 2)
        twice.process.send_signal(signal.SIGINT)
        once.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        took = twice.stop(signal.SIGTERM)
        once.process.wait(5)

    assert took < 12
    for process in (once, twice):
        assert process.process.returncode == 0
        assert not any("exception" in line for line in process.lines())
    with psycopg.connect(tracked.database_dsn) as conn:
        assert (read_polls(conn), read_misses(conn), is_idle(tracked)) == ([], [], False)


def test_killed_worker_does_not_block_the_next(
    tracked: Settings, conn: psycopg.Connection, live_exchange: Simulator, tmp_path: Path
) -> None:
    """It dies during a poll; the repeated message stores the price once."""
    inject_fault(live_exchange, "timeout", method="get_index_price", calls=1)
    with worker(tracked, tmp_path) as process:
        minute = current_minute(spare=15)  # the start of another worker
        send_message(tracked, "poll", "btc_usd", minute.isoformat())
        wait_until(lambda: count_calls(live_exchange) == 1)
        process.stop(signal.SIGKILL)
    with worker(tracked, tmp_path):
        for _ in range(2):
            send_message(tracked, "poll", "btc_usd", minute.isoformat())
        wait_until(lambda: read_polls(conn))

    assert read_polls(conn) == [("btc_usd", minute)]
    assert read_misses(conn) == []


def test_worker_waits_for_unavailable_servers(
    live_exchange: Simulator, open_tmp: Path, tmp_path: Path
) -> None:
    """Without queue and exchange at its start it logs a line for each, without a traceback."""
    own = make_settings(open_tmp / "late", log_format="json", client_base_url=live_exchange.url)
    inject_fault(live_exchange, "maintenance", calls=1)
    with worker(own, tmp_path) as process:
        wait_until(lambda: process.has_logged("the names in TICKERS could not be checked: "))
        wait_until(lambda: process.has_logged("Consumer encountered a connection error: "))
        try:
            start_background(own.changed(postgres_host="none"))
            send_tick(own, datetime.now(UTC))
            wait_until(lambda: count_calls(live_exchange) == 2)
        finally:
            stop_background(own.changed(postgres_host="none"))
        process.stop()

    assert process.process.returncode == 0
    assert not any("exception" in line for line in process.lines())


def read_queue(settings: Settings) -> list[dict[str, Any]]:
    """The messages in the queue."""
    with redis.from_url(settings.broker_url) as client:
        return [json.loads(message) for message in client.hvals("dramatiq:default.msgs")]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_scheduler_sends_tick_at_its_start(
    tracked: Settings, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """For the current minute; a signal ends it, without a line in the log."""
    first = minute_of(datetime.now(UTC))
    with running(tracked, tmp_path, "-m", "tracker", "scheduler") as process:
        wait_until(lambda: read_queue(tracked))
        memory, took = process.memory(), process.stop(number)

    [message] = read_queue(tracked)
    scheduled = datetime.fromisoformat(message["options"]["scheduled_at"])
    assert message["actor_name"] == "tick"
    assert first <= minute_of(scheduled) <= datetime.now(UTC)
    assert process.process.returncode == code
    assert process.lines() == []
    assert (memory < 110, took < 5) == (True, True), (memory, took)


def test_scheduler_that_loses_redis_exits_at_next_tick(open_tmp: Path, tmp_path: Path) -> None:
    """It sends the first tick, and fails to send the second."""
    own = make_settings(open_tmp / "ticking", log_format="json", postgres_host="none")
    (server,) = home_servers(own)
    start_background(own)
    try:
        with running(own, tmp_path, "-c", SHORT_MINUTE) as process:
            wait_until(lambda: len(read_queue(own)) == 1)
            server.stop()
            assert process.process.wait(20) == 1
    finally:
        stop_background(own)

    assert [line["message"].partition(":")[0] for line in process.lines()] == [
        "the tick could not be sent"
    ]


def test_scheduler_sends_tick_at_start_of_next_minute(tracked: Settings, tmp_path: Path) -> None:
    """By the scheduler's clock."""
    with running(tracked, tmp_path, "-c", SHORT_MINUTE):
        wait_until(lambda: len(read_queue(tracked)) == 2)

    times = sorted(message["options"]["scheduled_at"] for message in read_queue(tracked))
    assert datetime.fromisoformat(times[1]).second == 0
