"""Prices: a page, the newest, the one of a minute."""

from collections.abc import Awaitable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection
from starlette.responses import Response

from tracker import queries
from tracker.errors import NotFound
from tracker.models import MINUTE, Price, minute_of
from tracker.web import params
from tracker.web.state import AppRequest
from tracker.web.wire import as_json, rfc3339, shown

_PAGE = {
    "ticker": params.ticker,
    "start_date": params.moment,
    "limit": params.limit,
    "include": params.include,
}
_LAST = {"ticker": params.ticker, "include": params.include}
_FILTERED = {"ticker": params.ticker, "date": params.moment, "include": params.include}


async def prices(request: AppRequest) -> Response:
    """GET /prices: a page of prices at or before start_date, newest first."""
    asked = params.read(request.query_params, _PAGE, "ticker")
    count = asked.get("limit", params.DEFAULT_LIMIT)
    extras = asked.get("include", [])
    found = await _page(request, asked, count + 1)
    headers = _next_page(request, found[count - 1], count, extras) if len(found) > count else None
    return as_json([shown(price, extras) for price in found[:count]], headers)


async def last(request: AppRequest) -> Response:
    """GET /prices/last: the newest price. 404 while there is none."""
    asked = params.read(request.query_params, _LAST, "ticker")
    found = await _page(request, asked, 1)
    if not found:
        raise NotFound({"ticker": f"no price of {asked['ticker']} yet"})
    return as_json(shown(found[0], asked.get("include", [])))


async def filtered(request: AppRequest) -> Response:
    """GET /prices/filtered: the price of the minute that contains date. 404 if it has none."""
    asked = params.read(request.query_params, _FILTERED, "ticker", "date")
    ticker, minute = asked["ticker"], minute_of(asked["date"])
    price_at = queries.sourced_at if "include" in asked else queries.price_at
    await request.state["tracked"].require(ticker, request.state["database"])

    def at_minute(conn: AsyncConnection) -> Awaitable[Price | None]:
        return price_at(conn, ticker, minute)

    price = await request.state["database"].run(at_minute)
    if price is None:
        raise NotFound({"date": f"no price of {ticker} for {rfc3339(minute)}"})
    return as_json(shown(price, asked.get("include", [])))


async def _page(request: AppRequest, asked: Mapping[str, Any], count: int) -> Sequence[Price]:
    await request.state["tracked"].require(asked["ticker"], request.state["database"])
    newest = asked.get("start_date") or datetime.now(UTC)
    price_page = queries.sourced_page if "include" in asked else queries.price_page

    def page(conn: AsyncConnection) -> Awaitable[Sequence[Price]]:
        return price_page(conn, asked["ticker"], until=newest, count=count)

    return await request.state["database"].run(page)


def _next_page(
    request: AppRequest, last_shown: Price, count: int, extras: Sequence[str]
) -> dict[str, str]:
    """The cursor is the minute grid itself: the next page starts a minute before the last row."""
    start = rfc3339(last_shown.created_at - MINUTE)
    query = f"ticker={last_shown.ticker}&start_date={start}&limit={count}"
    query += f"&include={','.join(extras)}" if extras else ""
    return {"Link": f'<{request.url.replace(query=query)}>; rel="next"'}
