"""Candles: below an hour from prices, from an hour on from the rollups."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import args_row

from tracker.models import Candle
from tracker.queries.statements import compose_sql, load_sql
from tracker.times import DAY, HOUR, MINUTE, Span, split_whole_hours


def _both_orders(name: str) -> dict[bool, bytes]:
    """The statements of a template, by whether they are ascending."""
    template = load_sql(name)
    return {False: compose_sql(template, order="DESC"), True: compose_sql(template, order="ASC")}


MINUTE_STATEMENTS = _both_orders("queries/minute_candles")
HOUR_STATEMENTS = _both_orders("queries/hour_candles")
DAY_STATEMENTS = _both_orders("queries/day_candles")
_BUCKET_CANDLES = load_sql("queries/bucket_candles")
_ZONE_CANDLES = load_sql("queries/zone_candles")
_STORED_HOURS = load_sql("queries/stored_hours")


async def regular_candles(
    conn: AsyncConnection,
    ticker: str,
    within: Span,
    width: timedelta,
    count: int,
    *,
    ascending: bool,
) -> list[Candle]:
    """Up to *count* candles of *within*, descending unless *ascending*.

    width: divides a day; from an hour on, consists of whole hours. Candles below an hour are
        computed from prices, below a day from hours.
    within: consists of whole buckets, at least one.
    """
    if width < HOUR:
        statements, row = MINUTE_STATEMENTS, MINUTE
    elif width < DAY:
        statements, row = HOUR_STATEMENTS, HOUR
    else:
        statements, row = DAY_STATEMENTS, DAY
    parameters = {
        "ticker": ticker,
        "since": within.since,
        "until": within.until - MINUTE,
        "width": width,
        "count": count,
        "max_rows": count * (width // row),
    }
    return await _fetch_candles(conn, statements[ascending], parameters)


async def bucket_candles(
    conn: AsyncConnection, ticker: str, buckets: Sequence[Span]
) -> list[Candle]:
    """A candle for each of *buckets* with prices, in their order; buckets are of whole hours."""
    parameters = {
        "ticker": ticker,
        "starts": [bucket.since for bucket in buckets],
        "stops": [bucket.until for bucket in buckets],
    }
    return await _fetch_candles(conn, _BUCKET_CANDLES, parameters)


async def zone_candles(conn: AsyncConnection, ticker: str, buckets: Sequence[Span]) -> list[Candle]:
    """Like `bucket_candles`, for buckets of whole minutes that have at least an hour."""
    whole = [split_whole_hours(bucket)[0] for bucket in buckets]
    parameters = {
        "ticker": ticker,
        "starts": [bucket.since for bucket in buckets],
        "stops": [bucket.until for bucket in buckets],
        "first_hours": [hours.since for hours in whole],
        "last_hours": [hours.until for hours in whole],
        "since": min(bucket.since for bucket in buckets),
        "until": max(bucket.until for bucket in buckets) - MINUTE,
    }
    return await _fetch_candles(conn, _ZONE_CANDLES, parameters)


async def stored_hours(conn: AsyncConnection, ticker: str, within: Span) -> Span | None:
    """From the oldest to the newest hour with prices that starts in *within*; None without any."""
    parameters = {"ticker": ticker, "since": within.since, "until": within.until}
    cursor = await conn.execute(_STORED_HOURS, parameters)
    row = await cursor.fetchone()
    assert row is not None  # an aggregate without GROUP BY returns one row
    return None if row[0] is None else Span(row[0], row[1] + HOUR)


async def _fetch_candles(
    conn: AsyncConnection, statement: bytes, parameters: dict[str, Any]
) -> list[Candle]:
    """Candles by the order of columns, not their names: saves a millisecond for a year of days."""
    async with conn.cursor(row_factory=args_row(Candle)) as cursor:
        await cursor.execute(statement, parameters)
        return await cursor.fetchall()
