"""What the archive lacks: runs of missing minutes with their reasons, and coverage by bucket."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection
from starlette.responses import Response

from tracker.gaps import Coverage, Gap
from tracker.models import MINUTE
from tracker.web import missing, params
from tracker.web.state import AppRequest
from tracker.web.wire import as_json, rfc3339

_WINDOW = {"ticker": params.ticker, "start_date": params.moment, "end_date": params.moment}
_GAPS = {**_WINDOW, "limit": params.limit}
_COVERAGE = {**_WINDOW, "interval": params.interval, "limit": params.limit}
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
    headers = _next_page(request, asked, found[count - 1].since) if len(found) > count else None
    return as_json([_gap(gap) for gap in found[:count]], headers)


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
    headers = _next_page(request, asked, found[count - 1].since) if len(found) > count else None
    return as_json([_coverage(bucket) for bucket in found[:count]], headers)


def _ends(asked: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    return asked.get("start_date"), asked.get("end_date")


def _gap(gap: Gap) -> dict[str, object]:
    return {
        "from": rfc3339(gap.since),
        "to": rfc3339(gap.until - MINUTE),
        "minutes": gap.minutes,
        "reason": gap.reason,
    }


def _coverage(bucket: Coverage) -> dict[str, object]:
    return {
        "from": rfc3339(bucket.since),
        "expected": bucket.expected,
        "polled": bucket.polled,
        "chart": bucket.chart,
        "missing": bucket.missing,
        "ratio": bucket.ratio,
    }


def _next_page(request: AppRequest, asked: Mapping[str, Any], oldest: datetime) -> dict[str, str]:
    """The next page has the same start, and ends where the *oldest* shown begins."""
    following = {**asked, "end_date": oldest}
    following["limit"] = asked.get("limit", params.DEFAULT_LIMIT)
    texts = (f"{name}={_text(value)}" for name, value in following.items())
    return {"Link": f'<{request.url.replace(query="&".join(texts))}>; rel="next"'}


def _text(value: object) -> str:
    return rfc3339(value) if isinstance(value, datetime) else str(value)
