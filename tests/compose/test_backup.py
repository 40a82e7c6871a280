"""`ops/just backup` and `restore` with Compose's database; an embedded one moves into it."""

from pathlib import Path

import psycopg
import pytest

from tests.support.compose.stack import STEADY, TICKERS, Stack, renamed_database
from tests.support.database import make_settings
from tracker import migrations
from tracker.embedded.home import running_servers
from tracker.transfer.backup import backup

pytestmark = [pytest.mark.slow, pytest.mark.compose]


def test_backup_of_a_recording_stack_is_restored(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "tracker.zip"
    stack.wait_until(lambda: stack.api("/health/ready"))
    before = {ticker: stack.prices(ticker) for ticker in TICKERS}
    assert stack.just("backup", str(file)) == f"wrote {file}"
    with renamed_database(stack):
        assert "all checksums match" in stack.just("restore", str(file))
        stack.up(*STEADY)
        stack.wait_until(lambda: stack.api("/health/ready"))
        for ticker in TICKERS:
            assert before[ticker]
            assert before[ticker].items() <= stack.prices(ticker).items()


def test_embedded_database_moves_to_compose_by_csv(stack: Stack, open_tmp: Path) -> None:
    """The versions of TimescaleDB may differ."""
    file = open_tmp / "moving.zip"
    settings = make_settings(open_tmp / "moving")
    with running_servers(settings, durable=False):
        migrations.apply(settings.database_dsn)
        with psycopg.connect(settings.database_dsn) as conn:
            conn.execute(
                "INSERT INTO prices (ticker, price, created_at)"
                " SELECT 'btc_usd', 100.25 + n, '2026-01-15Z'::timestamptz + n * INTERVAL '1 min'"
                " FROM generate_series(0, 99) AS n"
            )
        backup(settings, str(file), "csv")
    with renamed_database(stack):
        stack.psql("CREATE DATABASE tracker")
        stack.compose("run", "--rm", "migrate")
        stack.just("restore", str(file))
        stack.up(*STEADY)
        page = stack.api("/v1/prices", ticker="btc_usd", limit="100", start_date="2026-01-16")
        assert [row["price"] for row in page] == [f"{199.25 - n:.2f}" for n in range(100)]
