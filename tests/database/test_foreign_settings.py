"""Settings of a server, a database or a role that change every session, but not ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.support.api import serve_api
from tests.support.commands import run_command
from tests.support.database import create_database
from tests.support.stream import open_stream
from tracker import migrations, queries
from tracker.database import Database
from tracker.models import Quote
from tracker.settings import Settings
from tracker.times import MINUTE
from tracker.transfer.backup import Kind, backup
from tracker.transfer.exporting import export_file, parse_selection
from tracker.transfer.importing import import_file
from tracker.transfer.restore import restore

NOON = datetime(2024, 3, 4, 12, tzinfo=UTC)
FOREIGN = {
    "search_path": "elsewhere",
    "DateStyle": "'German, DMY'",
    "IntervalStyle": "iso_8601",
    "TimeZone": "'Asia/Kolkata'",
    "extra_float_digits": "-15",
    "client_encoding": "LATIN1",
    "standard_conforming_strings": "off",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "statement_timeout": "'1ms'",
    "lock_timeout": "'1ms'",
    "idle_in_transaction_session_timeout": "'1ms'",
    "client_min_messages": "debug5",
}
LIBPQ = {
    "PGOPTIONS": "-c nonsense=1",
    "PGSERVICE": "nobody",
    "PGSERVICEFILE": "/nowhere",
    "PGSSLMODE": "full",
    "PGHOST": "nowhere.invalid",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "none",
    "PGDATABASE": "other",
    "PGUSER": "nobody",
    "PGTZ": "Asia/Kolkata",
    "PGDATESTYLE": "nonsense",
    "PGCLIENTENCODING": "nonsense",
    "PGCONNECT_TIMEOUT": "soon",
    "PGTARGETSESSIONATTRS": "standby",
    "PGREQUIREAUTH": "scram-sha-256",
    "PGCHANNELBINDING": "require",
    "PGGSSENCMODE": "require",
    "PGLOADBALANCEHOSTS": "nonsense",
}
PATHS = (
    "/prices?ticker=btc_usd",
    "/prices?ticker=btc_usd&include=source,observed_at&format=csv",
    "/prices/last?ticker=btc_usd",
    "/prices/filtered?ticker=btc_usd&date=2024-03-04T12:00Z",
    "/prices/candles?ticker=btc_usd&interval=5m",
    "/prices/candles?ticker=btc_usd&interval=1d&tz=Europe/Berlin",
    "/prices/candles?ticker=btc_usd&interval=1M",
    "/prices/coverage?ticker=btc_usd&end_date=2024-03-05",
    "/prices/stats?ticker=btc_usd&end_date=2024-03-05",
    "/prices?ticker=btc_usd&fill=previous&start_date=2024-03-04T11:58Z&end_date=2024-03-04T12:09Z",
    "/prices/export?ticker=btc_usd&start_date=2024-03-04",
    "/prices/export?ticker=btc_usd&start_date=2024-03-04&format=ndjson&include=observed_at",
    "/udf/history?symbol=btc_usd&resolution=60&from=1709550000&to=1709560000&countback=2",
)


@contextmanager
def create_foreign_database(servers: Settings) -> Iterator[Settings]:
    """A database and the role that owns it, both with foreign settings; not migrated yet."""
    role = f"role_{uuid4().hex}"
    with psycopg.connect(servers.database_dsn, autocommit=True) as conn:
        conn.execute(f"CREATE ROLE {role} LOGIN SUPERUSER")
        with create_database(servers) as plain:
            with psycopg.connect(plain.database_dsn, autocommit=True) as inside:
                inside.execute("CREATE SCHEMA elsewhere")
            conn.execute(f"ALTER DATABASE {plain.postgres_db} OWNER TO {role}")
            for name, value in FOREIGN.items():
                conn.execute(f"ALTER DATABASE {plain.postgres_db} SET {name} = {value}")
                conn.execute(f"ALTER ROLE {role} SET {name} = {value}")
            yield plain.changed(postgres_user=role)
        conn.execute(f"DROP ROLE {role}")


@pytest.fixture(scope="module")
def foreign(servers: Settings) -> Iterator[Settings]:
    """Such a database, with the schema and some rows."""
    with create_foreign_database(servers) as settings:
        migrations.apply(settings.database_dsn)
        record_minutes(settings)
        yield settings


def record_minutes(settings: Settings) -> None:
    """Store prices and a miss as the worker does."""
    with Database(settings.database_dsn, 2) as database:
        for number in range(3):
            minute = NOON + number * MINUTE
            observed_at = minute + timedelta(microseconds=250_001)
            quote = Quote(ticker="btc_usd", price=Decimal("7.250"), observed_at=observed_at)
            assert database.run(queries.insert_price, quote, minute)
        missed = NOON + 4 * MINUTE
        database.run(queries.insert_miss, "btc_usd", missed, "refused", code=None, attempts=1)


def read_bodies(client: httpx.Client) -> list[str]:
    """The successful body of each path."""
    bodies = []
    for path in PATHS:
        response = client.get(path)
        assert response.status_code == 200, (path, response.text)
        bodies.append(response.text)
    return bodies


@pytest.fixture(scope="module")
def expected(servers: Settings) -> list[str]:
    """The bodies of a database whose settings are PostgreSQL's defaults."""
    with create_database(servers) as settings:
        migrations.apply(settings.database_dsn)
        record_minutes(settings)
        with serve_api(settings) as client:
            return read_bodies(client)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_JP"])
