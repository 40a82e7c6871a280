"""Chaos, the long version (`just chaos`): the database, the queue and the disk fail."""

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

from tests.support.chaos.demo import TWELVE_TICKERS, ChaosDemo, run_chaos_demo

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

SEED = 20261122
TICKERS = TWELVE_TICKERS


def test_flushed_and_killed_queue_recovers(demo: ChaosDemo) -> None:
    """Redis loses its scripts too."""
    with demo.chaos(SEED):
        demo.start_slow_polls()
        with redis.from_url(demo.settings.broker_url) as client:
            client.flushall()
            client.script_flush()
        demo.start_slow_polls()
        with redis.from_url(demo.settings.broker_url) as client:
            client.flushall()
        demo.kill("redis")


def test_prices_observed_during_a_database_outage_are_stored_later(demo: ChaosDemo) -> None:
    with demo.chaos(SEED):
        with demo.paused_scheduler() as minute:
            demo.start_slow_polls(1)
            down_until = time.monotonic() + 8
            while time.monotonic() < down_until:
                demo.kill("postgres")
                time.sleep(0.05)
        demo.wait_until(demo.is_running)
        demo.wait_until(demo.is_idle)
        assert demo.is_polled(minute)


def test_api_responds_while_all_connections_are_taken(demo: ChaosDemo) -> None:
    with demo.chaos(SEED), ExitStack() as connections:
        with suppress(psycopg.OperationalError):
            while True:
                connections.enter_context(demo.connect())
        demo.send_tick()
        demo.wait_until(lambda: "sorry, too many clients already" in demo.recipe.output())
        assert demo.recipe.responds("/prices/last?ticker=btc_usd")


def test_requests_behind_a_lock_time_out(demo: ChaosDemo) -> None:
    with demo.chaos(SEED), demo.connect() as conn, ThreadPoolExecutor(60) as threads:
        with conn.transaction():
            conn.execute("LOCK TABLE prices IN ACCESS EXCLUSIVE MODE")
            demo.send_tick()
            responses = [threads.submit(fetch_status, demo) for _ in range(60)]
            statuses = {response.result(10) for response in responses}
            assert demo.recipe.responds("/health/live")
            time.sleep(6)  # longer than the worker's statement may take
        assert statuses == {(503, True)}


def fetch_status(demo: ChaosDemo) -> tuple[int, bool]:
    """The status of a response, and whether it has Retry-After."""
    url = demo.recipe.api.base_url.join("prices?ticker=btc_usd")
    response = httpx.get(url, timeout=8)
    return response.status_code, "Retry-After" in response.headers


def test_full_disk_recovers(open_tmp: Path) -> None:
    folder = open_tmp / "chaos-disk"
    with (
        small_file_system(folder / "home", "250m") as disk,
        run_chaos_demo(folder) as demo,
        demo.chaos(SEED),
    ):
        ballast = disk / "ballast"
        fill_disk(ballast)
        demo.try_tick()
        with suppress(redis.RedisError), redis.from_url(demo.settings.broker_url) as client:
            for _ in range(100):
                client.set("much", "x" * 100_000)
        with suppress(psycopg.Error), demo.connect() as conn:
            for _ in range(100):
                conn.execute("SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000000))")
                conn.execute("SELECT pg_switch_wal()")
        for pattern in (r"MISCONF Errors writing", r"postgres .* PANIC: .*No space left on device"):
            demo.wait_until(lambda pattern=pattern: re.search(pattern, demo.recipe.output()))
        time.sleep(5)
        ballast.unlink()


@contextmanager
def small_file_system(folder: Path, size: str) -> Iterator[Path]:
    """A tmpfs of that size; skips the test where the machine allows none."""
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


def fill_disk(ballast: Path) -> None:
    """Write until no byte fits."""
    with ballast.open("wb", buffering=0) as stream:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while True:
                    os.write(stream.fileno(), b"\0" * size)
