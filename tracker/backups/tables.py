"""The tables of a backup as CSV, into a migrated database of whatever version and edition.

Prices and misses go in as they always do, and triggers follow; then what these made is replaced by
what the backup has, which may be more: candles of prices that are no longer kept, revisions. So
nobody but the owner's rights are needed, and it is one transaction.
"""

import csv

import psycopg

from tracker import migrations
from tracker.backups import target
from tracker.backups.archive import Reader
from tracker.backups.connection import connection
from tracker.backups.manifest import differences, summed
from tracker.backups.statements import listed, listed_tables, qualified, statement
from tracker.errors import BackupError
from tracker.queries.read import read
from tracker.settings import Settings

_NEXT_ID = read("backups/next_id")
_NEXT_BATCH = read("backups/next_batch")
_SETTLE = read("backups/settle")
_CHUNK = 1 << 20  # bytes
_FIRST = ("prices", "misses")  # triggers make all else of them


def restore(settings: Settings, source: Reader) -> list[str]:
    """Load *source* into the database, brought to its schema first; what was done besides.

    Raises BackupError, DatabaseDown; the database holds nothing then, as before.
    """
    dsn, name = settings.direct_dsn, settings.postgres_db
    with connection(dsn) as conn:
        target.demand_unused(conn, name)
        target.demand_empty(conn, name)
    newest = source.manifest.migrations[-1]
    migrations.apply(dsn, newest)
    migrations.rollback(dsn, newest)
    with connection(dsn) as conn:
        load(conn, source)
    return []


def load(conn: psycopg.Connection, source: Reader) -> None:
    """Store what *source* has, and compare; the tables are empty and of its schema.

    Raises BackupError before anything is committed.
    """
    wanted = source.manifest.sums
    made = [table for table in wanted if table not in _FIRST]
    for table in _FIRST:
        _copy(conn, source, table)
    conn.execute(_SETTLE)
    conn.execute(statement("empty", tables=listed_tables(made)))
    for table in made:
        _copy(conn, source, table)
    conn.execute(_NEXT_ID)
    conn.execute(_NEXT_BATCH)
    if told := differences(wanted, summed(conn)):
        raise BackupError(f"what was loaded is not what was backed up: {told}")


def _copy(conn: psycopg.Connection, source: Reader, table: str) -> None:
    with source.member(f"{table}.csv") as stream:
        columns = next(csv.reader([stream.readline().decode()]))
        into = statement("into", table=qualified(table), columns=listed(columns))
        with conn.cursor().copy(into) as copy:
            while chunk := stream.read(_CHUNK):
                copy.write(chunk)
