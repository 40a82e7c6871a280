"""What is missing, page by page.

Read from the hourly rollup; by the minute only where an hour lacks some.
"""

from datetime import datetime, timedelta

from psycopg import AsyncConnection

from tracker import gaps, queries
from tracker.gaps import HOUR, Coverage, Gap, Span

_MORE = 2  # hours beyond the gaps that are asked for: mostly that is enough at once


async def window(
    conn: AsyncConnection, ticker: str, ends: tuple[datetime | None, datetime | None], now: datetime
) -> Span:
    """The minutes between *ends*, [start, end), that are expected by *now*; maybe none."""
    since = await queries.tracked_since(conn, ticker)
    return Span(now, now) if since is None else gaps.window(since, *ends, now)


async def gap_page(conn: AsyncConnection, ticker: str, within: Span, count: int) -> list[Gap]:
    """Up to *count* gaps, newest first; the last of a full *count* may reach further back.

    Hours that lack minutes are more than their gaps when gaps span hours, or when the newest hour
    lacks only minutes to come: ask until it is enough.
    """
    found: list[Gap] = []
    until = within.until
    while within.since < until and len(found) < count:
        rest, rows = Span(within.since, until), count - len(found) + _MORE
        asked = gaps.rounded(rest, HOUR)
        hours = await queries.incomplete_hours(conn, ticker, asked, rows)
        partial = [each.since for each in hours if each.partial]
        stored = await queries.stored_minutes(conn, ticker, partial)
        holes = gaps.holes(hours, stored, rest)
        records = await queries.recorded_misses(conn, ticker, holes, count)
        found = gaps.merged([*found, *gaps.explained(holes, records)])
        until = hours[-1].since if len(hours) == rows else within.since
    return found[:count]


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
