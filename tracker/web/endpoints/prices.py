"""Prices: a page, the newest, the one of a moment."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import Response

from tracker.errors import NotFound
from tracker.models import parse_ticker
from tracker.times import MINUTE, format_moment, minute_of, parse_moment
from tracker.web.answer import caching, formats, lines
from tracker.web.answer.links import neighbours
from tracker.web.asked import params, ranges
from tracker.web.middleware.answers import tells_of
from tracker.web.reading import nearest, paging
from tracker.web.state import AppRequest

_ADDED = {"include": params.include, "format": params.form}
_PAGE = {
    "ticker": parse_ticker,
    "start_date": parse_moment,
    "end_date": parse_moment,
    "order": params.order,
    "limit": params.limit,
    "before": parse_moment,
    "after": parse_moment,
    **_ADDED,
}
_LAST = {"ticker": parse_ticker, **_ADDED}
_FILTERED = {
    "ticker": parse_ticker,
    "date": parse_moment,
    "tolerance": params.tolerance,
    **_ADDED,
}


async def prices(request: AppRequest) -> Response:
    """GET /prices: a page of the prices between start_date and end_date."""
    asked = params.read(request.query_params, _PAGE, "ticker")
    await request.state["tracked"].require(asked["ticker"], request.state["database"])
    tells_of(request, asked["ticker"])
    now = datetime.now(UTC)
    listing = ranges.listing(asked, now)
    count, form = asked.get("limit", params.DEFAULT_LIMIT), _form(request, asked)
    ask = request.state["pages"].asking()
    page = await paging.read(ask, asked["ticker"], listing, count, form)
    fresh = caching.until_next(page.newest, now) if page.seen.reaches(now) else caching.settled()
    links = neighbours(request, page.older, page.newer, rising=listing.rising)
    return formats.sent(form.media_type, form.all(page.lines), {**links, **fresh})


async def last(request: AppRequest) -> Response:
    """GET /prices/last: the newest price. 404 while there is none."""
    asked = params.read(request.query_params, _LAST, "ticker")
    await request.state["tracked"].require(asked["ticker"], request.state["database"])
    tells_of(request, asked["ticker"])
    now, form = datetime.now(UTC), _form(request, asked)
    ask, ever = request.state["pages"].asking(), ranges.EVER.end(now)
    found = await paging.prices(ask, asked["ticker"], ever, 1, form, ascending=False)
    if found.text is None:
        raise NotFound({"ticker": f"no price of {asked['ticker']} yet"})
    fresh = caching.until_next(found.first_at, now)
    return formats.sent(form.media_type, form.one(found.text), fresh)


async def filtered(request: AppRequest) -> Response:
    """GET /prices/filtered: the price of date's minute, or one nearer by. 404 if there is none."""
    asked = params.read(request.query_params, _FILTERED, "ticker", "date")
    await request.state["tracked"].require(asked["ticker"], request.state["database"])
    tells_of(request, asked["ticker"])
    ticker, date, tolerance = asked["ticker"], asked["date"], asked.get("tolerance", 0)
    now, form = datetime.now(UTC), _form(request, asked)
    found = await nearest.price(request.state["pages"].asking(), ticker, date, tolerance, form)
    if found.text is None:
        near = f", nor within {tolerance} s of {format_moment(date)}" if tolerance else ""
        raise NotFound({"date": f"no price of {ticker} for {format_moment(minute_of(date))}{near}"})
    is_over = now - date > timedelta(seconds=tolerance) + MINUTE
    fresh = caching.settled() if is_over else caching.until_next(found.first_at, now)
    return formats.sent(form.media_type, form.one(found.text), fresh)


def _form(request: AppRequest, asked: Mapping[str, Any]) -> lines.Form:
    return lines.form(formats.accepted(request), tuple(asked.get("include", ())))
