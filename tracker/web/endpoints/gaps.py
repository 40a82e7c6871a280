"""What the archive lacks: runs of missing minutes with their reasons, and coverage by bucket."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection
from starlette.responses import Response

from tracker import rows
from tracker.gaps import Coverage, Gap
from tracker.models import parse_ticker
from tracker.times import minute_of, parse_moment
from tracker.web.answer import caching, formats
from tracker.web.answer.links import following
from tracker.web.asked import params
from tracker.web.reading import missing
from tracker.web.state import AppRequest

_WINDOW = {"ticker": parse_ticker, "start_date": parse_moment, "end_date": parse_moment}
_GAPS = {**_WINDOW, "limit": params.limit, "format": params.form}
_COVERAGE = {**_GAPS, "interval": params.interval}
_DEFAULT_INTERVAL = "1h"


async def gaps(request: AppRequest) -> Response:
    """GET /prices/gaps: runs of missing minutes in [start_date, end_date), newest first."""
    asked = params.read(request.query_params, _GAPS, "ticker")
    count = asked.get("limit", params.DEFAULT_LIMIT)
    await request.state["tracked"].require(asked["ticker"], request.state["database"])
    now = datetime.now(UTC)

    async def page(conn: AsyncConnection) -> list[Gap]:
        within = await missing.window(conn, asked["ticker"], _ends(asked), now)
        return await missing.gap_page(conn, asked["ticker"], within, count + 1)

    found = await request.state["database"].run(page)
    headers = _headers(request, asked, found[count - 1] if len(found) > count else None, now)
    return formats.answer(request, [rows.gap(each) for each in found[:count]], rows.GAP, headers)


async def coverage(request: AppRequest) -> Response:
    """GET /prices/coverage: how much of each UTC hour or day is stored, newest first."""
    asked = params.read(request.query_params, _COVERAGE, "ticker")
    count = asked.get("limit", params.DEFAULT_LIMIT)
    width = params.INTERVALS[asked.get("interval", _DEFAULT_INTERVAL)]
    await request.state["tracked"].require(asked["ticker"], request.state["database"])
    now = datetime.now(UTC)

    async def page(conn: AsyncConnection) -> list[Coverage]:
        within = await missing.window(conn, asked["ticker"], _ends(asked), now)
        return await missing.coverage_page(conn, asked["ticker"], within, width, count + 1)

    found = await request.state["database"].run(page)
    headers = _headers(request, asked, found[count - 1] if len(found) > count else None, now)
    shown = [rows.coverage(each) for each in found[:count]]
    return formats.answer(request, shown, rows.COVERAGE, headers)


def _ends(asked: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    return asked.get("start_date"), asked.get("end_date")


def _headers(
    request: AppRequest, asked: Mapping[str, Any], oldest: Gap | Coverage | None, now: datetime
) -> dict[str, str]:
    """The next page, if there is an *oldest* shown, has the same start, and ends where that begins.

    Every minute's mark ends a minute that may be missing.
    """
    links = following(request, "end_date", oldest.since) if oldest else {}
    is_over = "end_date" in asked and asked["end_date"] <= minute_of(now)
    fresh = caching.settled() if is_over else caching.until_next(minute_of(now), now)
    return links | fresh
