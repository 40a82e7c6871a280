"""`tracker restore`: a backup into an empty database, all of it or nothing.

A dump is restored in a draft, a database beside the target, compared with its manifest, and renamed
into place. CSV files are loaded in one transaction, compared before it is committed. Until then the
target is what it was, even after a power cut; the next restore drops what a killed one left.
"""

import csv
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4
from zipfile import BadZipFile, ZipFile

import psycopg
from psycopg.sql import SQL, Identifier
from pydantic import ValidationError

from tracker import migrations, queries
from tracker.errors import BadRequest, TransferError, describe
from tracker.queries.statements import load_sql
from tracker.settings import ROLES, Settings, user_command
from tracker.transfer.backup import (
    CHUNK_SIZE,
    DUMP,
    MANIFEST,
    TABLES,
    Manifest,
    Sum,
    Sums,
    compute_sums,
    pg_program,
)
from tracker.transfer.session import fetch_column, identifier, open_session, statement

MAX_SHOWN = 3  # differences; more of them have the same cause

_EMPTY_PREFIX = "tracker_empty_"
_SOURCE_TABLES = ("prices", "misses")  # triggers fill the others


def restore(settings: Settings, file: str) -> tuple[Manifest, list[str]]:
    """Restore the backup in *file* as the database; its manifest, and notes for the user.

    Raises BadRequest for an unreadable file, DatabaseDown, TransferError; the database is
    unchanged then.
    """
    with open_backup(file) as (archive, manifest):
        _require_known_schema(file, manifest)
        restore_kind = _restore_dump if manifest.kind == "dump" else _restore_csv
        notes = restore_kind(settings, archive, manifest)
    newest = manifest.migrations[-1]
    if newest != migrations.names()[-1]:
        notes.append(f"its schema is that of {newest}: `{user_command('upgrade')}` migrates it")
    return manifest, notes


@contextmanager
def open_backup(file: str) -> Iterator[tuple[ZipFile, Manifest]]:
    """The archive in *file*, every byte of which has been checked, and its manifest.

    Raises BadRequest if it cannot be read, TransferError if it is not a complete backup.
    """
    try:
        archive = ZipFile(file)
    except OSError as error:
        raise BadRequest({file: error.strerror or str(error)}) from None
    except BadZipFile:
        raise TransferError(f"{file}: is not a backup, or an incomplete one") from None
    with archive:
        try:
            damaged = archive.testzip()
            manifest = Manifest.model_validate_json(archive.read(MANIFEST))
        except (KeyError, ValidationError):
            raise TransferError(f"{file}: is not a backup of a price tracker") from None
        except Exception as error:  # noqa: BLE001 -- damage is zlib.error, EOFError, OSError …
            raise TransferError(f"{file}: is damaged: {describe(error)}") from None
        members = [f"{table}.csv" for table in manifest.sums] if manifest.kind == "csv" else [DUMP]
        missing = sorted({*members} - {*archive.namelist()})
        if damaged or missing:
            raise TransferError(f"{file}: is damaged: {damaged or ', '.join(missing)}")
        yield archive, manifest


def _require_known_schema(file: str, manifest: Manifest) -> None:
    names = migrations.names()
    if manifest.migrations[:1] == [migrations.OF_VERSION_0_1]:
        raise TransferError(
            f"{file}: was made by version 0.1: restore it with that version, then `tracker export`"
            " there and `tracker import` here"
        )
    unknown = {*manifest.migrations} - {*names} or manifest.sums.keys() - TABLES.keys()
    if unknown:
        raise TransferError(
            f"{file}: was made by a newer version of the tracker, with {min(unknown)}"
        )
    if not manifest.migrations or manifest.migrations != names[: len(manifest.migrations)]:
        raise TransferError(f"{file}: was made between two migrations")


def _restore_csv(settings: Settings, archive: ZipFile, manifest: Manifest) -> list[str]:
    """Migrate the database to the schema of the backup, and load the CSV files.

    Suits any version and edition of TimescaleDB, and needs only the privileges of the owner.
    """
    dsn, newest = settings.direct_dsn, manifest.migrations[-1]
    _require_free(settings)
    migrations.apply(dsn, newest)
    migrations.rollback(dsn, newest)
    with open_session(dsn) as conn:
        load_tables(conn, archive, manifest)
    return []


