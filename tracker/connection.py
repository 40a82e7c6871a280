"""The database as the worker sees it: a connection for one piece of work, and no longer."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Timer

import psycopg

from tracker.errors import DatabaseDown

_CONNECTING = 5  # seconds
_STATEMENT = 5.0  # seconds, if the server runs at all
_SPARE = 3.0  # seconds more, and the connection is cut


@contextmanager
def connected(dsn: str, seconds: float = _STATEMENT) -> Iterator[psycopg.Connection]:
    """A connection for one statement; what a later try may mend is raised as DatabaseDown.

    It may take *seconds*. No pool: for a few rows a minute a fresh connection costs nothing, and
    is never a dead one.
    """
    try:
        with (
            psycopg.connect(
                dsn,
                autocommit=True,
                connect_timeout=_CONNECTING,
                application_name="tracker-worker",
                options=f"-c statement_timeout={seconds:.0f}s -c timezone=UTC",
            ) as conn,
            _cut_off(conn, seconds + _SPARE),
        ):
            yield conn
    except (psycopg.OperationalError, psycopg.ProgrammingError, psycopg.InternalError) as error:
        raise DatabaseDown(" ".join(str(error).split())) from error


@contextmanager
def _cut_off(conn: psycopg.Connection, seconds: float) -> Iterator[None]:
    """Bound the work on *conn* to *seconds*: a server that is stopped would never answer."""

    def cut() -> None:
        with suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)

    with socket.socket(fileno=os.dup(conn.fileno())) as line:
        timer = Timer(seconds, cut)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
