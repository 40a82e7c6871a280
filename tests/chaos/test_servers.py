"""Chaos, the long version (`just chaos`): database, queue and disk fail those who need them."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import psycopg
import pytest
import redis

from tests.support.chaos import TWELVE, Tracked, tracking

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

SEED = 20261122


@pytest.fixture(scope="module")
def tracked(open_tmp: Path) -> Iterator[Tracked]:
    """A demo of twelve indexes that has recorded its first hour."""
    with tracking(open_tmp / "chaos-servers", TICKERS=TWELVE) as tracked:
        yield tracked


def test_the_queue_is_emptied_and_killed(tracked: Tracked) -> None:
    """In the middle of polls; its scripts are gone too."""
    with tracked.chaos(SEED):
        tracked.mid_poll()
        with redis.from_url(tracked.settings.broker_url) as client:
            client.flushall()
            client.script_flush()
        tracked.mid_poll()
        with redis.from_url(tracked.settings.broker_url) as client:
            client.flushall()
        tracked.kill("redis")


def test_the_database_is_away_during_polls(tracked: Tracked) -> None:
    """Whatever was observed meanwhile is stored when it is back, under its own minute."""
    with tracked.chaos(SEED):
        with tracked.calm() as minute:
            tracked.mid_poll(1)
            down_until = time.monotonic() + 8
            while time.monotonic() < down_until:
                tracked.kill("postgres")
                time.sleep(0.05)
        tracked.wait_for(tracked.alive)
        tracked.wait_for(tracked.idle)
        assert tracked.polled(minute)


def test_no_connection_is_left(tracked: Tracked) -> None:
    """The API serves with those it has; the worker waits for one."""
    with tracked.chaos(SEED), ExitStack() as held:
        with suppress(psycopg.OperationalError):
            while True:
                held.enter_context(tracked.connected())
        tracked.tick()
        tracked.wait_for(lambda: "sorry, too many clients already" in tracked.demo.output())
        assert tracked.demo.asks("/prices/last?ticker=btc_usd")


def test_every_request_waits_for_a_lock(tracked: Tracked) -> None:
    """Each is told soon that it is in vain; the process itself is well."""
    with tracked.chaos(SEED), tracked.connected() as conn, ThreadPoolExecutor(60) as crowd:
        with conn.transaction():
            conn.execute("LOCK TABLE prices IN ACCESS EXCLUSIVE MODE")
            tracked.tick()
            answers = [crowd.submit(status, tracked) for _ in range(60)]
            told = {answer.result(10) for answer in answers}
            assert tracked.demo.asks("/health/live")
            time.sleep(6)  # longer than the worker's statement may take
        assert told == {(503, True)}


def status(tracked: Tracked) -> tuple[int, bool]:
    """What a request is told, and whether when to come back."""
    url = tracked.demo.api.base_url.join("prices?ticker=btc_usd")
    answer = httpx.get(url, timeout=8)
    return answer.status_code, "Retry-After" in answer.headers


def test_the_disk_is_full(open_tmp: Path) -> None:
    """Neither database nor queue can write; when there is room again, all is well."""
    folder = open_tmp / "chaos-disk"
    with (
        small_disk(folder / "home", "250m") as disk,
        tracking(folder) as tracked,
        tracked.chaos(SEED),
    ):
        ballast = disk / "ballast"
        fill(ballast)
        tracked.ticked()
        with suppress(redis.RedisError), redis.from_url(tracked.settings.broker_url) as client:
            for _ in range(100):
                client.set("much", "x" * 100_000)
        with suppress(psycopg.Error), tracked.connected() as conn:
            for _ in range(100):
                conn.execute("SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000000))")
                conn.execute("SELECT pg_switch_wal()")
        for said in (r"MISCONF Errors writing", r"postgres .* PANIC: .*No space left on device"):
            tracked.wait_for(lambda said=said: re.search(said, tracked.demo.output()))
        time.sleep(5)
        ballast.unlink()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of that size, where the machine allows one."""
    folder.mkdir(parents=True)
    options = ["-o", f"size={size},mode=755"]
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", *options, "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine allows no small tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(ballast: Path) -> None:
    """Write until nothing goes any more."""
    with ballast.open("wb", buffering=0) as stream:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while True:
                    os.write(stream.fileno(), b"\0" * size)
