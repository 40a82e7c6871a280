"""Candles for charting front-ends: the UDF protocol of TradingView's charting library.

Its clients read the body alone, whatever the status: so an error is the same problem document as
everywhere, with the status that fits, and with the two keys that they look for. Parameters that
are not ours to read are ignored: which ones a client sends is its own affair.
Source: https://www.tradingview.com/charting-library-docs/latest/connecting_data/UDF
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import wraps
from typing import Any

import orjson
from psycopg import AsyncConnection
from starlette.datastructures import QueryParams
from starlette.responses import PlainTextResponse, Response

from tracker import buckets
from tracker.errors import BadRequest, NotFound, shorten
from tracker.gaps import Span
from tracker.models import Candle
from tracker.times import FIRST, parse_moment
from tracker.web.answer import caching, problems
from tracker.web.answer.formats import as_json
from tracker.web.asked import params, symbols
from tracker.web.reading import bars, charts
from tracker.web.state import AppRequest

Endpoint = Callable[[AppRequest], Awaitable[Response]]

LARGEST_COUNT = 5000  # bars in one answer; a chart asks again for what is older
DEFAULT_LIMIT = 30  # symbols


def _resolution(text: str) -> str:
    if text not in symbols.INTERVALS:
        names = ", ".join(symbols.RESOLUTIONS)
        raise ValueError(f"is none of {names}: {shorten(text)!r}")
    return symbols.INTERVALS[text]


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"is not a whole number: {shorten(text)!r}")
    return min(int(text.lstrip("0")[:9] or 0), LARGEST_COUNT)


_SYMBOL = {"symbol": symbols.ticker}
_SEARCH = {"query": str, "type": str, "exchange": str, "limit": _count}
_HISTORY = {
    **_SYMBOL,
    "resolution": _resolution,
    "from": parse_moment,
    "to": parse_moment,
    "countback": _count,
}


def _explained(endpoint: Endpoint) -> Endpoint:
    """*endpoint*, whose errors have `s` and `errmsg` too."""

    @wraps(endpoint)
    async def answer(request: AppRequest) -> Response:
        try:
            return await endpoint(request)
        except tuple(problems.STATUS) as error:
            refusal = await problems.refuse(request, error)
            problem = orjson.loads(refusal.body)
            refusal.body = orjson.dumps({**problem, "s": "error", "errmsg": problem["detail"]})
            refusal.headers["content-length"] = str(len(refusal.body))
            return refusal

    return answer


async def udf_config(_: AppRequest) -> Response:
    """GET /udf/config: what there is to ask for."""
    return as_json(symbols.CONFIGURATION)


async def udf_time(_: AppRequest) -> Response:
    """GET /udf/time: the server's clock, in Unix seconds."""
    return PlainTextResponse(str(int(datetime.now(UTC).timestamp())), headers=caching.never())


@_explained
async def udf_symbols(request: AppRequest) -> Response:
    """GET /udf/symbols: what a chart must know of one index. 404 if it is not tracked."""
    ticker = _read(request, _SYMBOL, "symbol")["symbol"]
    await _require(request, ticker)
    day, ever = buckets.grid("1d"), Span(FIRST, datetime.now(UTC))

    async def newest(conn: AsyncConnection) -> list[Candle]:
        return await charts.candles(conn, ticker, day, ever, 1, ascending=False)

    found = await request.state["database"].run(newest)
    return as_json(symbols.info(ticker, found[0].close if found else None))


@_explained
async def udf_search(request: AppRequest) -> Response:
    """GET /udf/search: the indexes that have a word in their name or description."""
    asked = _read(request, _SEARCH)
    names = await request.state["tracked"].names(request.state["database"])
    ours = symbols.has(asked.get("exchange", ""), asked.get("type", ""))
    found = symbols.found(names, asked.get("query", "")) if ours else []
    return as_json(found[: asked.get("limit", DEFAULT_LIMIT)])


@_explained
async def udf_history(request: AppRequest) -> Response:
    """GET /udf/history: bars that begin in [from, to), or the countback bars before to."""
    asked = _read(request, _HISTORY, "symbol", "resolution")
    await _require(request, asked["symbol"])
    grid = buckets.grid(asked["resolution"])
    until = asked.get("to", datetime.now(UTC))
    since = FIRST if asked.get("countback") else min(asked.get("from", FIRST), until)
    within, count = Span(since, until), asked.get("countback") or LARGEST_COUNT

    async def read(conn: AsyncConnection) -> dict[str, object]:
        return await bars.history(conn, asked["symbol"], grid, within, count)

    return as_json(await request.state["database"].run(read))


def _read(request: AppRequest, readers: Mapping[str, Any], *required: str) -> dict[str, Any]:
    """The parameters that have a reader. Raises BadRequest."""
    known = [item for item in request.query_params.multi_items() if item[0] in readers]
    return params.read(QueryParams(known), readers, *required)


async def _require(request: AppRequest, ticker: str) -> None:
    """Raises NotFound unless *ticker* is tracked."""
    try:
        await request.state["tracked"].require(ticker, request.state["database"])
    except BadRequest:
        raise NotFound({"symbol": f"{shorten(ticker)!r} is not a symbol here"}) from None
