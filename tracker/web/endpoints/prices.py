"""Prices: a page, the newest, the one of a moment."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import AsyncConnection
from starlette.responses import Response

from tracker import rows
from tracker.errors import NotFound
from tracker.models import MINUTE, Price, minute_of
from tracker.rows import rfc3339
from tracker.web.answer import caching, formats
from tracker.web.answer.links import neighbours
from tracker.web.asked import params, ranges
from tracker.web.reading import nearest, paging
from tracker.web.state import AppRequest

_ADDED = {"include": params.include, "format": params.form}
_PAGE = {
    "ticker": params.ticker,
    "start_date": params.moment,
    "end_date": params.moment,
    "order": params.order,
    "limit": params.limit,
    "before": params.moment,
    "after": params.moment,
    **_ADDED,
}
_LAST = {"ticker": params.ticker, **_ADDED}
_FILTERED = {
    "ticker": params.ticker,
    "date": params.moment,
    "tolerance": params.tolerance,
    **_ADDED,
}


async def prices(request: AppRequest) -> Response:
    """GET /prices: a page of the prices between start_date and end_date."""
    asked = params.read(request.query_params, _PAGE, "ticker")
    await request.state["tracked"].require(asked["ticker"], request.state["database"])
    now = datetime.now(UTC)
    listing = ranges.listing(asked, now)
    count, sourced = asked.get("limit", params.DEFAULT_LIMIT), "include" in asked

    async def read(conn: AsyncConnection) -> paging.Page:
        return await paging.read(conn, asked["ticker"], listing, count, sourced=sourced)

    page = await request.state["database"].run(read)
    newest = max((price.created_at for price in page.prices), default=None)
    fresh = caching.until_next(newest, now) if page.seen.reaches(now) else caching.settled()
    links = neighbours(request, asked, page.older, page.newer, rising=listing.rising)
    return _answer(request, asked, page.prices, {**links, **fresh})


async def last(request: AppRequest) -> Response:
    """GET /prices/last: the newest price. 404 while there is none."""
    asked = params.read(request.query_params, _LAST, "ticker")
    await request.state["tracked"].require(asked["ticker"], request.state["database"])
    now = datetime.now(UTC)
    ever = ranges.EVER.end(now)

    async def read(conn: AsyncConnection) -> Sequence[Price]:
        sourced = "include" in asked
        return await paging.prices(conn, asked["ticker"], ever, 1, upwards=False, sourced=sourced)

    found = await request.state["database"].run(read)
    if not found:
        raise NotFound({"ticker": f"no price of {asked['ticker']} yet"})
    return _answer(request, asked, found[0], caching.until_next(found[0].created_at, now))


async def filtered(request: AppRequest) -> Response:
    """GET /prices/filtered: the price of date's minute, or one nearer by. 404 if there is none."""
    asked = params.read(request.query_params, _FILTERED, "ticker", "date")
    await request.state["tracked"].require(asked["ticker"], request.state["database"])
    ticker, date, tolerance = asked["ticker"], asked["date"], asked.get("tolerance", 0)
    now = datetime.now(UTC)

    async def read(conn: AsyncConnection) -> Price | None:
        return await nearest.price(conn, ticker, date, tolerance, sourced="include" in asked)

    price = await request.state["database"].run(read)
    if price is None:
        near = f", nor within {tolerance} s of {rfc3339(date)}" if tolerance else ""
        raise NotFound({"date": f"no price of {ticker} for {rfc3339(minute_of(date))}{near}"})
    is_over = now - date > timedelta(seconds=tolerance) + MINUTE
    fresh = caching.settled() if is_over else caching.until_next(price.created_at, now)
    return _answer(request, asked, price, fresh)


def _answer(
    request: AppRequest,
    asked: Mapping[str, Any],
    found: Price | Sequence[Price],
    headers: Mapping[str, str],
) -> Response:
    extras = asked.get("include", [])
    shown = (
        rows.price(found, extras)
        if isinstance(found, Price)
        else [rows.price(each, extras) for each in found]
    )
    return formats.answer(request, shown, [*rows.PRICE, *extras], headers)
