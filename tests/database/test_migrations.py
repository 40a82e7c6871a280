"""The schema's steps: up, down and up again, by several at once, after a crash."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from tests.support.database import create_database, make_settings
from tests.support.waiting import wait_until
from tracker import migrations
from tracker.errors import BadRequest, DatabaseDown, NotFound
from tracker.settings import Settings

NAMES = migrations.names()
FILES = [migrations.FOLDER / f"{name}.sql" for name in NAMES]

# Whatever a migration makes, with its comment, as text; what belongs to an extension is left out.
SCHEMA = """
WITH places AS (SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'internal')),
ours AS (SELECT oid FROM pg_class WHERE relnamespace IN (TABLE places)
                 AND relkind IN ('r', 'S', 'v', 'm') AND relname !~ 'yoyo')
SELECT 'column', format('%s.%s %s %s', attrelid::regclass, attname,
       format_type(atttypid, atttypmod), attnotnull), col_description(attrelid, attnum)
  FROM pg_attribute WHERE attrelid IN (TABLE ours) AND attnum > 0 AND NOT attisdropped
UNION ALL SELECT 'table', oid::regclass::text, obj_description(oid, 'pg_class')
  FROM pg_class WHERE oid IN (TABLE ours)
UNION ALL SELECT 'default', pg_get_expr(adbin, adrelid), adrelid::regclass::text
  FROM pg_attrdef WHERE adrelid IN (TABLE ours)
UNION ALL SELECT 'constraint', conname || pg_get_constraintdef(oid), conrelid::regclass::text
  FROM pg_constraint WHERE conrelid IN (TABLE ours)
UNION ALL SELECT 'index', pg_get_indexdef(indexrelid), NULL
  FROM pg_index WHERE indrelid IN (TABLE ours)
UNION ALL SELECT 'trigger', pg_get_triggerdef(oid), NULL
  FROM pg_trigger WHERE tgrelid IN (TABLE ours) AND NOT tgisinternal
UNION ALL SELECT 'domain', typname::text || coalesce(pg_get_constraintdef(c.oid), ''),
       obj_description(t.oid, 'pg_type')
  FROM pg_type AS t LEFT JOIN pg_constraint AS c ON contypid = t.oid
 WHERE typnamespace IN (TABLE places) AND typtype = 'd'
UNION ALL SELECT 'schema', nspname::text, obj_description(oid, 'pg_namespace')
  FROM pg_namespace WHERE nspname = 'internal'
UNION ALL SELECT 'function', pg_get_functiondef(oid), obj_description(oid, 'pg_proc')
  FROM pg_proc WHERE pronamespace IN (TABLE places)
   AND oid NOT IN (SELECT objid FROM pg_depend WHERE deptype = 'e')
UNION ALL SELECT 'hypertable', column_name || time_interval::text, hypertable_name
  FROM timescaledb_information.dimensions
