"""GET /prices/export: the prices of a range of any length as CSV or NDJSON, streamed."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from loguru import logger
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tracker.errors import DatabaseDown
from tracker.times import FIRST, LAST
from tracker.web import params, schemas
from tracker.web.connection import Connection, connection_of
from tracker.web.endpoint import AppRequest, endpoint, require_ticker
from tracker.web.exports import Export, ExportRange
from tracker.web.params import LINE_FORMATS, TickerQuery
from tracker.web.prices import EXAMPLE, listing_minutes, minute_at
from tracker.web.responses import CONTENT_TYPES, MEDIA_TYPES, PriceFormat, negotiate

WRITE_TIMEOUT = 30.0  # seconds for a client to read the lines of a day

START = params.moment("start_date", "Where the export starts, inclusive; default: the first price.")
END = params.moment("end_date", "Where the export stops, exclusive; default: now.")
FORMAT = params.choice(
    "format",
    LINE_FORMATS,
    "The format, whatever Accept says; default: what Accept prefers, CSV if it accepts any.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportQuery(TickerQuery):
    """All prices of a range."""

    start_date: Annotated[datetime | None, START] = None
    end_date: Annotated[datetime | None, END] = None
    include: Annotated[tuple[str, ...], params.INCLUDE] = ()
    format: Annotated[str | None, FORMAT] = None


@endpoint(
    "/prices/export",
    "export",
    "All prices of a range, oldest first: the lines that pages have, however many",
    response=schemas.lines_response(EXAMPLE, "Content-Disposition", "Cache-Control", "Vary"),
    errors=(406, 422, 500, 503),
)
async def export_prices(request: AppRequest, query: ExportQuery) -> Response:
    """The prices from start_date on, before end_date, oldest first."""
    offered = tuple(MEDIA_TYPES[name] for name in LINE_FORMATS)
    media_type = negotiate(request, query.format, offered)
    await require_ticker(request, query.ticker)
    minutes = listing_minutes(query.start_date, query.end_date, datetime.now(UTC), ascending=True)
    exported = ExportRange(
        ticker=query.ticker,
        since=minute_at(minutes[0]) if minutes else LAST,
        until=minute_at(minutes[-1]) if minutes else FIRST,
        price_format=PriceFormat(media_type, query.include),
    )
    return ExportResponse(await request.state["exports"].open(exported), exported)


class ExportResponse(Response):
    """An export that is sent to a client, from its first piece on."""

    def __init__(self, export: Export, exported: ExportRange) -> None:
        """Send *export*, and close it."""
        media_type = exported.price_format.media_type
        suffix = next(name for name, each in MEDIA_TYPES.items() if each == media_type)
        headers = {
            "Cache-Control": "no-store",
            "Content-Disposition": f'attachment; filename="{exported.ticker}.{suffix}"',
            "Vary": "Accept",
        }
        super().__init__(None, 200, headers, CONTENT_TYPES[media_type])
        del self.headers["content-length"]
        self._export = export

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all of it, or abort the connection, so that a partial file is not complete."""
        async with connection_of(scope, receive) as connection:
            disconnect = asyncio.create_task(connection.closed.wait())
            connection.cancel_at_end(disconnect)
            disconnect.add_done_callback(lambda _: self._export.abort())
            try:
                if scope["method"] == "HEAD":
                    await super().__call__(scope, receive, send)
                else:
                    await self._send(send)
            except (DatabaseDown, TimeoutError) as error:
                await self._abort(connection, scope["request_id"], error)
            finally:
                disconnect.cancel()
                await self._export.close()

    async def _abort(self, connection: Connection, request_id: str, error: Exception) -> None:
        if not connection.ended:
            why = str(error) or "the client does not read"
            logger.bind(request_id=request_id).error("an export was aborted: {}", why)
        await connection.hang_up(0)
        await connection.closed.wait()

    async def _send(self, send: Send) -> None:
        """Raises DatabaseDown, TimeoutError."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        piece = self._export.first
        while piece:
            async with asyncio.timeout(WRITE_TIMEOUT):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            piece = await self._export.read_piece()
        await send({"type": "http.response.body", "body": b""})
