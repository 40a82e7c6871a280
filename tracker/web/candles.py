"""GET /prices/candles: open, high, low and close of each bucket of time that has a price.

Candles below an hour are computed from the prices, others from the hourly and daily rollups; days
of other zones than UTC and longer units are made of hours. An empty bucket has no candle.
"""

import asyncio
import io
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection
from starlette.responses import Response

from tracker import columnar, queries, rows
from tracker.candles import (
    CalendarGrid,
    Grid,
    ascending_buckets,
    bucket_start,
    descending_buckets,
    make_grid,
    next_start,
)
from tracker.errors import BadRequest
from tracker.models import Candle, EmptyBucket
from tracker.times import FIRST, HOUR, MINUTE, Span, floor_moment, minute_of, next_instant
from tracker.web import params, responses, schemas
from tracker.web.endpoint import AppRequest, endpoint, require_ticker
from tracker.web.params import TickerQuery
from tracker.web.responses import (
    COLUMNAR,
    MEDIA_TYPES,
    DataResponse,
    negotiate,
    render,
)

Fetch = Callable[..., Awaitable[list[Any]]]  # of candles, or of empty buckets too

_MAX_BUCKETS = 10_000  # of a calendar in one query
_UTC = ZoneInfo("UTC")

START = params.moment(
    "start_date",
    "One bound of the range, inclusive: buckets that begin at or after it, each with all its"
    " prices; default: the first there is. It may be the later bound.",
)
END = params.moment(
    "end_date",
    "The other bound, exclusive: buckets that begin before it, each with all its prices; default:"
    " now, so that the bucket in progress is included with the prices that it has so far.",
)
FORMAT = replace(
    params.choice("format", (*params.FORMATS, *columnar.FORMATS), params.FORMAT.description),
    documented=False,
)


def _price(description: str) -> params.Schema:
    return schemas.or_null(schemas.PRICE, f"{description}; null only with `fill`")


