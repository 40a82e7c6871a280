"""Worker and scheduler as processes of their own: started, signalled, killed, and started again."""

import json
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
)
from tracker.embedded.home import home_servers, start_background, stop_background
from tracker.settings import CHECKOUT, Settings
from tracker.simulator import Options, Served, serve
from tracker.times import minute_of

pytestmark = pytest.mark.slow

BOTH = ["btc_usd", "eth_usd"]
# The scheduler with a clock that stands two seconds before a minute when it first looks.
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


@dataclass
class Running:
    """A process of ours and what it says."""

    process: subprocess.Popen[bytes]
    output: Path

    def lines(self) -> list[dict[str, str]]:
        """Its log: every line is a JSON object."""
        return [json.loads(line) for line in self.output.read_text().splitlines()]

    def says(self, words: str) -> bool:
        """Whether one of its lines begins so."""
        return any(line["message"].startswith(words) for line in self.lines())

    def stop(self, number: int = signal.SIGTERM, seconds: float = 15) -> float:
        """Signal it and wait: how many seconds that took."""
        before = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(seconds)
        return time.monotonic() - before

    def memory(self) -> float:
        """Resident megabytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@pytest.fixture
def exchange() -> Iterator[Served]:
    """A stand-in without faults."""
    with serve(Options(seed=17)) as served:
        yield served


@pytest.fixture
def tracked(database: Settings, exchange: Served) -> Settings:
    """Settings that lead to an empty queue, an empty database and the stand-in."""
    with redis.from_url(database.broker_url) as client:
        client.flushall()
    changes = {"client_base_url": exchange.url, "tickers": ",".join(BOTH), "log_format": "json"}
    return database.changed(**changes)


@contextmanager
def running(settings: Settings, folder: Path, *words: str) -> Iterator[Running]:
    """`python` with those words, killed at the end if it still runs."""
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
        wait_for(lambda: process.says("polling btc_usd, eth_usd from http://127.0.0.1"))
        yield process


def test_a_worker_works_and_ends_when_told(
    tracked: Settings, conn: psycopg.Connection, exchange: Served, tmp_path: Path
) -> None:
    """Rows from a tick; a line for each with ticker and minute; small; quickly gone, exit 0."""
    with worker(tracked, tmp_path) as process:
        minute = this_minute()
        tick(tracked, minute)
        wait_for(lambda: len(rows(conn)) == 2 and idle(tracked))
        memory, took = process.memory(), process.stop()

    assert rows(conn) == [(ticker, minute) for ticker in BOTH]
    assert_true(conn, exchange)
    stored = [line for line in process.lines() if line["message"] == "stored"]
    assert {line["ticker"] for line in stored} == set(BOTH)
    assert {line["minute"] for line in stored} == {minute.isoformat()}
    assert {line["process"] for line in process.lines()} == {"worker"}
    assert process.lines()[-1]["message"] == "stopping"
    assert process.process.returncode == 0
    assert (memory < 110, took < 5) == (True, True), (memory, took)


def test_a_signal_in_the_middle_of_a_poll_ends_it(
    tracked: Settings, exchange: Served, tmp_path: Path
) -> None:
    """In time, told twice too; the poll's end is no miss, and its message is not lost."""
    order(exchange, "timeout", method="get_index_price")
    other = tracked.changed(redis_celery_broker_db=2)
    with worker(tracked, tmp_path) as once, worker(other, tmp_path) as twice:
        minute = this_minute(spare=25)  # time for a second try of each
        for settings in (tracked, other):
            send(settings, "poll", "btc_usd", minute.isoformat())
        wait_for(lambda: asked(exchange) == 4)
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
        assert (rows(conn), misses(conn), idle(tracked)) == ([], [], False)


