"""GET /prices/export: the prices of a range of any length, streamed.

PostgreSQL renders the lines, a day at a time, and four weeks for Arrow and Parquet: memory does not
grow with the range. An export occupies a process of the server until its client has read it,
therefore their number is limited.
"""

import asyncio
import zlib
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Protocol, Self

from loguru import logger
from psycopg import AsyncConnection, AsyncCopy
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tracker import columnar, queries
from tracker.columnar import Encoder
from tracker.errors import DatabaseDown, NotAcceptable, ServiceUnavailable
from tracker.queries.prices import PageQuery
from tracker.times import FIRST, LAST
from tracker.web import params, schemas
from tracker.web.connection import Connection, connection_of
from tracker.web.database import SESSION, disconnect, open_connection, translate_errors
from tracker.web.endpoint import AppRequest, endpoint, require_ticker
from tracker.web.params import LINE_FORMATS, TickerQuery
from tracker.web.prices import EXAMPLE, listing_minutes, minute_at
from tracker.web.responses import (
    ARROW,
    COLUMNAR,
    CONTENT_TYPES,
    CSV,
    GZIP_LEVEL,
    MEDIA_TYPES,
    NDJSON,
    PARQUET,
    PriceFormat,
    accepted_codings,
    negotiate,
    request_header,
    require_match,
)

MAX_EXPORTS = 4  # at once
BEGIN_TIMEOUT = 5.0  # seconds until the first line, or an error with its status
WRITE_TIMEOUT = 30.0  # seconds for a client to read a piece: at most a day of lines, two megabytes

_GZIP_FORMAT = 31  # wbits of zlib: the largest window, with the header of gzip
_READ_TIMEOUT = 30.0  # seconds that the server may take for a piece
_FORMATS = (*LINE_FORMATS, *columnar.FORMATS)
_SUFFIXES = {CSV: "csv", NDJSON: "ndjson", ARROW: "arrows", PARQUET: "parquet"}
_OPTIONS = f"{SESSION} -c statement_timeout=1h"  # bounds an export to a slow client

