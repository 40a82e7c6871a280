"""The migrations: applied, rolled back and reapplied, concurrently, and after a crash."""

import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from tests.support.clock import NOON
from tests.support.commands import run_command
from tests.support.database import insert_minutes, make_settings
from tests.support.schema import read_schema
from tests.support.waiting import wait_until
from tracker import migrations
from tracker.errors import BadRequest, NotFound, TrackerError
from tracker.settings import Settings
from tracker.times import MINUTE

NAMES = migrations.names()
FILES = [migrations.FOLDER / f"{name}.sql" for name in NAMES]


def test_files_are_numbered_and_depend_on_their_predecessor() -> None:
    assert [name.partition(".")[0] for name in NAMES] == [f"{n:04}" for n, _ in enumerate(NAMES, 1)]
    for file, before in zip(FILES, [None, *NAMES], strict=False):
        text = file.read_text()
        assert text.startswith("-- ")
        assert re.findall("-- depends: (.*)", text) == ([before] if before else [])
        assert file.with_suffix(".rollback.sql").read_text().strip()
    assert len(list(migrations.FOLDER.iterdir())) == 2 * len(NAMES)


def test_rollback_restores_the_former_schema(fresh: Settings) -> None:
    dsn = fresh.database_dsn
    assert migrations.apply(dsn) == NAMES
    levels = {NAMES[-1]: read_schema(fresh)}
    for name, before in zip(NAMES[:0:-1], NAMES[-2::-1], strict=True):
        assert migrations.rollback(dsn, before) == [name]
        levels[before] = read_schema(fresh)
    assert migrations.rollback(dsn, "0") == NAMES[:1]
    assert read_schema(fresh) == set()

    assert migrations.apply(dsn) == NAMES
    assert read_schema(fresh) == levels[NAMES[-1]]
    for level, name in (("0004", NAMES[3]), (NAMES[1], NAMES[1]), ("1", NAMES[0])):
        migrations.rollback(dsn, level)
        assert read_schema(fresh) == levels[name]
    assert migrations.apply(dsn) == NAMES[1:]
    assert migrations.apply(dsn) == []
    assert read_schema(fresh) == levels[NAMES[-1]]


def test_rollback_drops_rows_only_by_force(fresh: Settings) -> None:
    """The refusal counts the rows of the tables that would be dropped; heartbeats do not count."""
    dsn = fresh.database_dsn
    migrations.apply(dsn)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("INSERT INTO internal.heartbeats (part, at) VALUES ('worker', now())")
        assert migrations.rollback(dsn, "0") == NAMES[::-1]
        migrations.apply(dsn)
        insert_minutes(conn, [NOON, NOON + MINUTE])
        before = read_schema(fresh)
        total = "drops 9 rows, 2 of prices, 1 of tickers, 1 of candles_1h"
        for level, expected in (("0", total), (NAMES[1], "drops 6 rows, 1 of candles_1h")):
            with pytest.raises(BadRequest, match=rf"^rev: a rollback to {level} {expected}"):
                migrations.rollback(dsn, level)
        assert read_schema(fresh) == before
        assert migrations.rollback(dsn, "3") == NAMES[:2:-1]
        assert conn.execute("SELECT count(*) FROM prices").fetchone() == (2,)
        assert migrations.rollback(dsn, "0", drop_rows=True) == NAMES[2::-1]


def test_refused_rollback_is_one_line(fresh: Settings) -> None:
    """An object of a user that depends on ours keeps the migration."""
    migrations.apply(fresh.database_dsn)
    with psycopg.connect(fresh.database_dsn, autocommit=True) as conn:
        conn.execute("CREATE VIEW mine AS SELECT price FROM prices")
    code, output, errors = run_command(fresh, "rollback", "0")
    assert (code, output, errors.count("\n")) == (1, "", 1)
    assert errors.startswith("tracker: cannot drop table prices because other objects depend on it")


def test_every_table_column_and_function_has_a_comment(migrated: Settings) -> None:
    things = [
        row
        for row in read_schema(migrated)
        if row[0] in {"table", "column", "function", "domain", "schema"}
    ]
    assert len(things) > 20
    sequences = ("prices_id_seq", "internal.batches_id_seq", "internal.batch_position")
    assert not [row for row in things if not row[2] and not row[1].startswith(sequences)]


