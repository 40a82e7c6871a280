"""The database as the worker sees it: a connection for one piece of work, and no longer."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Timer

import psycopg

from tracker.errors import DatabaseDown

_CONNECTING = 5  # seconds
_LONGEST_WORK = 8.0  # seconds on a connection; a statement ends earlier if the server runs at all
_OPTIONS = "-c statement_timeout=5000 -c timezone=UTC"


@contextmanager
def connected(dsn: str) -> Iterator[psycopg.Connection]:
    """A connection for one statement; what a later try may mend is raised as DatabaseDown.

    No pool: for a few rows a minute a fresh connection costs nothing, and is never a dead one.
    """
    try:
        with (
            psycopg.connect(
                dsn,
                autocommit=True,
                connect_timeout=_CONNECTING,
                application_name="tracker-worker",
                options=_OPTIONS,
            ) as conn,
            _cut_off(conn),
        ):
            yield conn
    except (psycopg.OperationalError, psycopg.ProgrammingError, psycopg.InternalError) as error:
        raise DatabaseDown(" ".join(str(error).split())) from error


@contextmanager
def _cut_off(conn: psycopg.Connection) -> Iterator[None]:
    """Bound the work on *conn*: a server that is stopped or unplugged would never answer."""

    def cut() -> None:
        with suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)

    with socket.socket(fileno=os.dup(conn.fileno())) as line:
        timer = Timer(_LONGEST_WORK, cut)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
