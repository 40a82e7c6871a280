"""Candles: the first, highest, lowest and last price of each bucket of time that has any."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection
from starlette.responses import Response

from tracker import buckets, rows
from tracker.buckets import Calendar, Even
from tracker.gaps import Span
from tracker.models import Candle, parse_ticker
from tracker.times import FIRST, LAST, MINUTE, minute_of, parse_moment
from tracker.web.answer import caching, formats
from tracker.web.answer.links import neighbours
from tracker.web.asked import grids, params
from tracker.web.middleware.answers import tells_of
from tracker.web.reading import charts
from tracker.web.state import AppRequest

_ASKED = {
    "ticker": parse_ticker,
    "interval": grids.interval,
    "tz": grids.zone,
    "start_date": parse_moment,
    "end_date": parse_moment,
    "order": params.order,
    "limit": params.limit,
    "before": parse_moment,
    "after": parse_moment,
    "format": params.form,
}


@dataclass(frozen=True, slots=True)
class Page:
    """Some candles of a listing, in its order.

    older, newer: the cursors of the pages with older candles and newer ones; None: no such page.
    """

    candles: Sequence[Candle]
    older: datetime | None
    newer: datetime | None


async def candles(request: AppRequest) -> Response:
    """GET /prices/candles: those that begin in [start_date, end_date), newest first by default."""
    asked = params.read(request.query_params, _ASKED, "ticker")
    grid = grids.grid(asked)
    await request.state["tracked"].require(asked["ticker"], request.state["database"])
    tells_of(request, asked["ticker"])
    now = datetime.now(UTC)

    async def read(conn: AsyncConnection) -> Page:
        return await _page(conn, asked, grid, now)

    page = await request.state["database"].run(read)
    fresh = caching.settled() if _is_over(asked, grid, now) else {}
    rising = asked.get("order") == "asc"
    links = neighbours(request, page.older, page.newer, rising=rising)
    shown = [rows.candle(each) for each in page.candles]
    return formats.answer(request, shown, rows.CANDLE, {**links, **fresh})


async def _page(
    conn: AsyncConnection, asked: Mapping[str, Any], grid: Even | Calendar, now: datetime
) -> Page:
    """A candle more than is shown tells of a page beyond."""
    ticker, count = asked["ticker"], asked.get("limit", params.DEFAULT_LIMIT)
    whole = _span(asked.get("start_date", FIRST), asked.get("end_date", now))
    left = _cut(whole, asked.get("after"), asked.get("before"))
    rising = asked.get("order") == "asc"
    inside = "after" in asked or "before" in asked
    upwards = "before" not in asked if inside else rising

    found = await charts.candles(conn, ticker, grid, left, count + 1, ascending=upwards)
    page, beyond = found[:count], found[count - 1].start if len(found) > count else None
    edge = page[0].start if page else left.since if upwards else _last_minute(left)
    behind = _cut(whole, None, edge) if upwards else _cut(whole, edge, None)
    back = inside and await charts.candles(conn, ticker, grid, behind, 1, ascending=not upwards)
    ends = (edge if back else None, beyond)
    older, newer = ends if upwards else ends[::-1]
    return Page(page if upwards == rising else page[::-1], older, newer)


def _is_over(asked: Mapping[str, Any], grid: Even | Calendar, now: datetime) -> bool:
    """Whether no bucket that may be shown has prices to come."""
    ends = min(asked.get(name, now) for name in ("end_date", "before"))
    return buckets.ceiling(grid, ends) <= minute_of(now)


def _cut(span: Span, after: datetime | None, before: datetime | None) -> Span:
    """The part of *span* that lies between two moments, both exclusive."""
    since = span.since if after is None else max(span.since, _beyond(after))
    return _span(since, span.until if before is None else min(span.until, before))


def _last_minute(span: Span) -> datetime:
    """The one that *span* ends with, or would if it were not empty; there is none before FIRST."""
    return max(span.until, FIRST + MINUTE) - MINUTE


def _beyond(moment: datetime) -> datetime:
    return moment if moment == LAST else moment + datetime.resolution


def _span(since: datetime, until: datetime) -> Span:
    return Span(since, max(since, until))