CANDLE = schemas.model(
    "Candle",
    {
        "created_at": {**schemas.MINUTE, "description": "The bucket's first UTC minute"},
        "open": _price("The first price"),
        "high": _price("The highest price"),
        "low": _price("The lowest price"),
        "close": _price("The last price"),
        "samples": {
            "type": "integer",
            "minimum": 0,
            "description": "How many minutes it is made of: fewer than the bucket has where some"
            " are missing, or still to come; 0 where filled",
        },
        "filled": {
            "type": "boolean",
            "description": "With `fill`: whether the bucket has no price",
        },
    },
    description="The prices of a bucket; one without any is left out, unless `fill` is given: then"
    " its prices are null or the previous close",
    optional=("filled",),
)
_EXAMPLE = {
    "created_at": "2024-01-15T12:00:00Z",
    "open": "68241.50",
    "high": "68302.17",
    "low": "68190.00",
    "close": "68255.04",
    "samples": 60,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CandlesQuery(TickerQuery):
    """A page of the candles of a range."""

    interval: Annotated[str, params.INTERVAL] = "1h"
    tz: Annotated[ZoneInfo, params.ZONE] = _UTC
    start_date: Annotated[datetime | None, START] = None
    end_date: Annotated[datetime | None, END] = None
    order: Annotated[str, params.ORDER] = "desc"
    limit: Annotated[int, params.LIMIT] = params.DEFAULT_LIMIT
    before: Annotated[datetime | None, params.BEFORE] = None
    after: Annotated[datetime | None, params.AFTER] = None
    fill: Annotated[str | None, params.FILL] = None
    format: Annotated[str | None, FORMAT] = None
    price_type: Annotated[str, params.PRICE_TYPE] = "decimal"


@dataclass(frozen=True, slots=True)
class CandlePage:
    """Candles of a listing, in its order; the cursors of the pages with older and newer ones.

    candles: with `fill`, empty buckets too.
    """

    candles: Sequence[Any]
    older: datetime | None
    newer: datetime | None


@endpoint(
    "/prices/candles",
    "candles",
    summary="First, highest, lowest and last price of each bucket of time, newest first",
    description="A bucket without prices has no candle. The header Link leads to the next page and"
    " to the previous one.",
    response=schemas.rows_response(schemas.page_of(CANDLE), [_EXAMPLE], "Link", columnar=True),
    errors=(406, 412, 422, 500, 503),
    links=(
        "list_prices",
        {"ticker": schemas.QUERY_TICKER, "start_date": schemas.in_first("created_at")},
    ),
    shared=True,
)
async def list_candles(request: AppRequest, query: CandlesQuery) -> Response:
    """A page of the candles of the buckets that begin between start_date and end_date."""
    dependency = await require_ticker(request, query.ticker)
    media_type = negotiate(request, query.format, tuple(MEDIA_TYPES.values()))
    now = datetime.now(UTC)
    grid = make_grid(query.interval, query.tz)
    if query.fill:
        params.require_range(query.start_date, query.end_date)
        if media_type in COLUMNAR:
            raise BadRequest({"fill": f"is not available as {COLUMNAR[media_type]}"})
    page = await request.state["database"].run(lambda conn: fetch_page(conn, query, grid, now))
    links = responses.page_links(request, page.older, page.newer, ascending=query.order == "asc")
    _, until = params.half_open(query.start_date, query.end_date)
    end = min(until or now, query.before or now)
    past = next_start(grid, end) <= minute_of(now)
    headers = {**links, **(responses.SETTLED if past else {})}
    if query.fill:
        listed = [rows.filled_candle_row(each) for each in page.candles]
        body = responses.render_flagged(media_type, listed, rows.FILLED_CANDLE_COLUMNS)
    elif media_type in COLUMNAR:
        body = await asyncio.to_thread(render_table, media_type, page.candles, query.price_type)
    else:
        listed = [rows.candle_row(each) for each in page.candles]
        body = render(media_type, listed, rows.CANDLE_COLUMNS)
    return DataResponse(body, media_type, headers, dependency)


def render_table(media_type: str, candles: Sequence[Candle], price_type: str) -> bytes:
    """The *candles* as Arrow or Parquet; the first call imports arro3."""
    lines = "".join(
        f"{each.open:f},{each.high:f},{each.low:f},{each.close:f},{each.samples}\n"
        for each in candles
    )
    packed = columnar.pack_rows([each.start for each in candles], lines)
    pieces = [("", packed)] if candles else []
    table = io.BytesIO()
    columnar.write_pieces(
        pieces,
        rows.CANDLE_COLUMNS[1:],
        table,
        COLUMNAR[media_type],
        price_type=price_type,
        named=False,
    )
    return table.getvalue()


async def fetch_page(
    conn: AsyncConnection, query: CandlesQuery, grid: Grid, now: datetime
) -> CandlePage:
    """The page of *query*; one candle more than it shows tells whether another page follows."""
    start, end = params.half_open(query.start_date, query.end_date)
    start, end = start or FIRST, end or now
    since, until = start, end
    if query.after:
        since = max(since, next_instant(query.after))
    if query.before:
        until = min(until, query.before)
    has_one_cursor = (query.before is None) != (query.after is None)
    ascending = query.before is None if has_one_cursor else query.order == "asc"
    fetch: Fetch = partial(fetch_candles, conn, query.ticker, grid)
    if query.fill:
        end = await _end_of_filled(fetch, grid, end, now)
        until = min(until, end)
        fetch = partial(fill_buckets, fetch, grid, query.fill)

    found = await fetch(_span(since, until), query.limit + 1, ascending=ascending)
    page = found[: query.limit]
    following = page[-1].start if len(found) > query.limit else None
    preceding = None
    if has_one_cursor:
        boundary = since if ascending else max(since, until, FIRST + MINUTE) - MINUTE
        if page:
            boundary = page[0].start
        if ascending:
            behind = _span(start, min(end, boundary))
        else:
            behind = _span(max(start, next_instant(boundary)), end)
        if await fetch(behind, 1, ascending=not ascending):
            preceding = boundary
    if ascending != (query.order == "asc"):
        page.reverse()
    return CandlePage(page, *((preceding, following) if ascending else (following, preceding)))


async def _end_of_filled(fetch: Fetch, grid: Grid, end: datetime, now: datetime) -> datetime:
    """Where a filled listing to *end* ends: the bucket in progress counts once it has a price."""
    present = bucket_start(grid, minute_of(now))
    if end <= present:
        return end
    after = next_instant(present)
    return after if await fetch(Span(present, after), 1, ascending=True) else present


async def fill_buckets(
    fetch: Fetch, grid: Grid, fill: str, within: Span, count: int, *, ascending: bool
) -> list[Candle | EmptyBucket]:
    """Up to *count* buckets that start in *within*: a candle each, or the bucket where it is empty.

    fill: previous: an empty bucket has the close of the last candle before it, also before
        *within*; null: it has none.
    """
    following = ascending_buckets if ascending else descending_buckets
    starts = sorted(each.since for each in islice(following(grid, within), count))
    if not starts:
        return []
    read = await fetch(Span(starts[0], next_instant(starts[-1])), count, ascending=True)
    candles = {each.start: each for each in read}
    price = None
    if fill == "previous" and starts[0] not in candles:
        for each in await fetch(Span(FIRST, starts[0]), 1, ascending=False):
            price = each.close
    listed: list[Candle | EmptyBucket] = []
    for start in starts:
        candle = candles.get(start)
        listed.append(candle or EmptyBucket(start, price))
        if candle and fill == "previous":
            price = candle.close
    return listed if ascending else listed[::-1]


async def fetch_candles(
    conn: AsyncConnection,
    ticker: str,
    grid: Grid,
    within: Span,
    count: int,
    *,
    ascending: bool,
) -> list[Candle]:
    """Up to *count* candles of the buckets that start in *within*, oldest first if *ascending*."""
    if isinstance(grid, CalendarGrid):
        return await _fetch_calendar_candles(conn, ticker, grid, within, count, ascending=ascending)
    span: Span | None = within
    if grid.width < HOUR:
        span = await _stored_part(conn, ticker, grid, within)
    if span is None:
        return []
    whole = Span(next_start(grid, span.since), next_start(grid, span.until))
    if not whole.minutes:
        return []
    return await queries.regular_candles(
        conn, ticker, whole, grid.width, count, ascending=ascending
    )


async def _fetch_calendar_candles(
    conn: AsyncConnection,
    ticker: str,
    grid: CalendarGrid,
    within: Span,
    count: int,
    *,
    ascending: bool,
) -> list[Candle]:
    """Look at *count* buckets first, past any hole, and at twice as many in each next step."""
    found: list[Candle] = []
    step = count
    while len(found) < count and (left := await _stored_part(conn, ticker, grid, within)):
        following = ascending_buckets if ascending else descending_buckets
        searched = list(islice(following(grid, left), step))
        if not searched:  # the prices that are left belong to a bucket that starts earlier
            break
        # Minutes are read only of hours that a zone divides, as Asia/Kolkata does.
        divided = any(bucket.since.minute or bucket.until.minute for bucket in searched)
        fetch = queries.zone_candles if divided else queries.bucket_candles
        found += await fetch(conn, ticker, searched)
        last = searched[-1]
        if ascending:
            within = Span(min(last.until, left.until), left.until)
        else:
            within = Span(left.since, max(last.since, left.since))
        step = min(2 * step, _MAX_BUCKETS)
    return found[:count]


async def _stored_part(conn: AsyncConnection, ticker: str, grid: Grid, within: Span) -> Span | None:
    """The part of *within* in which buckets start that may have prices; None if it is empty."""
    searched = Span(floor_moment(within.since, HOUR), next_start(grid, within.until))
    hours = await queries.stored_hours(conn, ticker, searched)
    if hours is None:
        return None
    since = max(within.since, bucket_start(grid, hours.since))
    until = min(within.until, hours.until)
    return Span(since, until) if since < until else None


def _span(since: datetime, until: datetime) -> Span:
    """[since, until), empty if *until* is earlier."""
    return Span(since, max(since, until))
