"""What the API shows of missing minutes: gaps, their reasons, coverage."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from psycopg import AsyncConnection
from psycopg.rows import scalar_row

from tracker.gaps import HOUR, Gap, Hours, Span
from tracker.models import MINUTE
from tracker.queries.read import read, rows

_INCOMPLETE_HOURS = read("queries/incomplete_hours")
_STORED_MINUTES = read("queries/stored_minutes")
_RECORDED_MISSES = read("queries/recorded_misses")
_COUNTED_HOURS = read("queries/counted_hours")
_COUNTED_MINUTES = read("queries/counted_minutes")
_TRACKED_SINCE = read("queries/tracked_since")


async def incomplete_hours(
    conn: AsyncConnection, ticker: str, hours: Span, count: int
) -> list[Hours]:
    """Where *hours*, which are whole, lack minutes: newest first, at most *count*."""
    parameters = {"ticker": ticker, "since": hours.since, "until": hours.until, "count": count}
    return await rows(conn, _INCOMPLETE_HOURS, Hours, parameters)


async def stored_minutes(
    conn: AsyncConnection, ticker: str, hours: Sequence[datetime]
) -> dict[datetime, int]:
    """Which minutes of each of *hours* are stored: bit n is set for minute n."""
    if not hours:
        return {}
    parameters = {
        "ticker": ticker,
        "hours": list(hours),
        "since": min(hours),
        "until": max(hours) + HOUR - MINUTE,
    }
    cursor = await conn.execute(_STORED_MINUTES, parameters)
    return dict(await cursor.fetchall())


async def recorded_misses(
    conn: AsyncConnection, ticker: str, holes: Sequence[Span], count: int
) -> list[Gap]:
    """What the record says of *holes*: at most *count* runs of each, those nearest its end."""
    parameters = {
        "ticker": ticker,
        "sinces": [hole.since for hole in holes],
        "untils": [hole.until for hole in holes],
        "count": count,
    }
    return await rows(conn, _RECORDED_MISSES, Gap, parameters)


async def counted_hours(
    conn: AsyncConnection, ticker: str, hours: Span, width: timedelta
) -> list[tuple[datetime, int, int]]:
    """(start, polled, chart) of each bucket of *hours* that has a price; *hours* are whole."""
    parameters = {"ticker": ticker, "since": hours.since, "until": hours.until, "width": width}
    cursor = await conn.execute(_COUNTED_HOURS, parameters)
    return await cursor.fetchall()


async def counted_minutes(conn: AsyncConnection, ticker: str, span: Span) -> tuple[int, int]:
    """How many minutes of *span*, which has some, are polled, and how many come from charts."""
    parameters = {
        "ticker": ticker,
        "since": span.since,
        "until": span.until - MINUTE,
        "chart": "chart",
    }
    cursor = await conn.execute(_COUNTED_MINUTES, parameters)
    found = await cursor.fetchone()
    assert found is not None  # counting always answers
    return found[0], found[1]


async def tracked_since(conn: AsyncConnection, ticker: str) -> datetime | None:
    """The first minute of *ticker* that was asked for or stored; None if it never was."""
    async with conn.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(_TRACKED_SINCE, {"ticker": ticker})
        return await cursor.fetchone()
