"""`tracker backup`: a consistent snapshot of the database in one file, while others write.

The file is a zip: a dump of pg_dump or a CSV file of each table, and last `manifest.json`, with
which a restored database is compared.
"""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Literal
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import psycopg
from psycopg import IsolationLevel
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row
from psycopg.sql import Identifier
from pydantic import BaseModel, ConfigDict

from tracker import queries
from tracker.embedded.account import bind_to_parent
from tracker.embedded.packages import find_programs
from tracker.errors import DatabaseDown, MigrationsPending, TransferError
from tracker.settings import Settings
from tracker.transfer.session import OPTIONS, identifier, open_session, output_file, statement

DUMP = "database.dump"
MANIFEST = "manifest.json"
CHUNK_SIZE = 1 << 20  # bytes

# Each table, and the column by which its rows are counted. Triggers of prices and misses fill the
# other tables.
TABLES = {
    "prices": "ticker",
    "misses": "ticker",
    "tickers": "ticker",
    "candles_1h": "ticker",
    "candles_1d": "ticker",
    "internal.price_islands": "ticker",
    "internal.miss_islands": "ticker",
    "internal.batches": "tickers",
    "internal.changes": "ticker",
    "internal.month_revisions": "ticker",
    "internal.heartbeats": "part",
}

Kind = Literal["dump", "csv"]


class Sum(BaseModel):
    """The rows of one index in one table: how many, and the sum of their hashes."""

    model_config = ConfigDict(frozen=True)

    rows: int = 0
    checksum: str = ""


Sums = dict[str, dict[str, Sum]]  # by table, then by index


class Manifest(BaseModel):
    """The content of a backup.

    kind: a dump of pg_dump, or CSV files.
    postgresql, timescaledb: the versions of its server; of PostgreSQL the major version.
    migrations: those applied to the database, oldest first.
    roles: those with privileges in the database.
    """

    model_config = ConfigDict(frozen=True)

    kind: Kind
    postgresql: int
    timescaledb: str
    migrations: list[str]
    roles: list[str]
    sums: Sums

    def rows(self, table: str) -> int:
        """The number of rows of *table* in the backup."""
        return sum(each.rows for each in self.sums.get(table, {}).values())


def backup(settings: Settings, file: str, kind: Kind, *, force: bool = False) -> Manifest:
    """Write the database to *file* ("-": standard output), and return the manifest.

    Manifest and rows are of one snapshot. Readers and writers are not blocked; migrations and
    dropped chunks wait, or make the backup fail. The file appears under its name when complete, and
    replaces an old one only with *force*. Raises BadRequest for a file that exists or cannot be
    written, DatabaseDown, MigrationsPending for a database without a schema, TransferError.
    """
    with (
        open_session(settings.direct_dsn) as conn,
        output_file(file, force=force) as stream,
        ZipFile(stream, "w", ZIP_STORED if kind == "dump" else ZIP_DEFLATED) as archive,
    ):
        conn.isolation_level = IsolationLevel.REPEATABLE_READ
        conn.read_only = True
        snapshot, manifest = _take_manifest(conn, kind)
        if kind == "dump":
            options = (f"--snapshot={snapshot}", "--format=custom", "--lock-wait-timeout=30s")
            with (
                archive.open(DUMP, "w", force_zip64=True) as sink,
                pg_program("pg_dump", settings, manifest.postgresql, *options) as process,
            ):
                assert process.stdout
                shutil.copyfileobj(process.stdout, sink, CHUNK_SIZE)
        else:
            for table in manifest.sums:
                query = statement("copy_out", table=identifier(table))
                with (
                    archive.open(f"{table}.csv", "w", force_zip64=True) as sink,
                    conn.cursor().copy(query) as copy,
                ):
                    sink.writelines(copy)
        archive.writestr(
            MANIFEST, manifest.model_dump_json(indent=1)
        )  # last: marks the file as complete
    _record_backup(settings.direct_dsn)
    return manifest


def _record_backup(dsn: str) -> None:
    """Record in the database that a backup is complete, for the metric of its age."""
    try:
        with open_session(dsn) as conn:
            queries.record_heartbeat(conn, "backup")
    except (DatabaseDown, MigrationsPending, TransferError) as error:
        sys.stderr.write(
            f"tracker: the backup is complete, but its time is not recorded: {error}\n"
        )


def _take_manifest(conn: psycopg.Connection, kind: Kind) -> tuple[str, Manifest]:
    """The exported snapshot of the transaction, and the manifest of what it sees."""
    with conn.cursor(row_factory=dict_row) as cursor:
        facts = cursor.execute(statement("backup_facts"), {"tables": list(TABLES)}).fetchone()
    assert facts  # the statement returns one row
    snapshot, tables = facts.pop("snapshot"), facts.pop("tables")
    if not tables:
        raise MigrationsPending("the database has no schema: run `tracker migrate`")
    return snapshot, Manifest(kind=kind, sums=compute_sums(conn, tables), **facts)


def compute_sums(conn: psycopg.Connection, tables: Iterable[str]) -> Sums:
    """Rows and checksums of *tables*, which are some of TABLES."""
    sums: Sums = {}
    for table in tables:
        key = Identifier(TABLES[table])
        rows = conn.execute(statement("checksums", table=identifier(table), key=key))
        sums[table] = {name: Sum(rows=count, checksum=checksum) for name, count, checksum in rows}
    return sums


@contextmanager
def pg_program(
    name: str, settings: Settings, major: int, *options: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """pg_dump or pg_restore on the database; its streams are binary pipes.

    *major* is the version of PostgreSQL that it must support. It ends with the block. Raises
    TransferError with its first error if it fails.
    """
    parameters = conninfo_to_dict(settings.direct_dsn)
    password = parameters.pop("password", None)  # every user can read the arguments of a process
    environment = settings.environment() | ({"PGPASSWORD": str(password)} if password else {})
    dsn = make_conninfo("", **parameters, options=OPTIONS)
    command = [_find_program(name, settings, major), "--no-password", f"--dbname={dsn}", *options]
    with (
        ThreadPoolExecutor(1) as thread,
        subprocess.Popen(  # noqa: S603 -- our own command
            bind_to_parent(command, signal.SIGKILL),
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        assert process.stderr
        stderr = thread.submit(process.stderr.read)  # not a file, because containers have no /tmp
        try:
            yield process
        except BaseException:
            process.kill()
            raise
        if process.wait():
            lines = stderr.result().decode(errors="replace").splitlines() or ["failed silently"]
            error = next((line for line in lines if "error: " in line), lines[-1])
            error = error.removeprefix(f"{name}: ").removeprefix("error: ")
            raise TransferError(f"{name}: {error}")


def _find_program(name: str, settings: Settings, major: int) -> str:
    """This machine's program if its version is at least *major*, else the embedded server's."""
    own = shutil.which(name) if settings.postgres_host else None
    if own:
        command = [own, "--version"]
        completed = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 -- our own command
        version = re.search(r"\b(\d+)\.", completed.stdout)
        if version and int(version[1]) >= major:
            return own
    return str(find_programs(settings).postgres / name)
