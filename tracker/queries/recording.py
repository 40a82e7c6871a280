"""What the recorder reads and writes: prices, misses, repairable minutes, heartbeats, retention."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import Connection, DataError, Error, IntegrityError
from psycopg.rows import class_row

from tracker.models import Quote
from tracker.queries.statements import load_sql

Key = tuple[str, datetime]  # index and minute

BATCH_SIZE = 100  # points of a chart in one statement

_INSERT_PRICES = load_sql("queries/insert_prices")
_INSERT_MISS = load_sql("queries/insert_miss")
_REPAIRABLE_MINUTES = load_sql("queries/repairable_minutes")
_RECORD_HEARTBEAT = load_sql("queries/record_heartbeat")
_EXCHANGE_NAMES = load_sql("queries/exchange_names")
_DISCARD_MISSES = load_sql("queries/discard_misses")
_DROP_PRICES = load_sql("queries/drop_prices")


def insert_prices(
    conn: Connection,
    prices: Iterable[tuple[Quote, datetime]],
    *,
    source: str = "poll",
    lock_timeout: str = "0",
) -> set[Key]:
    """Store quotes, each under its minute, in one statement; return the keys of new prices.

    A polled price replaces a chart's average, never the reverse: it may have waited for the
    database while the minute was repaired. Of several quotes with one key the first counts.
    lock_timeout: such as 500ms; 0: no limit but that of the statement.
    Raises IntegrityError or DataError, and stores nothing, if the schema refuses one of them.
    """
    quotes: dict[Key, Quote] = {}
    for quote, minute in prices:
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
        "lock_timeout": lock_timeout,
    }
    return set(conn.execute(_INSERT_PRICES, parameters, prepare=False).fetchall())


def insert_price(conn: Connection, quote: Quote, minute: datetime, *, source: str = "poll") -> bool:
    """Store *quote* under *minute*, as `insert_prices` does; False if the minute has a price."""
    return bool(insert_prices(conn, [(quote, minute)], source=source))


def insert_points(conn: Connection, points: Sequence[Quote]) -> int:
    """Store *points* of a chart under their own minutes; return how many had no price yet.

    Each batch is committed by itself, which keeps locks short. If the schema refuses a point, all
    others are stored before the error is raised.
    """
    prices = [(point, point.observed_at) for point in points]
    added, refusals = 0, list[Error]()
    for start in range(0, len(prices), BATCH_SIZE):
        batch = prices[start : start + BATCH_SIZE]
        try:
            added += len(insert_prices(conn, batch, source="chart"))
        except (IntegrityError, DataError):
            for price in batch:
                try:
                    added += len(insert_prices(conn, [price], source="chart"))
                except (IntegrityError, DataError) as error:
                    refusals.append(error)
    if refusals:
        raise refusals[0]
    return added


def insert_miss(
    conn: Connection,
    ticker: str,
    minute: datetime,
    reason: str,
    *,
    code: int | None,
    attempts: int,
    confirmed: bool = True,
) -> bool:
    """Record why *minute* has no polled price; False if it has a price or a record.

    Also False if the index was not yet tracked more than an hour later, and, unless the exchange's
    clock *confirmed* the minute, if nothing was stored within an hour of it.
    """
    parameters = {
        "ticker": ticker,
        "minute": minute,
        "reason": reason,
        "code": code,
        "attempts": attempts,
        "confirmed": confirmed,
    }
    return conn.execute(_INSERT_MISS, parameters).rowcount == 1


def repairable_minutes(
    conn: Connection,
    tickers: Sequence[str],
    *,
    since: datetime,
    recent: datetime,
    until: datetime,
) -> list[Key]:
    """Minutes without a price, ascending for each index.

    All in [recent, until]; in [since, recent) every fifth one, from when an index is tracked.
    """
    parameters = {"tickers": list(tickers), "since": since, "recent": recent, "until": until}
    return conn.execute(_REPAIRABLE_MINUTES, parameters).fetchall()


def record_heartbeat(
    conn: Connection,
    part: str,
    age: timedelta = timedelta(),
    *,
    locked: Iterable[str] = (),
    names: Iterable[str] = (),
) -> None:
    """Record that *part* was alive *age* ago, by the server's clock.

    part: scheduler, worker, exchange (with its *locked* indexes), backup (one was completed),
    listed (the *names* of the exchange's indexes were read) or vanished (it lists *names* no more).
    """
    parameters = {
        "part": part,
        "age": age.total_seconds(),
        "locked": list(locked),
        "names": list(names),
    }
    conn.execute(_RECORD_HEARTBEAT, parameters)


def exchange_names(conn: Connection) -> tuple[set[str], set[str]]:
    """The names that the exchange listed when they were last read, and those that vanished."""
    found: dict[str, list[str]] = dict(conn.execute(_EXCHANGE_NAMES).fetchall())
    return set(found.get("listed", ())), set(found.get("vanished", ()))


def discard_misses(conn: Connection, moment: datetime) -> int:
    """Delete misses that a wrong clock recorded; return their number.

    No price is stored. The misses remain that lead to *moment*, which the exchange confirmed,
    without a pause of an hour.
    """
    row = conn.execute(_DISCARD_MISSES, {"moment": moment}).fetchone()
    assert row is not None
    return int(row[0])


@dataclass(frozen=True, slots=True)
class Dropped:
    """What one call dropped: whole *chunks*, and *minutes* of all indexes, all before *reached*.

    horizon: the midnight to reach by further calls; None, as *reached*, without any price.
    """

    horizon: datetime | None
    reached: datetime | None
    chunks: int
    minutes: int


def drop_prices(conn: Connection, retention: timedelta) -> Dropped:
    """Drop prices older than *retention*, and retain their candles.

    The age counts from the newest stored price, or from the server's clock if that is earlier. Old
    chunks are dropped at once, the remaining prices one day a call.
    """
    with conn.cursor(row_factory=class_row(Dropped)) as cursor:
        dropped = cursor.execute(_DROP_PRICES, {"retention": retention}).fetchone()
        assert dropped is not None  # a function with OUT parameters returns one row
        return dropped
