"""Reading from the database: a pool with a deadline for each query, or DatabaseDown."""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self, TypeVar

from psycopg import AsyncConnection, OperationalError
from psycopg.errors import SerializationFailure, UndefinedColumn, UndefinedTable
from psycopg_pool import AsyncConnectionPool

from tracker import database
from tracker.errors import DatabaseDown, MigrationsPending, describe

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]

QUERY_DEADLINE = 1.5  # seconds; a client gets the 503 of an unavailable database within two
CONNECT_TIMEOUT = 2  # seconds
# Excluding chunks at run time takes longer than reading them, and compiling a query takes longer
# than running it.
SESSION = f"{database.SESSION} -c timescaledb.enable_runtime_exclusion=off -c jit=off"

_OPTIONS = f"{SESSION} -c statement_timeout=1400"
_NO_LINGER = struct.pack("ii", 1, 0)  # struct linger: on, 0 seconds


class _Connection(AsyncConnection):
    """A connection whose socket is closed when connecting times out.

    psycopg 3.3 leaves that to the garbage collector: an unresponsive server would later go on with
    connections that no client has.
    """

    @classmethod
    async def connect(cls, *args: Any, **changes: Any) -> Self:
        """Raises OperationalError without its traceback, whose frames hold the socket."""
        try:
            return await super().connect(*args, **changes)
        except OperationalError as error:
            error.__context__ = None
            raise error.with_traceback(None) from None


Pool = AsyncConnectionPool[_Connection]


async def open_connection(dsn: str, name: str, options: str = _OPTIONS) -> AsyncConnection:
    """A connection outside the pool, of the application *name*, for work beyond one request."""
    changes = {"connect_timeout": CONNECT_TIMEOUT, "options": options}
    return await _Connection.connect(dsn, autocommit=True, application_name=name, **changes)


@contextmanager
def translate_errors() -> Iterator[None]:
    """Translate errors of psycopg in the block. Raises DatabaseDown, MigrationsPending."""
    try:
        yield
    except (UndefinedTable, UndefinedColumn) as error:
        raise MigrationsPending(str(error)) from error
    except OperationalError as error:
        raise DatabaseDown(describe(error)) from error


class Database:
    """A pool of connections. Each query ends by its deadline, whatever state the server is in."""

    def __init__(self, pool: Pool) -> None:
        """Use `opened`."""
        self._pool = pool

    @classmethod
    @asynccontextmanager
    async def opened(cls, dsn: str) -> AsyncIterator[Self]:
        """Open a pool; the server may be unavailable, now and later."""
        pool = Pool(
            dsn,
            connection_class=_Connection,
            min_size=2,
            max_size=10,
            max_waiting=500,
            reconnect_timeout=2,
            kwargs={
                "autocommit": True,
                "application_name": "tracker-web",
                "connect_timeout": CONNECT_TIMEOUT,
                "options": _OPTIONS,
            },
            open=False,
        )
        async with pool:
            yield cls(pool)

    async def run(self, work: Work[T], deadline: float | None = None) -> T:
        """The result of *work*, which only reads. Raises DatabaseDown, MigrationsPending.

        deadline: on the loop's clock; by default QUERY_DEADLINE seconds from now.

        After a restart of the server each pooled connection fails once, and a replica cancels
        queries to apply changes, as a failed serialization: another connection is tried.
        """
        loop = asyncio.get_running_loop()
        deadline = deadline or loop.time() + QUERY_DEADLINE
        with translate_errors():
            while True:
                async with self._pool.connection(timeout=deadline - loop.time()) as conn:
                    timer = loop.call_at(deadline, disconnect, conn)
                    try:
                        return await work(conn)
                    except OperationalError as error:
                        if not (conn.closed or isinstance(error, SerializationFailure)):
                            raise
                    finally:
                        timer.cancel()


def disconnect(conn: AsyncConnection) -> None:
    """Disconnect *conn* at once, so that a query that waits on it fails.

    Cancelling the task would take longer: psycopg then sends the server a cancel request, to which
    an unresponsive one does not respond.

    Closing resets the TCP connection: a server that is blocked in sending would notice an orderly
    shutdown only at the kernel's next attempt, up to two minutes later.
    """
    if not conn.closed:
        with socket.socket(fileno=os.dup(conn.fileno())) as duplicate:
            duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            duplicate.shutdown(socket.SHUT_RDWR)
