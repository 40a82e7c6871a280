"""Whole processes with a clock that is wrong at their start and corrected later: libfaketime."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import redis

from tests.support.database import read_misses, read_polls
from tests.support.exchange import assert_true_polls
from tests.support.waiting import current_minute, wait_until
from tests.support.worker import send_tick
from tracker.settings import CHECKOUT, Settings
from tracker.simulator import Simulator
from tracker.times import HOUR, MINUTE

# libfaketime 0.9.10 fakes no monotonic clock on request, but fails in the sleep that Python uses.
SLEEP = "import select, time; time.sleep = lambda seconds: select.select([], [], [], seconds)"
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not LIBRARIES, reason="libfaketime is not installed: apt install libfaketime"
    ),
]


@contextmanager
def run_recorder(settings: Settings, offset: Path, log: Path) -> Iterator[None]:
    """Run worker and scheduler under a supervisor, with the clock that is *offset*, a file, off."""
    log.with_name("sitecustomize.py").write_text(SLEEP)
    variables = {
        "PYTHONPATH": str(log.parent),
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    command = [sys.executable, "-m", "tracker", "dev-worker"]
    environment = settings.environment() | variables
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=CHECKOUT, env=os.environ | environment, stdout=stream, stderr=stream
        )
    try:
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@pytest.mark.parametrize("days", [400, -3])
def test_recorder_outlives_a_wrong_clock_at_boot(
    database: Settings,
    conn: psycopg.Connection,
    live_exchange: Simulator,
    open_tmp: Path,
    days: int,
) -> None:
    """It stores no price until the clock is right, and continues then without a hand.

    On a slow machine it may record a miss before the exchange's first response; that goes too.
    """
    settings = database.changed(client_base_url=live_exchange.url, log_format="plain")
    with redis.from_url(settings.broker_url) as queue:
        queue.flushdb()
    folder = open_tmp / f"clock{days}"
    folder.mkdir()
    offset, log = folder / "offset", folder / "log"
    offset.write_text(f"{days:+}d\n")

    def lines() -> str:
        return log.read_text()

    with run_recorder(settings, offset, log):
        wait_until(lambda: lines().count("not recorded as missed") >= 2, 60, lines)
        assert conn.execute("TABLE prices").fetchall() == []
        offset.write_text("+0d\n")
        changed = "was set back by" if days > 0 else "was set forward"
        wait_until(lambda: f"this machine's clock {changed}" in lines(), 60, lines)
        minute = current_minute(spare=20)
        send_tick(settings, minute)
        wait_until(lambda: len([at for _, at in read_polls(conn) if at >= minute]) >= 2, 60, lines)

    assert_true_polls(conn, live_exchange)
    assert read_misses(conn) == []
    starts = [since for (since,) in conn.execute("SELECT since FROM tickers")]
    assert all(timedelta() < datetime.now(UTC) - since < HOUR + 5 * MINUTE for since in starts)
