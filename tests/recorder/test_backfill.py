"""`tracker backfill`: it stores the minutes of charts once, and prints their number."""

import os
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest

from tests.support.exchange import clear_faults, inject_fault
from tracker.settings import Settings
from tracker.simulator import Simulator, running_simulator

pytestmark = pytest.mark.slow


@pytest.fixture
def exchange() -> Iterator[Simulator]:
    """A simulated exchange without faults, on this machine's clock."""
    with running_simulator() as simulator:
        yield simulator


def backfill(
    settings: Settings, exchange: Simulator, *words: str
) -> subprocess.CompletedProcess[str]:
    env = settings.changed(client_base_url=exchange.url).environment()
    return subprocess.run(
        [sys.executable, "-m", "tracker", "backfill", *words],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def count(conn: psycopg.Connection, where: str) -> int:
    row = conn.execute(f"SELECT count(*) FROM prices WHERE {where}").fetchone()
    assert row
    return int(row[0])


def test_backfill_is_idempotent(
    database: Settings, exchange: Simulator, conn: psycopg.Connection
) -> None:
    """The second run adds only minutes that began after the first one."""
    words = ("--ticker", "btc_usd", "--range", "2d", "--range", "1h")
    first = backfill(database, exchange, *words)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith(
        "btc_usd 2d: added 576, 0 were there already\nbtc_usd 1h: added "
    )
    assert count(conn, "ticker <> 'btc_usd' OR source <> 'chart'") == 0
    before = count(conn, "true")

    second = backfill(database, exchange, *words)
    assert second.returncode == 0, second.stderr
    assert count(conn, "true") - before <= 3


def test_backfill_stores_all_charts_of_all_indexes(
    database: Settings, exchange: Simulator, conn: psycopg.Connection
) -> None:
    """That is the default; the finest chart comes first."""
    done = backfill(database, exchange)
    assert done.returncode == 0, done.stderr
    lines = [line.split(":")[0] for line in done.stdout.splitlines()]
    ranges = ["1h", "1d", "2d", "1m", "1y", "all"]
    assert lines == [f"{ticker} {chart}" for ticker in database.tickers for chart in ranges]
    assert count(conn, "created_at < now() - INTERVAL '700 days'") > 0
    assert count(conn, "extract(second FROM created_at) <> 0") == 0


def test_transient_errors_are_retried(
    database: Settings, exchange: Simulator, conn: psycopg.Connection
) -> None:
    """A permanent error ends the command, with one line."""
    inject_fault(exchange, "rate_limit", calls=2)
    assert backfill(database, exchange, "--range", "1h").returncode == 0
    assert count(conn, "true") >= 118

    clear_faults(exchange)
    inject_fault(exchange, "error", code=-32602)
    failed = backfill(database, exchange, "--range", "1h")
    assert failed.returncode == 1
    assert failed.stderr.startswith("tracker: ")
    assert "Traceback" not in failed.stderr


def test_invalid_range_is_usage_error(database: Settings, exchange: Simulator) -> None:
    """It names the value."""
    failed = backfill(database, exchange, "--range", "3h")
    assert failed.returncode == 2
    assert "'3h'" in failed.stderr
