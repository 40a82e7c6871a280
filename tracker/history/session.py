"""The database as an import or export sees it: one transaction, however long it takes."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.errors import UndefinedColumn, UndefinedTable
from psycopg.rows import scalar_row

from tracker import migrations
from tracker.errors import DatabaseDown, MigrationsPending, describe
from tracker.queries.read import read

_PENDING_MIGRATIONS = read("history/pending_migrations")
_CONNECTING = 5  # seconds
# A lock is waited for as long as a worker may hold it, and well beyond. A million lines are
# sorted and kept in memory where the server's own settings would send them to disk.
_OPTIONS = (
    "-c statement_timeout=0 -c lock_timeout=30s -c timezone=UTC -c datestyle=ISO"
    " -c work_mem=128MB -c temp_buffers=64MB"
)


@contextmanager
def session(dsn: str, *, migrated: bool = True) -> Iterator[psycopg.Connection]:
    """A connection to a database; its one transaction ends with the block.

    Raises DatabaseDown, and MigrationsPending before anything is done: unless *migrated* is false,
    the schema must be up to date. An export also reads that of version 0.1.
    """
    try:
        with psycopg.connect(
            dsn,
            connect_timeout=_CONNECTING,
            application_name="tracker-history",
            options=_OPTIONS,
        ) as conn:
            if migrated:
                _demand_migrations(conn)
            yield conn
    except (UndefinedTable, UndefinedColumn) as error:
        raise MigrationsPending("the schema is missing or old: run `tracker migrate`") from error
    except (psycopg.OperationalError, psycopg.ProgrammingError, psycopg.InternalError) as error:
        raise DatabaseDown(describe(error)) from error


def _demand_migrations(conn: psycopg.Connection) -> None:
    with conn.cursor(row_factory=scalar_row) as cursor:
        cursor.execute(_PENDING_MIGRATIONS, {"names": migrations.names()})
        if pending := cursor.fetchall():
            raise MigrationsPending(f"run `tracker migrate` first: {', '.join(pending)} pending")