"""


@pytest.fixture
def fresh(servers: Settings) -> Iterator[Settings]:
    """A database without the schema."""
    with create_database(servers) as settings:
        yield settings


def schema(settings: Settings) -> set[tuple[str, ...]]:
    """Everything the migrations have made so far."""
    with psycopg.connect(settings.database_dsn) as conn:
        return set(conn.execute(SCHEMA).fetchall())


def test_files_are_numbered_and_each_depends_on_the_one_before() -> None:
    """From 0001 without a gap, each with its reason and with a way back."""
    assert [name.partition(".")[0] for name in NAMES] == [f"{n:04}" for n, _ in enumerate(NAMES, 1)]
    for file, before in zip(FILES, [None, *NAMES], strict=False):
        text = file.read_text()
        assert text.startswith("-- ")
        assert re.findall("-- depends: (.*)", text) == ([before] if before else [])
        assert file.with_suffix(".rollback.sql").read_text().strip()
    assert len(list(migrations.FOLDER.iterdir())) == 2 * len(NAMES)


def test_every_step_down_and_up_again_leaves_the_same_schema(fresh: Settings) -> None:
    """A rollback undoes its migration and nothing else; in the end nothing of ours is left."""
    dsn = fresh.database_dsn
    assert migrations.apply(dsn) == NAMES
    levels = {NAMES[-1]: schema(fresh)}
    for name, before in zip(NAMES[:0:-1], NAMES[-2::-1], strict=True):
        assert migrations.rollback(dsn, before) == [name]
        levels[before] = schema(fresh)
    assert migrations.rollback(dsn, "0") == NAMES[:1]
    assert schema(fresh) == set()

    assert migrations.apply(dsn) == NAMES
    assert schema(fresh) == levels[NAMES[-1]]
    for level, name in (("0004", NAMES[3]), (NAMES[1], NAMES[1]), ("1", NAMES[0])):
        migrations.rollback(dsn, level)
        assert schema(fresh) == levels[name]
    assert migrations.apply(dsn) == NAMES[1:]
    assert migrations.apply(dsn) == []
    assert schema(fresh) == levels[NAMES[-1]]


def test_every_table_column_and_function_has_a_comment(migrated: Settings) -> None:
    """Whoever opens psql learns what is there and in which unit."""
    things = [
        row
        for row in schema(migrated)
        if row[0] in {"table", "column", "function", "domain", "schema"}
    ]
    assert len(things) > 20
    sequences = ("prices_id_seq", "internal.batches_id_seq", "internal.batch_position")
    assert not [row for row in things if not row[2] and not row[1].startswith(sequences)]


def test_several_may_migrate_at_once(fresh: Settings) -> None:
    """Threads and processes: each step is applied exactly once, and all of them succeed."""
    command = [sys.executable, "-m", "tracker", "migrate"]
    processes = [
        subprocess.Popen(command, env=fresh.environment(), stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(migrations.apply, [fresh.database_dsn] * 4))
    said = "".join(process.communicate(timeout=60)[0] for process in processes)

    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(sum(done, re.findall("applied (.*)", said))) == NAMES


def test_the_lock_of_a_killed_run_is_broken(fresh: Settings) -> None:
    """yoyo leaves a row behind; the next run does not wait for it."""
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
def test_a_killed_run_leaves_whole_steps(
    fresh: Settings, reached: str, table: str, mode: str
) -> None:
    """Wherever it is killed; who waits for it goes on from there, and so does a later run."""
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
        conn.execute(
            "INSERT INTO prices (ticker, price, created_at) VALUES ('btc_usd', 1.50, '2024-01-15Z')"
        )
        for _ in range(3):
            conn.execute("REVOKE ALL ON prices, misses FROM analyst, tracker_worker")
            assert migrations.apply(fresh.database_dsn) == []
            for role, right in (("analyst", "SELECT"), ("tracker_worker", "INSERT")):
                query = "SELECT has_table_privilege(%s, 'prices', %s)"
                assert conn.execute(query, [role, right]).fetchone() == (True,)


@pytest.mark.parametrize("revision", ["", " ", "6x", "0099", "-1", "0001.create-prices", "0.0"])
def test_an_unknown_revision_changes_nothing(migrated: Settings, revision: str) -> None:
    """The answer lists those that there are; an empty name is not "undo all"."""
    with pytest.raises(NotFound, match=r"no migration .*0001\.timescaledb"):
        migrations.rollback(migrated.database_dsn, revision)
    assert migrations.apply(migrated.database_dsn) == []


def test_a_database_that_is_away_is_one_line() -> None:
    """No traceback for what every operator meets."""
    with pytest.raises(DatabaseDown, match=r"^[^\n]*/nowhere[^\n]*$"):
        migrations.apply("host=/nowhere dbname=tracker")


@pytest.mark.parametrize(("host", "lines"), [("", 2), ("127.0.0.1", 1)])
def test_only_who_names_no_server_is_told_to_start_ours(
    tmp_path: Path, host: str, lines: int
) -> None:
    """One line says what is wrong, and a second one what helps."""
    away = make_settings(tmp_path, postgres_host=host, postgres_port=9)
    command = [sys.executable, "-m", "tracker", "migrate"]
    done = subprocess.run(
        command, check=False, env=away.environment(), capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, lines)
    assert ("`ops/just infra`" in done.stderr) == (lines == 2)


def test_a_new_migration_follows_the_newest(
    fresh: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made from a few words, whatever they are; it can be filled in, applied and undone."""
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
    assert "odd" in {row[1] for row in schema(fresh)}
    assert migrations.rollback(fresh.database_dsn, NAMES[-1]) == [step.stem]
    assert "odd" not in {row[1] for row in schema(fresh)}


@pytest.mark.parametrize("message", ["", "!!!", "\u0434\u0430"])
def test_a_migration_needs_a_name(message: str) -> None:
    """Without a word there is no file."""
    with pytest.raises(BadRequest, match="msg: say in a few words"):
        migrations.create(message)
