"""Candles: of minutes from the prices themselves, of hours and longer from the rollups."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import args_row

from tracker.gaps import DAY, HOUR, Span, split
from tracker.models import MINUTE, Candle
from tracker.queries.read import read

_FALLING_CANDLES = read("queries/falling_candles")
_RISING_CANDLES = read("queries/rising_candles")
_FALLING_HOUR_CANDLES = read("queries/falling_hour_candles")
_RISING_HOUR_CANDLES = read("queries/rising_hour_candles")
_FALLING_DAY_CANDLES = read("queries/falling_day_candles")
_RISING_DAY_CANDLES = read("queries/rising_day_candles")
_BUCKET_CANDLES = read("queries/bucket_candles")
_ZONE_CANDLES = read("queries/zone_candles")
_STORED_HOURS = read("queries/stored_hours")


async def falling_candles(
    conn: AsyncConnection, ticker: str, within: Span, width: timedelta, count: int
) -> list[Candle]:
    """Up to *count* candles, *width* wide, newest first; *within* has some, and only whole ones."""
    return await _read(conn, _FALLING_CANDLES, _limits(ticker, within, width, count, MINUTE))


async def rising_candles(
    conn: AsyncConnection, ticker: str, within: Span, width: timedelta, count: int
) -> list[Candle]:
    """The same as `falling_candles`, oldest first."""
    return await _read(conn, _RISING_CANDLES, _limits(ticker, within, width, count, MINUTE))


async def falling_hour_candles(
    conn: AsyncConnection, ticker: str, within: Span, width: timedelta, count: int
) -> list[Candle]:
    """The same as `falling_candles`, for a *width* of whole hours."""
    return await _read(conn, _FALLING_HOUR_CANDLES, _limits(ticker, within, width, count, HOUR))


async def rising_hour_candles(
    conn: AsyncConnection, ticker: str, within: Span, width: timedelta, count: int
) -> list[Candle]:
    """The same as `falling_hour_candles`, oldest first."""
    return await _read(conn, _RISING_HOUR_CANDLES, _limits(ticker, within, width, count, HOUR))


async def falling_day_candles(
    conn: AsyncConnection, ticker: str, within: Span, width: timedelta, count: int
) -> list[Candle]:
    """The same as `falling_candles`, for a *width* of one day."""
    return await _read(conn, _FALLING_DAY_CANDLES, _limits(ticker, within, width, count, DAY))


async def rising_day_candles(
    conn: AsyncConnection, ticker: str, within: Span, width: timedelta, count: int
) -> list[Candle]:
    """The same as `falling_day_candles`, oldest first."""
    return await _read(conn, _RISING_DAY_CANDLES, _limits(ticker, within, width, count, DAY))


async def bucket_candles(
    conn: AsyncConnection, ticker: str, buckets: Sequence[Span]
) -> list[Candle]:
    """A candle for each of *buckets* that has prices, in their order; each is of whole hours."""
    parameters = {
        "ticker": ticker,
        "starts": [bucket.since for bucket in buckets],
        "stops": [bucket.until for bucket in buckets],
    }
    return await _read(conn, _BUCKET_CANDLES, parameters)


async def zone_candles(conn: AsyncConnection, ticker: str, buckets: Sequence[Span]) -> list[Candle]:
    """The same as `bucket_candles`, for buckets of whole minutes, each an hour long at least."""
    whole = [split(bucket)[0] for bucket in buckets]
    parameters = {
        "ticker": ticker,
        "starts": [bucket.since for bucket in buckets],
        "stops": [bucket.until for bucket in buckets],
        "firsts": [hours.since for hours in whole],
        "lasts": [hours.until for hours in whole],
        "since": min(bucket.since for bucket in buckets),
        "until": max(bucket.until for bucket in buckets) - MINUTE,
    }
    return await _read(conn, _ZONE_CANDLES, parameters)


async def stored_hours(conn: AsyncConnection, ticker: str, within: Span) -> Span | None:
    """From the oldest hour that has prices to the newest, of those that start in *within*."""
    parameters = {"ticker": ticker, "since": within.since, "until": within.until}
    cursor = await conn.execute(_STORED_HOURS, parameters)
    found = await cursor.fetchone()
    assert found is not None  # an aggregate always answers
    return None if found[0] is None else Span(found[0], found[1] + HOUR)


def _limits(
    ticker: str, within: Span, width: timedelta, count: int, row: timedelta
) -> dict[str, Any]:
    """Where reading starts, and where it stops at the latest; *row* is how long one lasts."""
    return {
        "ticker": ticker,
        "since": within.since,
        "until": within.until - MINUTE,
        "width": width,
        "count": count,
        "most": count * (width // row),
    }


async def _read(conn: AsyncConnection, query: bytes, parameters: dict[str, Any]) -> list[Candle]:
    """By the places of columns, not their names: a millisecond less for a year of days."""
    async with conn.cursor(row_factory=args_row(Candle)) as cursor:
        await cursor.execute(query, parameters)
        return await cursor.fetchall()
