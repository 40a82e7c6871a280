"""One typed function for each file of sql/queries; only they know its parameters.

The worker writes with a blocking connection, the API reads with an asynchronous one.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from psycopg import AsyncConnection, Connection
from psycopg.rows import class_row, scalar_row

from tracker.models import Price, Quote

_FOLDER = Path(__file__).resolve().parent.parent / "sql" / "queries"


def _read(name: str) -> bytes:
    return (_FOLDER / f"{name}.sql").read_bytes()


_HOLES = _read("holes")
_INSERT_PRICE = _read("insert_price")
_INSERT_MISS = _read("insert_miss")
_PRICE_PAGE = _read("price_page")
_PRICE_AT = _read("price_at")
_NEWEST_MINUTES = _read("newest_minutes")
_STORED_TICKERS = _read("stored_tickers")
_APPLIED_MIGRATIONS = _read("applied_migrations")

# Looking back a month first keeps a query to one or two chunks, however long the archive.
_NEAR = timedelta(days=31)
_EVER = datetime.min.replace(tzinfo=UTC)


def insert_price(conn: Connection, quote: Quote, minute: datetime, *, source: str = "poll") -> bool:
    """Store *quote* under *minute*; False if that minute has a price already."""
    parameters = {
        "ticker": quote.ticker,
        "price": quote.price,
        "minute": minute,
        "observed_at": quote.observed_at,
        "source": source,
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
    near = await _between(conn, ticker, _back(until), until, count)
    return near if len(near) == count else await _between(conn, ticker, _EVER, until, count)


async def price_at(conn: AsyncConnection, ticker: str, minute: datetime) -> Price | None:
    """The price of *ticker* for *minute*, which stands on the minute grid."""
    async with conn.cursor(row_factory=class_row(Price)) as cursor:
        await cursor.execute(_PRICE_AT, {"ticker": ticker, "minute": minute})
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


async def _between(
    conn: AsyncConnection, ticker: str, since: datetime, until: datetime, count: int
) -> list[Price]:
    async with conn.cursor(row_factory=class_row(Price)) as cursor:
        parameters = {"ticker": ticker, "since": since, "until": until, "count": count}
        await cursor.execute(_PRICE_PAGE, parameters)
        return await cursor.fetchall()


def _back(until: datetime) -> datetime:
    return max(until, _EVER + _NEAR) - _NEAR