def load_tables(conn: psycopg.Connection, archive: ZipFile, manifest: Manifest) -> None:
    """Load the CSV files into empty tables, and compare them with the manifest.

    Prices and misses are loaded first, and run their triggers. Then the rows of the backup replace
    those of the triggers, because it may have more: candles of dropped prices, revisions. Raises
    TransferError; commits nothing.
    """
    derived = [table for table in manifest.sums if table not in _SOURCE_TABLES]
    for table in _SOURCE_TABLES:
        _load_table(conn, archive, table)
    conn.execute(statement("run_deferred_triggers"))
    conn.execute(statement("truncate_tables", tables=SQL(", ").join(map(identifier, derived))))
    for table in derived:
        _load_table(conn, archive, table)
    conn.execute(statement("continue_ids"))
    _require_equal(conn, manifest)


def _load_table(conn: psycopg.Connection, archive: ZipFile, table: str) -> None:
    with archive.open(f"{table}.csv") as stream:
        names = next(csv.reader([stream.readline().decode()]))
        columns = SQL(", ").join(map(Identifier, names))
        query = statement("copy_in", table=identifier(table), columns=columns)
        with conn.cursor().copy(query) as copy:
            while chunk := stream.read(CHUNK_SIZE):
                copy.write(chunk)


def _require_equal(conn: psycopg.Connection, manifest: Manifest) -> None:
    """Raise TransferError with the first differences between the database and *manifest*."""
    differences = list(_differences(manifest.sums, compute_sums(conn, manifest.sums)))
    if differences:
        shown = "; ".join(differences[:MAX_SHOWN])
        hidden = len(differences) - MAX_SHOWN
        more = f" and {hidden} more" if hidden > 0 else ""
        raise TransferError(f"the restored database differs from the backup: {shown}{more}")


def _differences(expected: Sums, found: Sums) -> Iterator[str]:
    for table in sorted(expected):
        before, after = expected[table], found[table]
        for name in sorted(before.keys() | after.keys()):
            one, other = before.get(name, Sum()), after.get(name, Sum())
            if one.rows != other.rows:
                yield f"{table} of {name}: {other.rows:,} rows, not {one.rows:,}"
            elif one != other:
                yield f"{table} of {name}: {one.rows:,} rows, but not the same"


def _restore_dump(settings: Settings, archive: ZipFile, manifest: Manifest) -> list[str]:
    """Restore the dump into a draft, and rename it to the database. Returns notes for the user."""
    server = settings.changed(postgres_db="postgres")
    with open_session(server.direct_dsn, autocommit=True) as admin:
        if fetch_column(admin, "try_restore_lock") != [True]:
            raise TransferError("another restore is in progress on this server")
        for name in fetch_column(admin, "leftover_databases"):
            _drop_leftover(admin, settings.changed(postgres_db=name))
        _require_suitable_server(admin, manifest)
        if _exists(admin, settings.postgres_db):
            _require_free(settings)
        notes = _create_roles(admin, manifest)
        draft = settings.changed(postgres_db=f"tracker_restoring_{uuid4().hex}")
        try:
            admin.execute(statement("create_database", database=Identifier(draft.postgres_db)))
            _load_dump(draft, archive, manifest)
            return notes + _replace_database(admin, settings, draft)
        finally:  # renamed by now, unless something failed
            admin.execute(statement("drop_database", database=Identifier(draft.postgres_db)))


def _require_suitable_server(admin: psycopg.Connection, manifest: Manifest) -> None:
    """Raise TransferError unless a dump may be restored, and TimescaleDB has its version."""
    [(is_superuser, versions)] = admin.execute(statement("restore_facts"))
    if not is_superuser:
        raise TransferError("only a superuser may restore a dump; `backup --csv` needs none")
    if manifest.timescaledb not in versions:
        raise TransferError(
            f"this is a dump of TimescaleDB {manifest.timescaledb}, and the server has"
            f" {', '.join(versions) or 'none'}: `backup --csv` fits every version"
        )


