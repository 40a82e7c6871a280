"""Exports in progress: prices as lines, a day at a time, each on a connection of its own."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from psycopg import AsyncConnection, AsyncCopy

from tracker import queries
from tracker.errors import ServiceUnavailable
from tracker.queries.prices import PageQuery
from tracker.web.database import SESSION, disconnect, open_connection, translate_errors
from tracker.web.responses import PriceFormat

MAX_EXPORTS = 4  # each occupies a process of the server
BEGIN_TIMEOUT = 5.0  # seconds until the first line, or an error with its status

_READ_TIMEOUT = 30.0  # seconds that the server may take for the lines of a day
_OPTIONS = f"{SESSION} -c statement_timeout=1h"  # bounds an export to a slow client


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRange:
    """The prices of *ticker* with ``since <= created_at <= until``, oldest first."""

    ticker: str
    since: datetime
    until: datetime
    price_format: PriceFormat

    def lines(self, row: bytes) -> bytes:
        """The lines of a *row* of COPY, which ends the row itself, and escapes line ends inside.

        Nothing else in it has a backslash: values are numbers, times and names.
        """
        end = self.price_format.line_end.encode()
        escaped = self.price_format.line_end.encode("unicode_escape")
        return row[:-1].replace(escaped, end) + end


class Exports:
    """The exports of one process, limited in number."""

    def __init__(self, dsn: str) -> None:
        """Up to MAX_EXPORTS at once, from the database of *dsn*."""
        self._dsn = dsn
        self._count = 0

    async def open(self, exported: ExportRange) -> "Export":
        """Open an export, which the caller closes.

        Raises ServiceUnavailable, DatabaseDown, MigrationsPending.
        """
        if self._count >= MAX_EXPORTS:
            raise ServiceUnavailable({"export": f"{MAX_EXPORTS} are in progress, the maximum"})
        self._count += 1
        async with AsyncExitStack() as stack:
            stack.callback(self._leave)
            with translate_errors():
                conn = await open_connection(self._dsn, "tracker-export", _OPTIONS)
                stack.push_async_callback(conn.close)
                return await Export(conn, exported, stack).begin()

    def _leave(self) -> None:
        self._count -= 1


class Export:
    """The lines of one export, a day at a time: memory does not grow with the range.

    first: the first piece, with the header line; it may be empty.
    """

    def __init__(self, conn: AsyncConnection, exported: ExportRange, stack: AsyncExitStack) -> None:
        """Read on *conn*; *stack* closes what is open."""
        self.first = b""
        self._conn = conn
        self._exported = exported
        self._stack = stack
        self._copy: AsyncCopy | None = None

    async def begin(self) -> Self:
        """Read the first piece. `close` then closes the connection."""
        with self._deadline(BEGIN_TIMEOUT):
            if copy := await self._start_copy():
                self._copy = await self._stack.enter_async_context(copy)
                # Closed first: psycopg would otherwise send a cancel request, and read the rest.
                self._stack.callback(self._conn.pgconn.finish)
            self.first = self._exported.price_format.header.encode() + await self._read_piece()
        self._stack = self._stack.pop_all()
        return self

    async def read_piece(self) -> bytes:
        """The next piece; empty at the end. Raises DatabaseDown."""
        with translate_errors(), self._deadline(_READ_TIMEOUT):
            return await self._read_piece()

    def abort(self) -> None:
        """Disconnect, so that a waiting read fails now."""
        disconnect(self._conn)

    async def close(self) -> None:
        """Close the connection, and make room for another export."""
        await self._stack.aclose()

    async def _start_copy(self) -> AbstractAsyncContextManager[AsyncCopy] | None:
        """From the first price to the last: no day outside is read."""
        exported = self._exported
        if exported.since > exported.until:
            return None
        ends = [await self._first_minute(ascending=ascending) for ascending in (True, False)]
        if ends[0] is None or ends[1] is None:
            return None
        price_format = exported.price_format
        return queries.exported_lines(
            self._conn,
            exported.ticker,
            ends[0],
            ends[1],
            template=price_format.template(exported.ticker),
            separator=price_format.line_end,
            with_source=bool(price_format.extras),
        )

    async def _first_minute(self, *, ascending: bool) -> datetime | None:
        """The first minute of the range that has a price, or the last one if not *ascending*."""
        exported = self._exported
        query = PageQuery(
            ticker=exported.ticker,
            template=exported.price_format.template(exported.ticker),
            since=exported.since,
            until=exported.until,
            count=1,
            ascending=ascending,
            with_source=bool(exported.price_format.extras),
        )
        [page] = await queries.price_pages(self._conn, [query])
        return page.first_at

    async def _read_piece(self) -> bytes:
        row = bytes(await self._copy.read()) if self._copy else b""
        return self._exported.lines(row) if row else b""

    @contextmanager
    def _deadline(self, seconds: float) -> Iterator[None]:
        """Cut the connection unless the block ends in time."""
        deadline = asyncio.get_running_loop().call_later(seconds, disconnect, self._conn)
        try:
            yield
        finally:
            deadline.cancel()
