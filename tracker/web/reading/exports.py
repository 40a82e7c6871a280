"""Exports under way: how many there may be, and how each reads its lines.

Each has a connection of its own, so that ordinary requests keep theirs.
"""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Self

from psycopg import AsyncConnection, AsyncCopy

from tracker import queries
from tracker.errors import NotNow
from tracker.queries.exporting import Copying
from tracker.web.reading import paging
from tracker.web.reading.database import SESSION, connect, cut, translated
from tracker.web.reading.exported import Wanted

LIMIT = 4  # each keeps a process of the server busy, and takes some of our time
BEGIN_TIMEOUT = 5.0  # seconds until there is a first line, or an error with its status

_PATIENCE = 30.0  # seconds that the server may take for a day's lines
_OPTIONS = f"{SESSION} -c statement_timeout=1h"  # who reads slowly cannot stay for ever


class Exports:
    """The exports of one process."""

    def __init__(self, dsn: str) -> None:
        """Up to LIMIT at once, from the database of *dsn*."""
        self._dsn = dsn
        self._count = 0

    async def open(self, wanted: Wanted) -> "Export":
        """Begin one; whoever asked has to close it.

        Raises NotNow, DatabaseDown, MigrationsPending.
        """
        if self._count >= LIMIT:
            raise NotNow({"export": f"{LIMIT} are under way, and there may be no more at once"})
        self._count += 1
        async with AsyncExitStack() as stack:
            stack.callback(self._leave)
            with translated():
                conn = await connect(self._dsn, "tracker-export", _OPTIONS)
                stack.push_async_callback(conn.close)
                return await Export(conn, wanted, stack).begin()

    def _leave(self) -> None:
        self._count -= 1


class Export:
    """The lines of one export, a piece at a time: in memory is a day of them, whatever the range.

    first: the piece that is read already, with what stands above it; it may be empty.
    """

    def __init__(self, conn: AsyncConnection, wanted: Wanted, stack: AsyncExitStack) -> None:
        """Read on *conn*; *stack* closes what is open."""
        self.first = b""
        self._conn = conn
        self._wanted = wanted
        self._stack = stack
        self._copy: AsyncCopy | None = None

    async def begin(self) -> Self:
        """Read the first piece; what is open is then closed by `close`."""
        with self._within(BEGIN_TIMEOUT):
            if copying := await self._copying():
                self._copy = await self._stack.enter_async_context(copying)
                # First of all: psycopg would otherwise ask the server to cancel, and read the rest.
                self._stack.callback(self._conn.pgconn.finish)
            self.first = self._wanted.form.head.encode() + await self._piece()
        self._stack = self._stack.pop_all()
        return self

    async def read(self) -> bytes:
        """The next piece; empty at the end. Raises DatabaseDown."""
        with translated(), self._within(_PATIENCE):
            return await self._piece()

    def stop(self) -> None:
        """Make whatever waits for the server fail, now."""
        cut(self._conn)

    async def close(self) -> None:
        """Free the connection, and the place."""
        await self._stack.aclose()

    async def _copying(self) -> Copying | None:
        """From the first price to the last: no day outside is looked at."""
        ticker, minutes = self._wanted.ticker, self._wanted.minutes
        ask = paging.alone(self._conn)
        first = (await paging.prices(ask, ticker, minutes, 1, ascending=True)).first_at
        last = (await paging.prices(ask, ticker, minutes, 1, ascending=False)).first_at
        if not first or not last:
            return None
        form = self._wanted.form
        return queries.exported_lines(
            self._conn,
            ticker,
            first,
            last,
            template=form.template(ticker),
            separator=form.end,
            sourced=bool(form.extras),
        )

    async def _piece(self) -> bytes:
        row = bytes(await self._copy.read()) if self._copy else b""
        return self._wanted.lines(row) if row else b""

    @contextmanager
    def _within(self, seconds: float) -> Iterator[None]:
        deadline = asyncio.get_running_loop().call_later(seconds, cut, self._conn)
        try:
            yield
        finally:
            deadline.cancel()