def test_a_killed_worker_leaves_nothing_that_hinders_the_next(
    tracked: Settings, conn: psycopg.Connection, exchange: Served, tmp_path: Path
) -> None:
    """In the middle of a poll; the same message again, and the price is there, once."""
    order(exchange, "timeout", method="get_index_price", calls=1)
    with worker(tracked, tmp_path) as process:
        minute = this_minute(spare=30)  # a call that times out, and the start of another worker
        send(tracked, "poll", "btc_usd", minute.isoformat())
        wait_for(lambda: asked(exchange) == 2)
        process.stop(signal.SIGKILL)
    with worker(tracked, tmp_path):
        for _ in range(2):
            send(tracked, "poll", "btc_usd", minute.isoformat())
        wait_for(lambda: rows(conn))

    assert rows(conn) == [("btc_usd", minute)]
    assert misses(conn) == []


def test_a_worker_waits_for_servers_that_are_away(
    exchange: Served, open_tmp: Path, tmp_path: Path
) -> None:
    """Neither queue nor exchange at its start: a line for each, no traceback, and it goes on."""
    own = make_settings(open_tmp / "late", log_format="json", client_base_url=exchange.url)
    order(exchange, "maintenance", calls=1)
    with worker(own, tmp_path) as process:
        wait_for(lambda: process.says("the names in TICKERS could not be checked: "))
        wait_for(lambda: process.says("Consumer encountered a connection error: "))
        try:
            start_background(own.changed(postgres_host="none"))
            tick(own, datetime.now(UTC))
            wait_for(lambda: asked(exchange) == 2)
        finally:
            stop_background(own.changed(postgres_host="none"))
        process.stop()

    assert process.process.returncode == 0
    assert not any("exception" in line for line in process.lines())


def queued(settings: Settings) -> list[dict[str, Any]]:
    """The messages that wait in the queue."""
    with redis.from_url(settings.broker_url) as client:
        return [json.loads(message) for message in client.hvals("dramatiq:default.msgs")]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_the_scheduler_ticks_at_once(
    tracked: Settings, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """For the present minute; told to end, it does."""
    minute = this_minute()
    with running(tracked, tmp_path, "-m", "tracker", "scheduler") as process:
        wait_for(lambda: queued(tracked))
        memory, took = process.memory(), process.stop(number)

    (message,) = queued(tracked)
    scheduled = datetime.fromisoformat(message["options"]["scheduled_at"])
    assert (message["actor_name"], minute_of(scheduled)) == ("tick", minute)
    assert process.process.returncode == code
    assert process.lines() == []
    assert (memory < 110, took < 5) == (True, True), (memory, took)


def test_the_scheduler_ends_if_redis_is_away_at_its_start(tmp_path: Path) -> None:
    """Exit 1 in one line: whoever supervises it starts it again."""
    away = make_settings(tmp_path / "nowhere", log_format="json")
    with running(away, tmp_path, "-m", "tracker", "scheduler") as process:
        assert process.process.wait(20) == 1

    (line,) = process.lines()
    assert line["message"].startswith("the tick could not be sent: ")
    assert line["process"] == "scheduler"


def test_the_scheduler_ends_if_redis_is_away_at_a_tick(open_tmp: Path, tmp_path: Path) -> None:
    """The next tick in time, the one after it in vain."""
    own = make_settings(open_tmp / "ticking", log_format="json", postgres_host="none")
    (server,) = home_servers(own)
    start_background(own)
    try:
        with running(own, tmp_path, "-c", SHORT_MINUTE) as process:
            wait_for(lambda: len(queued(own)) == 1)
            server.stop()
            assert process.process.wait(20) == 1
    finally:
        stop_background(own)

    assert [line["message"].partition(":")[0] for line in process.lines()] == [
        "the tick could not be sent"
    ]


def test_a_tick_comes_each_minute(tracked: Settings, tmp_path: Path) -> None:
    """At its start, by the scheduler's clock."""
    with running(tracked, tmp_path, "-c", SHORT_MINUTE):
        wait_for(lambda: len(queued(tracked)) == 2)

    times = sorted(message["options"]["scheduled_at"] for message in queued(tracked))
    assert datetime.fromisoformat(times[1]).second == 0
