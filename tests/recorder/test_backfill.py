"""`tracker backfill`: it stores the minutes of charts once, and prints their number."""

import psycopg
import pytest

from tests.support.commands import run_command
from tests.support.exchange import clear_faults, inject_fault
from tracker.settings import Settings
from tracker.simulator import Simulator

pytestmark = pytest.mark.slow


@pytest.fixture
def polling(database: Settings, live_exchange: Simulator) -> Settings:
    """Settings of an empty database and that exchange."""
    return database.changed(client_base_url=live_exchange.url)


def count_prices(conn: psycopg.Connection, where: str = "true") -> int:
    [(count,)] = conn.execute(f"SELECT count(*) FROM prices WHERE {where}")
    return int(count)


def test_backfill_is_idempotent(polling: Settings, conn: psycopg.Connection) -> None:
    """The second run adds only minutes that began after the first one."""
    words = ("--ticker", "btc_usd", "--range", "2d", "--range", "1h")
    status, output, errors = run_command(polling, "backfill", *words)
    assert (status, errors) == (0, "")
    assert output.startswith("btc_usd 2d: added 576, 0 were there already\nbtc_usd 1h: added ")
    assert count_prices(conn, "ticker <> 'btc_usd' OR source <> 'chart'") == 0
    before = count_prices(conn)

    assert run_command(polling, "backfill", *words)[0] == 0
    assert count_prices(conn) - before <= 3


def test_backfill_stores_all_charts_of_all_indexes(
    polling: Settings, conn: psycopg.Connection
) -> None:
    """That is the default; the finest chart comes first."""
    status, output, errors = run_command(polling, "backfill")
    assert (status, errors) == (0, "")
    lines = [line.split(":")[0] for line in output.splitlines()]
    ranges = ["1h", "1d", "2d", "1m", "1y", "all"]
    assert lines == [f"{ticker} {chart}" for ticker in polling.tickers for chart in ranges]
    assert count_prices(conn, "created_at < now() - INTERVAL '700 days'") > 0
    assert count_prices(conn, "extract(second FROM created_at) <> 0") == 0


def test_transient_errors_are_retried(
    polling: Settings, live_exchange: Simulator, conn: psycopg.Connection
) -> None:
    """A permanent error ends the command, with one line."""
    inject_fault(live_exchange, "rate_limit", calls=2)
    status, output, _ = run_command(polling, "backfill", "--range", "1h")
    assert status == 0
    assert count_prices(conn) >= 118
    assert output.count("the chart 1h of btc_usd is requested again: HTTP 429") == 2
    assert "stamina" not in output

    clear_faults(live_exchange)
    inject_fault(live_exchange, "error", code=-32602)
    status, _, errors = run_command(polling, "backfill", "--range", "1h")
    assert status == 1
    assert errors.startswith("tracker: ")
    assert "Traceback" not in errors
