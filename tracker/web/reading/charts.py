"""Candles, as many as a page needs: from the prices below an hour, from the rollups above.

Days of UTC are kept as such; those of other zones, weeks and months are made of hours. An empty
bucket makes no candle, however long prices are missing.
"""

from collections.abc import Sequence
from itertools import islice

from psycopg import AsyncConnection

from tracker import buckets, gaps, queries
from tracker.buckets import Calendar, Even
from tracker.gaps import HOUR, Span
from tracker.models import Candle

_MAX_BUCKETS = 10_000  # in one step


async def candles(
    conn: AsyncConnection,
    ticker: str,
    grid: Even | Calendar,
    within: Span,
    count: int,
    *,
    ascending: bool,
) -> list[Candle]:
    """Up to *count* candles of the buckets that start in *within*, oldest first if *ascending*."""
    if isinstance(grid, Calendar):
        return await _by_calendar(conn, ticker, grid, within, count, ascending=ascending)
    left = within if grid.width >= HOUR else await _stored(conn, ticker, grid, within)
    if left is None:
        return []
    whole = Span(buckets.ceiling(grid, left.since), buckets.ceiling(grid, left.until))
    if not whole.minutes:
        return []
    return await queries.regular_candles(
        conn, ticker, whole, grid.width, count, ascending=ascending
    )


async def _by_calendar(
    conn: AsyncConnection, ticker: str, grid: Calendar, within: Span, count: int, *, ascending: bool
) -> list[Candle]:
    """Holes are jumped over, so that no more buckets are looked at than are shown.

    Unless prices are sparse: then twice as many with each step.
    """
    found: list[Candle] = []
    step_size = count
    while len(found) < count and (left := await _stored(conn, ticker, grid, within)):
        each = buckets.rising if ascending else buckets.falling
        looked_at = list(islice(each(grid, left), step_size))
        if not looked_at:  # the prices that are left belong to a bucket that starts earlier
            break
        found += await _read(conn, ticker, looked_at)
        within = _beyond(left, looked_at[-1], ascending=ascending)
        step_size = min(2 * step_size, _MAX_BUCKETS)
    return found[:count]


async def _stored(
    conn: AsyncConnection, ticker: str, grid: Even | Calendar, within: Span
) -> Span | None:
    """The part of *within* in which buckets start that may have prices; None if there is none."""
    looked_at = Span(gaps.floor(within.since, HOUR), buckets.ceiling(grid, within.until))
    hours = await queries.stored_hours(conn, ticker, looked_at)
    if hours is None:
        return None
    since = max(within.since, buckets.floor(grid, hours.since))
    until = min(within.until, hours.until)
    return Span(since, until) if since < until else None


async def _read(conn: AsyncConnection, ticker: str, asked: Sequence[Span]) -> list[Candle]:
    """The minutes are read only of hours that a zone divides, as Asia/Kolkata does."""
    divided = any(bucket.since.minute or bucket.until.minute for bucket in asked)
    read = queries.zone_candles if divided else queries.bucket_candles
    return await read(conn, ticker, asked)


def _beyond(left: Span, last: Span, *, ascending: bool) -> Span:
    """What is left of *left* beyond the *last* bucket that was looked at."""
    if ascending:
        return Span(min(last.until, left.until), left.until)
    return Span(left.since, max(last.since, left.since))
