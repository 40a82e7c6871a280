"""Gaps with their reasons, and coverage."""

from datetime import datetime, timedelta

from psycopg import AsyncConnection
from psycopg.rows import scalar_row

from tracker.gaps import NOT_POLLED, RecordedGap
from tracker.queries.statements import fetch_rows, load_sql
from tracker.times import MINUTE, Span

_GAP_PAGE = load_sql("queries/gap_page")
_COUNTED_HOURS = load_sql("queries/counted_hours")
_COUNTED_MINUTES = load_sql("queries/counted_minutes")
_TRACKED_SINCE = load_sql("queries/tracked_since")


async def gap_page(
    conn: AsyncConnection, ticker: str, within: Span, count: int
) -> list[RecordedGap]:
    """The gaps in *within*, newest first: one row for each island of recorded misses in a gap.

    At most *count* rows; the last gap may have more.
    """
    parameters = {
        "ticker": ticker,
        "since": within.since,
        "until": within.until,
        "unknown": NOT_POLLED,
        "count": count,
    }
    return await fetch_rows(conn, _GAP_PAGE, RecordedGap, parameters)


async def counted_hours(
    conn: AsyncConnection, ticker: str, hours: Span, width: timedelta
) -> list[tuple[datetime, int, int, int]]:
    """(start, polled, chart, imported) of each bucket of *hours* that has a price.

    *hours* begins and ends on a full hour.
    """
    parameters = {"ticker": ticker, "since": hours.since, "until": hours.until, "width": width}
    cursor = await conn.execute(_COUNTED_HOURS, parameters)
    return await cursor.fetchall()


async def counted_minutes(conn: AsyncConnection, ticker: str, span: Span) -> tuple[int, int, int]:
    """The numbers of polled, charted and imported minutes of *span*, which is not empty."""
    parameters = {"ticker": ticker, "since": span.since, "until": span.until - MINUTE}
    cursor = await conn.execute(_COUNTED_MINUTES, parameters)
    found = await cursor.fetchone()
    assert found is not None  # an aggregate without GROUP BY returns one row
    return found[0], found[1], found[2]


async def tracked_since(conn: AsyncConnection, ticker: str) -> datetime | None:
    """The first polled or stored minute of *ticker*; None if it was never tracked."""
    async with conn.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(_TRACKED_SINCE, {"ticker": ticker})
        return await cursor.fetchone()
