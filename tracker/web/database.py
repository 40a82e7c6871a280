"""The database as a request sees it: an answer within a bound, or DatabaseDown."""

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

from tracker.errors import DatabaseDown, MigrationsPending, describe

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]

DEADLINE = 1.5  # seconds; a client is told within two that the database is down
CONNECT_TIMEOUT = 2  # seconds
# UTC by a name that needs no zone files. To find out anew for each question, or day, which chunks
# cannot have its rows takes longer than to look into them; and to compile a query, than to run it.
SESSION = "-c timezone=GMT -c timescaledb.enable_runtime_exclusion=off -c jit=off"

_OPTIONS = f"{SESSION} -c statement_timeout=1400"
_NO_LINGER = struct.pack("ii", 1, 0)  # struct linger: on, 0 seconds


class _Connection(AsyncConnection):
    """A connection whose socket is closed when connecting takes too long.

    psycopg 3.3 leaves that to the garbage collector: a server that stood still would go on with
    connections that nobody has.
    """

    @classmethod
    async def connect(cls, *args: Any, **changes: Any) -> Self:
        """Raises OperationalError without its past: the frames in there hold the socket."""
        try:
            return await super().connect(*args, **changes)
        except OperationalError as error:
            error.__context__ = None
            raise error.with_traceback(None) from None


Pool = AsyncConnectionPool[_Connection]


async def connect(dsn: str, name: str, options: str = _OPTIONS) -> AsyncConnection:
    """A connection of its own, of that *name*, for work that outlasts requests."""
    changes = {"connect_timeout": CONNECT_TIMEOUT, "options": options}
    return await _Connection.connect(dsn, autocommit=True, application_name=name, **changes)


@contextmanager
def translated() -> Iterator[None]:
    """The block's errors as ours. Raises DatabaseDown, MigrationsPending."""
    try:
        yield
    except (UndefinedTable, UndefinedColumn) as error:
        raise MigrationsPending(str(error)) from error
    except OperationalError as error:
        raise DatabaseDown(describe(error)) from error


class Database:
    """A pool whose work cannot outlast the deadline, whatever state the server is in."""

    def __init__(self, pool: Pool) -> None:
        """Use `opened`."""
        self._pool = pool

    @classmethod
    @asynccontextmanager
    async def opened(cls, dsn: str) -> AsyncIterator[Self]:
        """Open a pool; the server may be away, now and later."""
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

        deadline: on the loop's clock; by default DEADLINE seconds from now.

        After a restart of the server each pooled connection fails once: the next one is tried. A
        replica that has to catch up ends what stands in its way, as a failed serialization.
        """
        loop = asyncio.get_running_loop()
        deadline = deadline or loop.time() + DEADLINE
        with translated():
            while True:
                async with self._pool.connection(timeout=deadline - loop.time()) as conn:
                    timer = loop.call_at(deadline, cut, conn)
                    try:
                        return await work(conn)
                    except OperationalError as error:
                        if not (conn.closed or isinstance(error, SerializationFailure)):
                            raise
                    finally:
                        timer.cancel()


def cut(conn: AsyncConnection) -> None:
    """End *conn* at once, and with it whatever waits for an answer on it.

    Cancelling the waiting task would take longer: psycopg then asks the server to cancel, and a
    stopped server says nothing.

    Once it is closed, TCP resets it: a server that is blocked in sending would learn of an orderly
    end only from the kernel's next attempt, up to two minutes later, and takes no cancel till then.
    """
    if not conn.closed:
        with socket.socket(fileno=os.dup(conn.fileno())) as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            line.shutdown(socket.SHUT_RDWR)