def test_migrate_accepts_every_encoding(servers: Settings, encoding: str) -> None:
    name = f"fresh_{encoding.lower()}"
    with psycopg.connect(servers.database_dsn, autocommit=True) as conn:
        conn.execute(
            f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0"
            " LOCALE_PROVIDER libc LOCALE 'C'"
        )
        try:
            status, output, errors = run_command(servers.changed(postgres_db=name), "migrate")
        finally:
            conn.execute(f"DROP DATABASE {name} WITH (FORCE)")

    assert (status, errors) == (0, "")
    assert output.startswith("applied 0001")


def test_foreign_settings_do_not_change_migrations(servers: Settings) -> None:
    with create_foreign_database(servers) as settings:
        assert migrations.apply(settings.database_dsn) == migrations.names()
        assert migrations.rollback(settings.database_dsn, "0") == migrations.names()[::-1]


def test_foreign_settings_do_not_change_responses(foreign: Settings, expected: list[str]) -> None:
    with serve_api(foreign) as client:
        assert read_bodies(client) == expected
        state = client.get("/health/state").json()

    assert state["parts"][0]["state"] == "up"


def test_foreign_settings_do_not_change_stream(foreign: Settings) -> None:
    with serve_api(foreign) as client, open_stream(client.base_url) as stream:
        with Database(foreign.database_dsn, 1) as database:
            minute = NOON + 9 * MINUTE
            quote = Quote(ticker="btc_usd", price=Decimal("1.50"), observed_at=minute)
            database.run(queries.insert_price, quote, minute)
        event = next(stream.events())

    assert event.data["created_at"] == "2024-03-04T12:09:00Z"
    assert event.data["observed_at"] == "2024-03-04T12:09:00.000000Z"


@pytest.mark.parametrize("kind", ["dump", "csv"])
def test_foreign_settings_do_not_change_backup(
    foreign: Settings, servers: Settings, kind: Kind, tmp_path: Path
) -> None:
    """It also restores into a database with other settings."""
    file = str(tmp_path / "saved.zip")

    saved = backup(foreign, file, kind)

    with create_foreign_database(servers) as target:
        restored, _ = restore(target, file)
        assert restored.sums == saved.sums
        assert backup(target, file, kind, force=True).sums == saved.sums


def test_foreign_settings_do_not_change_export(
    foreign: Settings, servers: Settings, tmp_path: Path
) -> None:
    file = str(tmp_path / "prices.csv")
    export_file(foreign.database_dsn, file, parse_selection([], None, None))
    text = Path(file).read_text()

    with create_foreign_database(servers) as target:
        migrations.apply(target.database_dsn)
        [tally] = import_file(target.database_dsn, file)
        export_file(target.database_dsn, file, parse_selection([], None, None), force=True)

    assert tally.added == text.count("\n") - 1
    assert Path(file).read_text() == text
    assert "btc_usd,2024-03-04T12:00:00Z,7.250,2024-03-04T12:00:00.250001Z,poll" in text


def test_variables_of_libpq_are_ignored(
    foreign: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In connections of psycopg and of pg_dump."""
    for name, value in LIBPQ.items():
        monkeypatch.setenv(name, value)
    file = str(tmp_path / "saved.zip")

    status, _, errors = run_command(foreign, "backup", file)

    assert (status, errors) == (0, "")