def test_concurrent_runs_apply_each_migration_once(fresh: Settings) -> None:
    command = [sys.executable, "-m", "tracker", "migrate"]
    processes = [
        subprocess.Popen(command, env=fresh.environment(), stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(migrations.apply, [fresh.database_dsn] * 4))
    output = "".join(process.communicate(timeout=60)[0] for process in processes)

    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(sum(done, re.findall("applied (.*)", output))) == NAMES


def test_stale_lock_is_removed(fresh: Settings) -> None:
    """yoyo leaves a row behind when it is killed."""
    migrations.apply(fresh.database_dsn)
    migrations.rollback(fresh.database_dsn, "1")
    with psycopg.connect(fresh.database_dsn) as conn:
        conn.execute("INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, now(), 999999)")

    assert migrations.apply(fresh.database_dsn) == NAMES[1:]


@pytest.mark.parametrize(
    ("reached", "table", "mode"),
    [
        (NAMES[0], "_yoyo_migration", "SHARE"),  # its step is done, but not noted
        (NAMES[2], "prices", "ROW EXCLUSIVE"),  # it is in the midst of a step
    ],
)
def test_killed_run_leaves_complete_migrations(
    fresh: Settings, reached: str, table: str, mode: str
) -> None:
    """Waiting and later runs continue from there."""
    dsn = fresh.database_dsn
    migrations.apply(dsn, reached)
    command = [sys.executable, "-m", "tracker", "migrate"]
    waits = "SELECT FROM pg_locks WHERE NOT granted AND locktype = %s AND database = %s::oid"
    with (
        psycopg.connect(dsn) as blocker,
        psycopg.connect(dsn, autocommit=True) as conn,
        ThreadPoolExecutor(1) as threads,
    ):
        [(database,)] = conn.execute(
            "SELECT oid FROM pg_database WHERE datname = %s", [fresh.postgres_db]
        ).fetchall()
        blocker.execute(f"LOCK TABLE {table} IN {mode} MODE")
        with subprocess.Popen(command, env=fresh.environment()) as process:
            wait_until(lambda: conn.execute(waits, ["relation", database]).rowcount)
            waiting = threads.submit(migrations.apply, dsn)
            wait_until(lambda: conn.execute(waits, ["advisory", database]).rowcount)
            process.kill()
        blocker.rollback()

        assert waiting.result(timeout=60) == NAMES[NAMES.index(reached) + 1 :]
    assert migrations.apply(dsn) == []


def test_migrate_restores_rights_of_roles(fresh: Settings) -> None:
    """Also with chunks, where GRANT in a PL/pgSQL function once crashed the server."""
    migrations.apply(fresh.database_dsn)
    with psycopg.connect(fresh.database_dsn, autocommit=True) as conn:
        insert_minutes(conn, [NOON])
        for _ in range(3):
            conn.execute("REVOKE ALL ON prices, misses FROM analyst, tracker_worker")
            assert migrations.apply(fresh.database_dsn) == []
            for role, right in (("analyst", "SELECT"), ("tracker_worker", "INSERT")):
                query = "SELECT has_table_privilege(%s, 'prices', %s)"
                assert conn.execute(query, [role, right]).fetchone() == (True,)


@pytest.mark.parametrize("revision", ["", " ", "6x", "0099", "-1", "0001.create-prices", "0.0"])
def test_unknown_revision_is_refused(migrated: Settings, revision: str) -> None:
    """An empty name does not mean a rollback of everything."""
    with pytest.raises(NotFound, match=r"unknown migration .*0001\.timescaledb"):
        migrations.rollback(migrated.database_dsn, revision)
    assert migrations.apply(migrated.database_dsn) == []


@pytest.mark.parametrize("host", ["", "127.0.0.1"])
def test_hint_to_start_the_embedded_server_needs_no_configured_host(
    tmp_path: Path, host: str
) -> None:
    unavailable = make_settings(tmp_path, postgres_host=host, postgres_port=9)
    status, _, errors = run_command(unavailable, "migrate")
    assert (status, errors.count("\n")) == (1, 1)
    assert ("`ops/just infra`" in errors) == (not host)


def test_new_migration_follows_the_newest(
    fresh: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(migrations.FOLDER, tmp_path / "migrations")
    monkeypatch.setattr(migrations, "FOLDER", folder)

    step, back = migrations.create("Rollback of the\n'odd' things; DROP!")
    number = f"{len(NAMES) + 1:04}"
    assert step == folder / f"{number}.rollback-of-the-odd-things-drop.sql"
    assert step.read_text().splitlines()[1:] == [f"-- depends: {NAMES[-1]}"]
    assert migrations.names() == [*NAMES, step.stem]

    assert migrations.apply(fresh.database_dsn) == [*NAMES, step.stem]
    assert migrations.rollback(fresh.database_dsn, NAMES[-1]) == [step.stem]
    with step.open("a") as stream:
        stream.write("CREATE TABLE odd (id integer);\n")
    back.write_text("DROP TABLE odd;\n")
    assert migrations.apply(fresh.database_dsn) == [step.stem]
    assert "odd" in {row[1] for row in read_schema(fresh)}
    assert migrations.rollback(fresh.database_dsn, NAMES[-1]) == [step.stem]
    assert "odd" not in {row[1] for row in read_schema(fresh)}


def test_file_of_new_migration_that_cannot_be_created_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a checkout that is mounted read-only."""
    folder = shutil.copytree(migrations.FOLDER, tmp_path / "migrations")
    monkeypatch.setattr(migrations, "FOLDER", folder)
    existing = folder / f"{len(NAMES) + 1:04}.odd.rollback.sql"
    existing.touch()

    with pytest.raises(TrackerError, match=f"^{existing}: File exists$"):
        migrations.create("odd")


@pytest.mark.parametrize("message", ["", "!!!", "\u0434\u0430"])
def test_new_migration_needs_a_name(message: str) -> None:
    with pytest.raises(BadRequest, match="msg: must describe the migration"):
        migrations.create(message)
