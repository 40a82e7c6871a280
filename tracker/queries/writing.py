"""What the worker asks and stores: prices, misses, holes. On a blocking connection."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from psycopg import Connection, DataError, Error, IntegrityError

from tracker.models import Quote
from tracker.queries.read import read

Key = tuple[str, datetime]  # index and minute
Stamped = tuple[Quote, datetime]  # a quote and the minute that it stands for

BATCH_SIZE = 100  # rows of a chart in one statement

_INSERT_PRICES = read("queries/insert_prices")
_INSERT_MISS = read("queries/insert_miss")
_HOLES = read("queries/holes")


def insert_prices(
    conn: Connection, stamped: Iterable[Stamped], *, source: str = "poll", patience: str = "0"
) -> set[Key]:
    """Store quotes under their minutes by one statement; the keys of those that were new.

    A polled price replaces a chart's average, never the reverse: it may have waited for the
    database while the minute was repaired. Of several quotes of one key the first counts.
    *patience*: how long a lock is waited for, such as 500ms; 0: as long as the statement may take.
    Raises IntegrityError or DataError, and stores nothing, if the schema refuses one of them.
    """
    quotes: dict[Key, Quote] = {}
    for quote, minute in stamped:
        quotes.setdefault((quote.ticker, minute), quote)
    if not quotes:
        return set()
    minutes = [minute for _, minute in quotes]
    parameters = {
        "tickers": [ticker for ticker, _ in quotes],
        "minutes": minutes,
        "prices": [quote.price for quote in quotes.values()],
        "observed": [quote.observed_at for quote in quotes.values()],
        "source": source,
        "replaces": "chart" if source == "poll" else None,
        "first": min(minutes),
        "last": max(minutes),
        "patience": patience,
    }
    return set(conn.execute(_INSERT_PRICES, parameters, prepare=False).fetchall())


def insert_price(conn: Connection, quote: Quote, minute: datetime, *, source: str = "poll") -> bool:
    """Store *quote* under *minute*, as `insert_prices` does; False if that minute has a price."""
    return bool(insert_prices(conn, [(quote, minute)], source=source))


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


def insert_points(conn: Connection, points: Sequence[Quote]) -> int:
    """Store *points* of chart data under their own minutes; how many of them had no price yet.

    Each batch is a statement and a commit of its own, so that no lock is held for long. If the
    schema refuses a point, all others are stored before the error is raised.
    """
    stamped = [(point, point.observed_at) for point in points]
    added, refusals = 0, list[Error]()
    for start in range(0, len(stamped), BATCH_SIZE):
        batch = stamped[start : start + BATCH_SIZE]
        try:
            added += len(insert_prices(conn, batch, source="chart"))
        except (IntegrityError, DataError):
            for each in batch:
                try:
                    added += len(insert_prices(conn, [each], source="chart"))
                except (IntegrityError, DataError) as error:
                    refusals.append(error)
    if refusals:
        raise refusals[0]
    return added


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
