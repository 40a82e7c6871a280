"""The database as a request sees it: an answer within a bound, or DatabaseDown."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self, TypeVar

from psycopg import AsyncConnection, Error, OperationalError
from psycopg.errors import UndefinedColumn, UndefinedTable
from psycopg_pool import AsyncConnectionPool

from tracker.errors import DatabaseDown, MigrationsPending

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]

_CONNECTIONS = 10
_DEADLINE = 1.7  # seconds; a client is told within two that the database is down
_OPTIONS = "-c statement_timeout=1600 -c timezone=UTC"


class Database:
    """A pool whose work cannot outlast the deadline, whatever state the server is in."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        """Use `opened`."""
        self._pool = pool

    @classmethod
    @asynccontextmanager
    async def opened(cls, dsn: str) -> AsyncIterator[Self]:
        """Open a pool; the server may be away, now and later."""
        pool = AsyncConnectionPool(
            dsn,
            min_size=2,
            max_size=_CONNECTIONS,
            timeout=1.5,
            reconnect_timeout=2,
            max_waiting=500,
            kwargs={
                "autocommit": True,
                "application_name": "tracker-web",
                "connect_timeout": 2,
                "options": _OPTIONS,
            },
            open=False,
        )
        async with pool:
            yield cls(pool)

    async def run(self, work: Work[T]) -> T:
        """The result of *work* on a connection. Raises DatabaseDown, MigrationsPending."""
        held: list[AsyncConnection] = []
        task = asyncio.ensure_future(self._work(work, held))
        done, _ = await asyncio.wait({task}, timeout=_DEADLINE)
        if not done:
            _abandon(task, held)
            raise DatabaseDown(f"no answer in {_DEADLINE} s")
        try:
            return task.result()
        except (UndefinedTable, UndefinedColumn) as error:
            raise MigrationsPending(str(error)) from error
        except OperationalError as error:
            raise DatabaseDown(str(error).strip()) from error

    async def _work(self, work: Work[T], held: list[AsyncConnection]) -> T:
        """After a restart of the server each pooled connection fails once: try the next."""
        for _ in range(_CONNECTIONS):
            try:
                return await self._once(work, held)
            except OperationalError:
                if not (held and held.pop().closed):
                    raise
        return await self._once(work, held)

    async def _once(self, work: Work[T], held: list[AsyncConnection]) -> T:
        async with self._pool.connection() as conn:
            held.append(conn)
            return await work(conn)


def _abandon(task: asyncio.Future[T], held: list[AsyncConnection]) -> None:
    """Let *task* fail by itself: its connection is cut, so that nothing waits for the server.

    Cancelling would wait: psycopg asks the server to cancel, and a stopped server says nothing.
    """
    task.add_done_callback(_forget)
    for conn in held:
        if not conn.closed:
            with socket.socket(fileno=os.dup(conn.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)


def _forget(task: asyncio.Future[T]) -> None:
    if not task.cancelled() and not isinstance(task.exception(), Error | None):
        task.result()