def _require_free(settings: Settings) -> None:
    """Raise TransferError if the database has clients, or rows of a user."""
    database = settings.postgres_db
    with open_session(settings.direct_dsn) as conn:
        sessions = conn.execute(statement("sessions"), {"database": database}).fetchall()
        if clients := ", ".join(f"{name} ({count})" for name, count in sessions):
            raise TransferError(f"database {database} is in use by {clients}: stop them first")
        if counts := _count_rows(conn):
            tables = ", ".join(f"{table} ({count:,})" for table, count in list(counts.items())[:5])
            raise TransferError(
                f"database {database} already has rows, in {tables}: restore into another one"
                " (POSTGRES_DB), or rename it first; nothing is ever overwritten"
            )


def _count_rows(conn: psycopg.Connection) -> dict[str, int]:
    """The number of rows of each table that has rows of a user."""
    counts = {}
    for schema, table in conn.execute(statement("user_tables")).fetchall():
        [(count,)] = conn.execute(statement("count_rows", table=Identifier(schema, table)))
        if count:
            counts[f"{schema}.{table}".removeprefix("public.")] = count
    return counts


def _create_roles(admin: psycopg.Connection, manifest: Manifest) -> list[str]:
    """Create the missing roles of the dump's grants. Returns a note for each foreign role."""
    missing = queries.missing_roles(admin, manifest.roles)
    if {*missing} & {*ROLES}:
        admin.execute(load_sql("roles/create_roles"))
    others = [role for role in missing if role not in ROLES]
    for role in others:
        admin.execute(statement("create_role", role=Identifier(role)))
    return [f"created role {role}, which cannot log in yet" for role in others]


def _load_dump(draft: Settings, archive: ZipFile, manifest: Manifest) -> None:
    """Restore the dump into *draft*, owned by the user, and compare it with the manifest."""
    with open_session(draft.direct_dsn, autocommit=True) as conn:
        conn.execute(statement("create_extension", version=Identifier(manifest.timescaledb)))
        conn.execute(statement("pre_restore"))
    options = ("--no-owner", "--exit-on-error")
    with (
        archive.open(DUMP) as source,
        pg_program("pg_restore", draft, manifest.postgresql, *options) as process,
    ):
        assert process.stdin
        with suppress(BrokenPipeError):  # pg_restore's own error is more specific
            shutil.copyfileobj(source, process.stdin, CHUNK_SIZE)
        with suppress(BrokenPipeError):
            process.stdin.close()
    with open_session(draft.direct_dsn, autocommit=True) as conn:
        conn.execute(statement("post_restore"))
        conn.execute(statement("continue_ids"))
        _require_equal(conn, manifest)


def _replace_database(admin: psycopg.Connection, target: Settings, draft: Settings) -> list[str]:
    """Rename *draft* to *target*, and drop the empty database that had the name.

    If rows were stored there meanwhile, it is retained under another name, which a note has.
    Raises TransferError if a session uses it.
    """
    empty = target.changed(postgres_db=f"{_EMPTY_PREFIX}{uuid4().hex}")
    existed = _exists(admin, target.postgres_db)
    for each in (draft, target) if existed else (draft,):
        _call_background_workers("stop_background_workers", each)
    try:
        with admin.transaction():
            if existed:
                _rename_database(admin, target, empty)
            _rename_database(admin, draft, target)
    finally:
        if _exists(admin, target.postgres_db):
            _call_background_workers("start_background_workers", target)
    if existed and not _drop_leftover(admin, empty):
        return [f"rows that were stored meanwhile are retained in database {empty.postgres_db}"]
    return []


def _exists(admin: psycopg.Connection, database: str) -> bool:
    return bool(fetch_column(admin, "find_database", database=database))


def _call_background_workers(function: str, settings: Settings) -> None:
    with open_session(settings.direct_dsn, autocommit=True) as conn:
        conn.execute(statement("background_workers", function=Identifier(function)))


def _rename_database(admin: psycopg.Connection, old: Settings, new: Settings) -> None:
    names = {"database": Identifier(old.postgres_db), "new_name": Identifier(new.postgres_db)}
    admin.execute(statement("rename_database", **names))


def _drop_leftover(admin: psycopg.Connection, leftover: Settings) -> bool:
    """Drop a database that a restore left, unless rows were stored in it. Returns whether."""
    if leftover.postgres_db.startswith(_EMPTY_PREFIX):
        with open_session(leftover.direct_dsn) as conn:
            if _count_rows(conn):
                return False
    admin.execute(statement("drop_database", database=Identifier(leftover.postgres_db)))
    return True
