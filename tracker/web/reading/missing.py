"""What is missing, page by page.

Gaps are read from the runs of stored and of missed minutes, coverage from the hourly rollup; by
the minute only where a window cuts an hour.
"""

from datetime import datetime, timedelta
from itertools import islice

from psycopg import AsyncConnection

from tracker import gaps, queries
from tracker.gaps import Coverage, Gap, Span


async def window(
    conn: AsyncConnection, ticker: str, ends: tuple[datetime | None, datetime | None], now: datetime
) -> Span:
    """The minutes between *ends*, [start, end), that are expected by *now*; maybe none."""
    since = await queries.tracked_since(conn, ticker)
    return Span(now, now) if since is None else gaps.window(since, *ends, now)


async def gap_page(conn: AsyncConnection, ticker: str, within: Span, count: int) -> list[Gap]:
    """Up to *count* gaps, newest first. Each row that is asked for makes one at least."""
    holes = await queries.gap_page(conn, ticker, within, count)
    return list(islice(gaps.explained(holes), count))


async def coverage_page(
    conn: AsyncConnection, ticker: str, within: Span, width: timedelta, count: int
) -> list[Coverage]:
    """Up to *count* buckets, *width* wide, newest first."""
    buckets = gaps.buckets(within, width, count)
    if not buckets:
        return []
    whole, edges = gaps.split(Span(buckets[-1].since, buckets[0].until))
    counted = await queries.counted_hours(conn, ticker, whole, width)
    for edge in edges:
        start = gaps.floor(edge.since, width)
        counted.append((start, *await queries.counted_minutes(conn, ticker, edge)))
    return gaps.covered(buckets, width, counted)
