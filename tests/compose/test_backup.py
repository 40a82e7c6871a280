"""What `ops/just backup` saves of Compose's database comes back; an embedded one moves in."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tests.compose.stack import STEADY, TICKERS, TRACKER, Stack
from tests.conftest import make_settings
from tracker import migrations
from tracker.backups.saving import backup
from tracker.embedded.servers import started

pytestmark = [pytest.mark.slow, pytest.mark.compose]

FILES = "compose.yaml:tests/compose/override.yaml"


def ops_backup(stack: Stack, *words: str) -> str:
    """What `ops/backup` prints, which the recipes run."""
    engine = replace(stack.engine, env={**stack.engine.env, "COMPOSE_FILE": FILES})
    return engine.run("sh", "ops/backup", *words, cwd=stack.folder)


def psql(stack: Stack, statement: str) -> None:
    """Run *statement* beside the database."""
    program = ("psql", "--no-psqlrc", "--username", "postgres", "--dbname", "postgres")
    stack.docker("exec", stack.name("db"), *program, "--command", statement)


@contextmanager
def aside(stack: Stack) -> Iterator[None]:
    """The tracker is stopped, and its database has another name; then all is as before."""
    stack.compose("stop", *TRACKER)
    psql(stack, "ALTER DATABASE tracker RENAME TO tracker_old")
    try:
        yield
    finally:
        stack.compose("stop", *TRACKER)
        psql(stack, "DROP DATABASE IF EXISTS tracker")
        psql(stack, "ALTER DATABASE tracker_old RENAME TO tracker")
        stack.up(*STEADY)


def test_a_backup_comes_back(stack: Stack, tmp_path: Path) -> None:
    """Taken while it records; who restores it finds the same prices, and goes on recording."""
    file = tmp_path / "tracker.zip"
    stack.wait_for(lambda: stack.api("/health/ready"))
    before = {ticker: stack.prices(ticker) for ticker in TICKERS}
    assert ops_backup(stack, "backup", str(file)) == f"wrote {file}"
    with aside(stack):
        assert "all sums are those of the backup" in ops_backup(stack, "restore", str(file))
        stack.up(*STEADY)
        stack.wait_for(lambda: stack.api("/health/ready"))
        for ticker in TICKERS:
            assert before[ticker]
            assert before[ticker].items() <= stack.prices(ticker).items()


def test_an_embedded_database_moves_in(stack: Stack, open_tmp: Path) -> None:
    """By CSV, as the versions of TimescaleDB may differ."""
    file = open_tmp / "moving.zip"
    settings = make_settings(open_tmp / "moving")
    with started(settings, durable=False):
        migrations.apply(settings.database_dsn)
        with psycopg.connect(settings.database_dsn) as conn:
            conn.execute(
                "INSERT INTO prices (ticker, price, created_at)"
                " SELECT 'btc_usd', 100.25 + n, '2026-01-15Z'::timestamptz + n * INTERVAL '1 min'"
                " FROM generate_series(0, 99) AS n"
            )
        backup(settings, str(file), "csv")
    with aside(stack):
        psql(stack, "CREATE DATABASE tracker")
        stack.compose("run", "--rm", "migrate")
        ops_backup(stack, "restore", str(file))
        stack.up(*STEADY)
        page = stack.api("/v1/prices", ticker="btc_usd", limit="100", start_date="2026-01-16")
        assert [row["price"] for row in page] == [f"{199.25 - n:.2f}" for n in range(100)]