START = params.moment(
    "start_date",
    "One bound of the range, inclusive; it may be the later one; default: the first price.",
)
END = params.moment("end_date", "The other bound, exclusive; default: now.")
FORMAT = replace(
    params.choice(
        "format",
        _FORMATS,
        "The format, whatever Accept says; default: what Accept prefers, CSV if it accepts any.",
    ),
    documented=False,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportQuery(TickerQuery):
    """All prices of a range."""

    start_date: Annotated[datetime | None, START] = None
    end_date: Annotated[datetime | None, END] = None
    include: Annotated[tuple[str, ...], params.INCLUDE] = ()
    format: Annotated[str | None, FORMAT] = None
    price_type: Annotated[str, params.PRICE_TYPE] = "decimal"


@endpoint(
    "/prices/export",
    "export",
    summary="All prices of a range, oldest first: the lines that pages have, however many",
    description="It is streamed as it is read. An export that fails is cut off before its last"
    " chunk, or by a reset of the connection with HTTP/1.0. 503 while too many others are in"
    " progress.",
    response=schemas.lines_response(EXAMPLE, "Content-Disposition", "Cache-Control", "Vary"),
    errors=(406, 412, 422, 500, 503),
)
async def export_prices(request: AppRequest, query: ExportQuery) -> Response:
    """The prices between start_date and end_date, oldest first."""
    media_type = negotiate(request, query.format, tuple(MEDIA_TYPES[name] for name in _FORMATS))
    codings = accepted_codings(request_header(request.scope, b"accept-encoding"))
    if media_type in COLUMNAR and not codings.identity:
        raise NotAcceptable({"Accept-Encoding": "a table is compressed already; accept identity"})
    await require_ticker(request, query.ticker)
    require_match(request.scope, None)
    minutes = listing_minutes(query.start_date, query.end_date, datetime.now(UTC), ascending=True)
    price_format = PriceFormat(media_type, query.include)
    first_price = PageQuery(
        ticker=query.ticker,
        template=price_format.template(query.ticker),
        since=minute_at(minutes[0]) if minutes else LAST,
        until=minute_at(minutes[-1]) if minutes else FIRST,
        count=1,
        ascending=True,
        with_source=bool(price_format.extras),
    )
    slots, dsn = request.state["export_slots"], request.state["settings"].read_dsn
    export = await open_export(dsn, slots, first_price, price_format)
    compressor: Compressor | None = None
    if name := COLUMNAR.get(media_type):
        columns = ("price", *query.include)
        compressor = Encoder(columns, query.price_type, name, ticker=query.ticker)
    elif codings.gzip:
        compressor = zlib.compressobj(GZIP_LEVEL, wbits=_GZIP_FORMAT)
    return ExportResponse(export, query.ticker, media_type, compressor)


async def open_export(
    dsn: str, slots: asyncio.Semaphore, first_price: PageQuery, price_format: PriceFormat
) -> "Export":
    """Begin an export from the database at *dsn*, if one of *slots* is free; the caller closes it.

    Raises ServiceUnavailable, DatabaseDown, MigrationsPending.
    """
    if slots.locked():
        raise ServiceUnavailable({"export": f"{MAX_EXPORTS} are in progress, the maximum"})
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(slots)
        with translate_errors():
            conn = await open_connection(dsn, "tracker-export", _OPTIONS)
            stack.push_async_callback(conn.close)
            return await Export(conn, first_price, price_format, stack).begin()


class Export:
    """The lines of one export, a piece at a time, from the price of a query to the last.

    first: the first piece, with the header line; it may be empty.
    """

    def __init__(
        self,
        conn: AsyncConnection,
        first_price: PageQuery,
        price_format: PriceFormat,
        stack: AsyncExitStack,
    ) -> None:
        """Read on *conn*; *stack* closes what is open."""
        self.first = b""
        self._conn = conn
        self._first_price = first_price
        self._price_format = price_format
        self._stack = stack
        self._copy: AsyncCopy | None = None

    async def begin(self) -> Self:
        """Read the first piece. `close` then closes the connection."""
        with self._deadline(BEGIN_TIMEOUT):
            if copy := await self._start_copy():
                self._copy = await self._stack.enter_async_context(copy)
                self._copy.set_types(["bytea"])  # of a table's pieces
                # Closed first: psycopg would otherwise send a cancel request, and read the rest.
                self._stack.callback(self._conn.pgconn.finish)
            self.first = self._price_format.header.encode() + await self._read_piece()
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
        query = self._first_price
        if query.since > query.until:
            return None
        if self._price_format.media_type in COLUMNAR:
            extras = self._price_format.extras
            return queries.exported_columns(
                self._conn, query.ticker, query.since, query.until, extras
            )
        [first] = await queries.price_pages(self._conn, [query])
        [last] = await queries.price_pages(self._conn, [replace(query, ascending=False)])
        if first.first_at is None or last.first_at is None:
            return None
        return queries.exported_lines(
            self._conn,
            query.ticker,
            first.first_at,
            last.first_at,
            template=query.template,
            separator=self._price_format.line_end,
            with_source=query.with_source,
        )

    async def _read_piece(self) -> bytes:
        if self._copy is None:
            return b""
        if self._price_format.media_type in COLUMNAR:
            values = await self._copy.read_row()
            return values[0] if values else b""
        row = bytes(await self._copy.read())
        if not row:
            return b""
        # COPY ends the row itself, and escapes line ends inside. Nothing else in it has a
        # backslash: values are numbers, times and names.
        end = self._price_format.line_end
        return row[:-1].replace(end.encode("unicode_escape"), end.encode()) + end.encode()

    @contextmanager
    def _deadline(self, seconds: float) -> Iterator[None]:
        """Cut the connection unless the block ends in time."""
        deadline = asyncio.get_running_loop().call_later(seconds, disconnect, self._conn)
        try:
            yield
        finally:
            deadline.cancel()


class Compressor(Protocol):
    """What turns pieces into other bytes: a compressor of zlib, or an Encoder."""

    def compress(self, piece: bytes, /) -> bytes:
        """The bytes of *piece*, as far as they are complete."""

    def flush(self) -> bytes:
        """The rest."""


class ExportResponse(Response):
    """An export that is sent to a client, from its first piece on."""

    def __init__(
        self, export: Export, ticker: str, media_type: str, compressor: "Compressor | None"
    ) -> None:
        """Send *export*, and close it; *compressor*: gzip, or what makes a table of the lines."""
        suffix = _SUFFIXES.get(media_type, "ndjson")
        headers = {
            "Cache-Control": "no-store",
            "Content-Disposition": f'attachment; filename="{ticker}.{suffix}"',
            "Vary": "Accept, Accept-Encoding",
        }
        if compressor and media_type not in COLUMNAR:
            headers["Content-Encoding"] = "gzip"
        super().__init__(None, 200, headers, CONTENT_TYPES[media_type])
        del self.headers["content-length"]
        self._export = export
        self._ticker = ticker
        self._compressor = compressor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all of it, or abort the connection, so that a partial file is not complete."""
        async with connection_of(scope, receive) as connection:
            disconnected = asyncio.create_task(connection.closed.wait())
            connection.cancel_at_end(disconnected)
            disconnected.add_done_callback(lambda _: self._export.abort())
            try:
                if scope["method"] == "HEAD":
                    await super().__call__(scope, receive, send)
                else:
                    await self._send(send)
            except (DatabaseDown, TimeoutError) as error:
                await self._abort(connection, scope["request_id"], error)
            finally:
                disconnected.cancel()
                if isinstance(self._compressor, Encoder):
                    self._compressor.close()
                await self._export.close()

    async def _abort(self, connection: Connection, request_id: str, error: Exception) -> None:
        if not connection.ended:
            why = str(error) or "the client does not read"
            bound = logger.bind(request_id=request_id, ticker=self._ticker)
            bound.error("an export was aborted: {}", why)
        connection.reset()
        await connection.closed.wait()

    async def _send(self, send: Send) -> None:
        """Raises DatabaseDown, TimeoutError."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        compressor = self._compressor
        piece = self._export.first
        while piece:
            if compressor:  # in a thread: a piece takes milliseconds
                piece = await asyncio.to_thread(compressor.compress, piece)
            async with asyncio.timeout(WRITE_TIMEOUT):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            piece = await self._export.read_piece()
        end = await asyncio.to_thread(compressor.flush) if compressor else b""
        await send({"type": "http.response.body", "body": end})
