"""GET /prices/gaps and /prices/coverage: what is missing and why, and how much is stored.

Gaps are read from the islands of stored and of missed minutes, coverage from the hourly rollup;
minutes are counted only where a window cuts an hour.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated

from psycopg import AsyncConnection
from starlette.responses import Response

from tracker import gaps, queries, rows
from tracker.gaps import Coverage, Gap
from tracker.times import (
    DAY,
    HOUR,
    MINUTE,
    Span,
    ceil_moment,
    floor_moment,
    minute_of,
    split_whole_hours,
)
from tracker.web import params, responses, schemas
from tracker.web.endpoint import AppRequest, endpoint, require_ticker
from tracker.web.params import TickerQuery
from tracker.web.responses import DataResponse, negotiate, render

START = params.moment(
    "start_date",
    "One bound of the window, inclusive; default, and never before: since when the index is"
    " tracked. It may be the later bound.",
)
END = params.moment(
    "end_date",
    "The other bound, exclusive, and the cursor: the next page ends where this one begins; default,"
    " and never after: the current minute, which is not yet missing.",
)
COVERAGE_WIDTHS = {"1h": HOUR, "1d": DAY}
INTERVAL = params.interval_choice(COVERAGE_WIDTHS, "The width of a bucket.")

_MAX_MINUTES = max(COVERAGE_WIDTHS.values()).total_seconds() // 60
_COUNT: params.Schema = {"type": "integer", "minimum": 0, "maximum": _MAX_MINUTES}

GAP = schemas.model(
    "Gap",
    {
        "from": {**schemas.MINUTE, "description": "The first missing minute"},
        "to": {**schemas.MINUTE, "description": "The last missing minute"},
        "minutes": {"type": "integer", "minimum": 1, "description": "The number of minutes"},
        "reason": {
            "type": "string",
            "minLength": 1,
            "description": "Why polling failed: exchange_unavailable, rate_limited, refused,"
            " bad_answer or too_late; not_polled if no poll is recorded",
        },
    },
    description="Consecutive minutes that are missing for one reason; adjacent gaps have different"
    " reasons",
)
COVERAGE = schemas.model(
    "Coverage",
    {
        "from": {**schemas.HOUR, "description": "The start of the hour or day"},
        "expected": {
            **_COUNT,
            "minimum": 1,
            "description": "Its minutes that are in the window, tracked, and over",
        },
        "polled": {**_COUNT, "description": "Stored, and requested in their minute"},
        "chart": {**_COUNT, "description": "Stored, and filled from the exchange's chart data"},
        "imported": {**_COUNT, "description": "Stored, and imported from a file"},
        "missing": {**_COUNT, "description": "Not stored"},
        "ratio": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "The stored part of those expected, rounded down to four decimals",
        },
    },
    description="How much of a UTC hour or day is stored; polled + chart + imported + missing ="
    " expected",
)
_GAP_EXAMPLE = {
    "from": "2024-01-15T12:00:00Z",
    "to": "2024-01-15T12:02:00Z",
    "minutes": 3,
    "reason": "exchange_unavailable",
}
_COVERAGE_EXAMPLE = {
    "from": "2024-01-15T12:00:00Z",
    "expected": 60,
    "polled": 50,
    "chart": 5,
    "imported": 2,
    "missing": 3,
    "ratio": 0.95,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GapsQuery(TickerQuery):
    """The newest gaps of a window."""

    start_date: Annotated[datetime | None, START] = None
    end_date: Annotated[datetime | None, END] = None
    limit: Annotated[int, params.LIMIT] = params.DEFAULT_LIMIT
    format: Annotated[str | None, params.FORMAT] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageQuery(TickerQuery):
    """The newest hours or days of a window."""

    start_date: Annotated[datetime | None, START] = None
    end_date: Annotated[datetime | None, END] = None
    interval: Annotated[str, INTERVAL] = "1h"
    limit: Annotated[int, params.LIMIT] = params.DEFAULT_LIMIT
    format: Annotated[str | None, params.FORMAT] = None


@endpoint(
    "/prices/gaps",
    "gaps",
    summary="Gaps: consecutive missing minutes with their reasons, newest first",
    description="The header Link leads to the next page, whose gaps are older.",
    response=schemas.rows_response(schemas.page_of(GAP), [_GAP_EXAMPLE], "Link"),
    errors=(406, 412, 422, 500, 503),
    links=(
        "list_coverage",
        {"ticker": schemas.QUERY_TICKER, "start_date": schemas.in_first("from")},
    ),
)
async def list_gaps(request: AppRequest, query: GapsQuery) -> Response:
    """The gaps between start_date and end_date, newest first."""
    await require_ticker(request, query.ticker)
    media_type, now = negotiate(request, query.format), datetime.now(UTC)
    start, end = params.half_open(query.start_date, query.end_date)

    async def read_gaps(conn: AsyncConnection) -> list[Gap]:
        window = await expected_window(conn, query.ticker, start, end, now)
        return await fetch_gaps(conn, query.ticker, window, query.limit + 1)

    found = await request.state["database"].run(read_gaps)
    listed = [rows.gap_row(each) for each in found[: query.limit]]
    body = render(media_type, listed, rows.GAP_COLUMNS)
    return DataResponse(body, media_type, _headers(request, query, found, now))


@endpoint(
    "/prices/coverage",
    "coverage",
    summary="How much of each UTC hour or day is stored, newest first",
    description="The header Link leads to the next page, whose hours or days are older.",
    response=schemas.rows_response(schemas.page_of(COVERAGE), [_COVERAGE_EXAMPLE], "Link"),
    errors=(406, 412, 422, 500, 503),
    links=("list_gaps", {"ticker": schemas.QUERY_TICKER, "start_date": schemas.in_first("from")}),
)
async def list_coverage(request: AppRequest, query: CoverageQuery) -> Response:
    """The coverage of each hour or day between start_date and end_date, newest first."""
    await require_ticker(request, query.ticker)
    media_type, now = negotiate(request, query.format), datetime.now(UTC)
    start, end = params.half_open(query.start_date, query.end_date)
    width = COVERAGE_WIDTHS[query.interval]

    async def read_coverage(conn: AsyncConnection) -> list[Coverage]:
        window = await expected_window(conn, query.ticker, start, end, now)
        return await fetch_coverage(conn, query.ticker, window, width, query.limit + 1)

    found = await request.state["database"].run(read_coverage)
    listed = [rows.coverage_row(each) for each in found[: query.limit]]
    body = render(media_type, listed, rows.COVERAGE_COLUMNS)
    return DataResponse(body, media_type, _headers(request, query, found, now))


async def expected_window(
    conn: AsyncConnection,
    ticker: str,
    start: datetime | None,
    end: datetime | None,
    now: datetime,
) -> Span:
    """The minutes in [start, end) that are expected by *now*; maybe none."""
    since = await queries.tracked_since(conn, ticker)
    return Span(now, now) if since is None else gaps.expected_span(since, start, end, now)


async def fetch_gaps(conn: AsyncConnection, ticker: str, window: Span, count: int) -> list[Gap]:
    """Up to *count* gaps, newest first."""
    holes = await queries.gap_page(conn, ticker, window, count)  # each row makes at least one
    return list(islice(gaps.split_by_reason(holes), count))


async def fetch_coverage(
    conn: AsyncConnection, ticker: str, window: Span, width: timedelta, count: int
) -> list[Coverage]:
    """Up to *count* buckets, *width* wide, newest first."""
    buckets = gaps.split_into_buckets(window, width, count)
    if not buckets:
        return []
    whole, partial_hours = split_whole_hours(Span(buckets[-1].since, buckets[0].until))
    counted = await queries.counted_hours(conn, ticker, whole, width)
    for hour in partial_hours:
        start = floor_moment(hour.since, width)
        counted.append((start, *await queries.counted_minutes(conn, ticker, hour)))
    return gaps.compute_coverage(buckets, width, counted)


def _headers(
    request: AppRequest,
    query: GapsQuery | CoverageQuery,
    found: list[Gap] | list[Coverage],
    now: datetime,
) -> dict[str, str]:
    """The next page has the same start, and ends where the last row of this one begins."""
    links = {}
    start, end = params.half_open(query.start_date, query.end_date)
    if len(found) > query.limit:
        cursor = {"end_date": found[query.limit - 1].since}
        if start != query.start_date and start is not None:
            cursor["start_date"] = ceil_moment(start, MINUTE)
        links = responses.link_header(request, {"next": cursor})
    # Every full minute ends a minute that may be missing.
    if end is not None and end <= minute_of(now):
        return links | responses.SETTLED
    return links | responses.until_next_price(minute_of(now), now)
