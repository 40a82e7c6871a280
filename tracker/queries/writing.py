"""What the worker asks and stores: prices, misses, holes. On a blocking connection."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from psycopg import Connection

from tracker.models import Quote
from tracker.queries.read import read

_INSERT_PRICE = read("queries/insert_price")
_INSERT_MISS = read("queries/insert_miss")
_HOLES = read("queries/holes")


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
