"""One typed function for each file of sql/queries; only they know its parameters.

The worker writes with a blocking connection, the API reads with an asynchronous one.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from psycopg import AsyncConnection, Connection
from psycopg.rows import class_row, scalar_row

from tracker.gaps import HOUR, Gap, Hours, Span
from tracker.models import MINUTE, Price, Quote, SourcedPrice

P = TypeVar("P", bound=Price)
R = TypeVar("R")

_FOLDER = Path(__file__).resolve().parent.parent / "sql" / "queries"


def _read(name: str) -> bytes:
    return (_FOLDER / f"{name}.sql").read_bytes()


_HOLES = _read("holes")
_INSERT_PRICE = _read("insert_price")
_INSERT_MISS = _read("insert_miss")
_PRICE_PAGE = _read("price_page")
_PRICE_AT = _read("price_at")
_SOURCED_PAGE = _read("sourced_page")
_SOURCED_AT = _read("sourced_at")
_INCOMPLETE_HOURS = _read("incomplete_hours")
_STORED_MINUTES = _read("stored_minutes")
_RECORDED_MISSES = _read("recorded_misses")
_COUNTED_HOURS = _read("counted_hours")
_COUNTED_MINUTES = _read("counted_minutes")
_TRACKED_SINCE = _read("tracked_since")
_NEWEST_MINUTES = _read("newest_minutes")
_STORED_TICKERS = _read("stored_tickers")
_APPLIED_MIGRATIONS = _read("applied_migrations")

# Looking back a month first keeps a query to one or two chunks, however long the archive.
_NEAR = timedelta(days=31)
_EVER = datetime.min.replace(tzinfo=UTC)


def insert_price(conn: Connection, quote: Quote, minute: datetime, *, source: str = "poll") -> bool:
    """Store *quote* under *minute*; False if that minute has a price already.

    A polled price replaces a chart's average, never the reverse: it may have waited for the
    database while the minute was repaired.
    """
    parameters = {
        "ticker": quote.ticker,
        "price": quote.price,
        "minute": minute,
        "observed_at": quote.observed_at,
        "source": source,
        "replaces": "chart" if source == "poll" else None,
    }
    return conn.execute(_INSERT_PRICE, parameters).rowcount == 1


def insert_miss(
    conn: Connection, ticker: str, minute: datetime, reason: str, *, code: int | None, attempts: int
) -> bool:
    """Record why *minute* has no polled price; False if it has one, or a record."""
    parameters = {
        "ticker": ticker,
        "minute": minute,
        "reason": reason,
        "code": code,
        "attempts": attempts,
    }
    return conn.execute(_INSERT_MISS, parameters).rowcount == 1


def insert_points(conn: Connection, points: Iterable[Quote]) -> int:
    """Store *points* of chart data under their own minutes; how many of them had no price yet.

    Each is a statement and a commit of its own, so that no lock is held from one to the next.
    """
    return sum(insert_price(conn, point, point.observed_at, source="chart") for point in points)


def holes(
    conn: Connection,
    tickers: Sequence[str],
    *,
    since: datetime,
    recent: datetime,
    until: datetime,
) -> list[tuple[str, datetime]]:
    """Index and minute of each hole: all in [recent, until], five-minute marks in [since, recent).

    Those before *recent* only since an index is tracked.
    """
    parameters = {"tickers": list(tickers), "since": since, "recent": recent, "until": until}
    return conn.execute(_HOLES, parameters).fetchall()


async def price_page(
    conn: AsyncConnection, ticker: str, *, until: datetime, count: int
) -> list[Price]:
    """Up to *count* prices of *ticker* at or before *until*, newest first."""
    parameters = {"ticker": ticker, "until": until, "count": count}
    return await _page(conn, _PRICE_PAGE, Price, parameters)


async def sourced_page(
    conn: AsyncConnection, ticker: str, *, until: datetime, count: int
) -> list[SourcedPrice]:
    """The same as `price_page`, with where each price comes from."""
    parameters = {"ticker": ticker, "until": until, "count": count}
    return await _page(conn, _SOURCED_PAGE, SourcedPrice, parameters)


async def price_at(conn: AsyncConnection, ticker: str, minute: datetime) -> Price | None:
    """The price of *ticker* for *minute*, which stands on the minute grid."""
    found = await _rows(conn, _PRICE_AT, Price, {"ticker": ticker, "minute": minute})
    return found[0] if found else None


async def sourced_at(conn: AsyncConnection, ticker: str, minute: datetime) -> SourcedPrice | None:
    """The same as `price_at`, with where the price comes from."""
    found = await _rows(conn, _SOURCED_AT, SourcedPrice, {"ticker": ticker, "minute": minute})
    return found[0] if found else None


async def incomplete_hours(
    conn: AsyncConnection, ticker: str, hours: Span, count: int
) -> list[Hours]:
    """Where *hours*, which are whole, lack minutes: newest first, at most *count*."""
    parameters = {"ticker": ticker, "since": hours.since, "until": hours.until, "count": count}
    return await _rows(conn, _INCOMPLETE_HOURS, Hours, parameters)


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
    return await _rows(conn, _RECORDED_MISSES, Gap, parameters)


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


async def newest_minutes(
    conn: AsyncConnection, tickers: Sequence[str], until: datetime
) -> dict[str, datetime | None]:
    """The newest stored minute at or before *until* of each of *tickers*; None if there is none."""
    parameters = {"tickers": list(tickers), "since": _back(until), "until": until}
    cursor = await conn.execute(_NEWEST_MINUTES, parameters)
    return dict(await cursor.fetchall())


async def stored_tickers(conn: AsyncConnection) -> list[str]:
    """Every index that has ever been tracked, by name."""
    async with conn.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(_STORED_TICKERS)
        return await cursor.fetchall()


async def applied_migrations(conn: AsyncConnection) -> list[str]:
    """The migrations this database has, by name. Raises UndefinedTable if it never had any."""
    async with conn.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(_APPLIED_MIGRATIONS)
        return await cursor.fetchall()


async def _page(
    conn: AsyncConnection, query: bytes, row: type[P], parameters: dict[str, Any]
) -> list[P]:
    near = parameters | {"since": _back(parameters["until"])}
    found = await _rows(conn, query, row, near)
    if len(found) == parameters["count"]:
        return found
    return await _rows(conn, query, row, parameters | {"since": _EVER})


async def _rows(
    conn: AsyncConnection, query: bytes, row: type[R], parameters: dict[str, Any]
) -> list[R]:
    async with conn.cursor(row_factory=class_row(row)) as cursor:
        await cursor.execute(query, parameters)
        return await cursor.fetchall()


def _back(until: datetime) -> datetime:
    return max(until, _EVER + _NEAR) - _NEAR
