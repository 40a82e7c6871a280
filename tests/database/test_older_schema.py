"""Databases of other versions are refused in one line; one of version 0.1 can be exported."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.commands import run_command
from tests.support.database import create_database
from tracker import migrations
from tracker.settings import Settings

OLD_SCHEMA = Path(__file__).with_name("version_0_1.sql")
FUTURE = """
    INSERT INTO _yoyo_migration (migration_hash, migration_id, applied_at_utc)
    VALUES ('f', '0099.future', now())
"""
ROWS = "SELECT ticker, created_at, price, observed_at, source FROM prices ORDER BY 1, 2"


@pytest.fixture
def old(servers: Settings) -> Iterator[Settings]:
    """A database that version 0.1 has migrated and filled."""
    with create_database(servers) as settings:
        migrations.apply(settings.database_dsn)
        migrations.rollback(settings.database_dsn, "0")  # what remains is yoyo's
        with psycopg.connect(settings.database_dsn, autocommit=True) as conn:
            conn.execute(OLD_SCHEMA.read_bytes())
        yield settings


def read_rows(settings: Settings) -> list[tuple[object, ...]]:
    with psycopg.connect(settings.database_dsn) as conn:
        return conn.execute(ROWS).fetchall()


@pytest.mark.parametrize("command", [("migrate",), ("rollback", "0")], ids=["migrate", "rollback"])
def test_schema_of_version_0_1_is_refused(old: Settings, command: tuple[str, ...]) -> None:
    before = read_rows(old)

    status, output, errors = run_command(old, *command)

    assert (status, output, errors.count("\n")) == (1, "", 1)
    for words in ("version 0.1", "`tracker export FILE`", "`tracker import FILE`", "POSTGRES_DB"):
        assert words in errors
    assert read_rows(old) == before


def test_prices_of_version_0_1_move_by_export_and_import(
    old: Settings, servers: Settings, tmp_path: Path
) -> None:
    file = str(tmp_path / "prices.csv")

    status, _, errors = run_command(old, "export", file)
    assert (status, errors) == (0, "")
    with create_database(servers) as new:
        assert run_command(new, "migrate")[0] == 0
        status, _, errors = run_command(new, "import", file)

        assert (status, errors) == (0, "")
        assert read_rows(new) == read_rows(old)
        assert len(read_rows(new)) == 100


def test_import_into_version_0_1_is_refused(old: Settings, tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    file.write_text("ticker,created_at,price\nbtc_usd,2026-01-01T00:00Z,1.50\n")

    status, _, errors = run_command(old, "import", str(file))

    assert status == 1
    assert "has the schema of version 0.1" in errors
    assert len(read_rows(old)) == 100


@pytest.fixture(scope="module")
def newer(servers: Settings) -> Iterator[Settings]:
    """A database that a newer version has migrated."""
    with create_database(servers) as settings:
        migrations.apply(settings.database_dsn)
        with psycopg.connect(settings.database_dsn, autocommit=True) as conn:
            conn.execute(FUTURE)
        yield settings


@pytest.mark.parametrize(
    "command",
    ["migrate", "rollback 0", "worker", "backfill", "import -"],
    ids=lambda words: words.split()[0],
)
def test_schema_of_a_newer_version_is_refused(newer: Settings, command: str) -> None:
    status, output, errors = run_command(newer, *command.split())

    assert (status, output, errors.count("\n")) == (1, "", 1)
    assert "has migrations of a newer version: 0099.future" in errors
