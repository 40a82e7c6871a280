"""GET /prices/export: a range of any length as CSV or NDJSON, streamed."""

import asyncio
from datetime import UTC, datetime

from loguru import logger
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tracker.errors import DatabaseDown
from tracker.models import parse_ticker
from tracker.times import parse_moment
from tracker.web.answer import formats, lines
from tracker.web.asked import params, ranges
from tracker.web.live.line import line_of
from tracker.web.reading.exported import Wanted
from tracker.web.reading.exports import Export
from tracker.web.state import AppRequest

MEDIA_TYPES = {name: formats.MEDIA_TYPES[name] for name in params.LINE_FORMATS}

_ASKED: params.Readers = {
    "ticker": parse_ticker,
    "start_date": parse_moment,
    "end_date": parse_moment,
    "include": params.include,
    "format": params.line_form,
}
_PATIENCE = 30.0  # seconds that a client may take to read a day's lines


async def export(request: AppRequest) -> Response:
    """GET /prices/export: all prices from start_date on, before end_date, oldest first."""
    asked = params.read(request.query_params, _ASKED, "ticker")
    media_type = formats.accepted(request, offered=tuple(MEDIA_TYPES.values()))
    ticker = asked["ticker"]
    await request.state["tracked"].require(ticker, request.state["database"])
    wanted = Wanted(
        ticker=ticker,
        minutes=ranges.listing({**asked, "order": "asc"}, datetime.now(UTC)).whole,
        form=lines.form(media_type, tuple(asked.get("include", ()))),
    )
    return Download(await request.state["exports"].open(wanted), wanted)


class Download(Response):
    """An export on its way to a client: from its first line on, which is read already."""

    def __init__(self, export: Export, wanted: Wanted) -> None:
        """Send *export*, and close it."""
        media_type = wanted.form.media_type
        suffix = next(name for name, found in MEDIA_TYPES.items() if found == media_type)
        headers = {
            "Cache-Control": "no-store",
            "Content-Disposition": f'attachment; filename="{wanted.ticker}.{suffix}"',
            "Vary": "Accept",
        }
        super().__init__(None, 200, headers, formats.content_type(media_type))
        del self.headers["content-length"]
        self._export = export

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all; or hang up, so that nobody takes a part for the whole."""
        line = line_of(scope)
        leaving = asyncio.create_task(line.closed.wait())
        line.cancels(leaving)  # when the server stops
        leaving.add_done_callback(lambda _: self._export.stop())
        try:
            if scope["method"] == "HEAD":
                await super().__call__(scope, receive, send)
            else:
                await self._send(send)
        except (DatabaseDown, TimeoutError) as error:
            if not line.ended:
                why = str(error) or "the client does not read"
                logger.bind(request_id=scope["request_id"]).error("an export broke off: {}", why)
            await line.part(0)
            await line.closed.wait()
        finally:
            leaving.cancel()
            await self._export.close()

    async def _send(self, send: Send) -> None:
        """Raises DatabaseDown, TimeoutError."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        piece = self._export.first
        while piece:
            async with asyncio.timeout(_PATIENCE):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            piece = await self._export.read()
        await send({"type": "http.response.body", "body": b""})
