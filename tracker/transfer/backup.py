"""`tracker backup`: the whole database as it is at one moment, in one file, while others write.

The file is a zip: a dump of pg_dump or a CSV file of each table, and last `manifest.json`, which
tells what a restored database must hold.
"""

import re
import shutil
import signal
import subprocess
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

from tracker.embedded.account import bind_to_parent
from tracker.embedded.packages import find_programs
from tracker.errors import TransferError
from tracker.settings import Settings
from tracker.transfer.session import connect, identifier, output_file, statement

DUMP = "database.dump"
MANIFEST = "manifest.json"
CHUNK_SIZE = 1 << 20  # bytes

# Each table, and the column by which its rows are counted. Triggers of prices and misses fill the
# others.
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
    """What a backup holds.

    kind: a dump of pg_dump, or CSV files.
    postgresql, timescaledb: the versions of the server it is from; of PostgreSQL the major one.
    migrations: those of the database, oldest first.
    roles: those that have rights on something in the database.
    """

    model_config = ConfigDict(frozen=True)

    kind: Kind
    postgresql: int
    timescaledb: str
    migrations: list[str]
    roles: list[str]
    sums: Sums

    def rows(self, table: str) -> int:
        """How many rows of *table* the backup holds."""
        return sum(each.rows for each in self.sums.get(table, {}).values())


def backup(settings: Settings, file: str, kind: Kind) -> Manifest:
    """Write the database to *file*, "-" being standard output; what the backup holds.

    Manifest and rows are of one snapshot. Readers and writers are not blocked; migrations and
    dropped chunks wait, or make the backup fail. The file appears under its name when complete.
    Raises BadRequest for a file that cannot be written, DatabaseDown, MigrationsPending,
    TransferError.
    """
    with (
        connect(settings.direct_dsn) as conn,
        output_file(file) as stream,
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
        archive.writestr(MANIFEST, manifest.model_dump_json(indent=1))  # last: a part has none
    return manifest


def _take_manifest(conn: psycopg.Connection, kind: Kind) -> tuple[str, Manifest]:
    """The exported snapshot of the transaction, and the manifest of what it sees."""
    with conn.cursor(row_factory=dict_row) as cursor:
        facts = cursor.execute(statement("backup_facts"), {"tables": list(TABLES)}).fetchone()
    assert facts  # the statement returns one row
    snapshot, tables = facts.pop("snapshot"), facts.pop("tables")
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

    *major* is the version of PostgreSQL that it must know. It ends with the block; if it fails,
    TransferError is raised with its first error.
    """
    parameters = conninfo_to_dict(settings.direct_dsn)
    password = parameters.pop("password", None)  # every user can read the words of a command
    environment = settings.environment() | ({"PGPASSWORD": str(password)} if password else {})
    dsn = make_conninfo("", **parameters)
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
        stderr = thread.submit(process.stderr.read)  # no file: containers have no /tmp
        try:
            yield process
        except BaseException:
            process.kill()
            raise
        if process.wait():
            lines = stderr.result().decode(errors="replace").splitlines() or ["fails silently"]
            error = next((line for line in lines if "error: " in line), lines[-1])
            error = error.removeprefix(f"{name}: ").removeprefix("error: ")
            raise TransferError(f"{name}: {error}")


def _find_program(name: str, settings: Settings, major: int) -> str:
    """The program of this machine if it is not older than *major*, else of the embedded server."""
    own = shutil.which(name) if settings.postgres_host else None
    if own:
        command = [own, "--version"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 -- our own command
        version = re.search(r"\b(\d+)\.", done.stdout)
        if version and int(version[1]) >= major:
            return own
    return str(find_programs(settings).postgres / name)
