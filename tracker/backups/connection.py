"""The database as a backup sees it: for as long as it takes."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.errors import UndefinedTable

from tracker.errors import BackupError, DatabaseDown, MigrationsPending, describe

_CONNECTING = 5  # seconds
_AWAY = {"08", "57"}  # classes of SQLSTATE: connection exceptions, and a server that shuts down
# Checksums are of rows as text, which is the same in every session then.
_OPTIONS = (
    "-c statement_timeout=0 -c lock_timeout=30s -c idle_in_transaction_session_timeout=0"
    " -c timezone=UTC -c datestyle=ISO -c intervalstyle=postgres -c extra_float_digits=1"
    " -c client_min_messages=error"
)


@contextmanager
def connection(dsn: str, *, autocommit: bool = False) -> Iterator[psycopg.Connection]:
    """A connection, whose transaction ends with the block; without one if *autocommit*.

    Raises DatabaseDown, MigrationsPending where there are none of our tables, and BackupError for
    what the server refuses.
    """
    try:
        with psycopg.connect(
            dsn,
            autocommit=autocommit,
            connect_timeout=_CONNECTING,
            application_name="tracker-backup",
            options=_OPTIONS,
        ) as conn:
            yield conn
    except UndefinedTable as error:
        raise MigrationsPending("the database is empty: run `tracker migrate`") from error
    except psycopg.Error as error:
        is_away = error.sqlstate is None or error.sqlstate[:2] in _AWAY
        raise (DatabaseDown if is_away else BackupError)(_line(error)) from error


def _line(error: psycopg.Error) -> str:
    return " ".join((error.diag.message_primary or describe(error)).split())
