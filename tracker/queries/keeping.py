"""How long prices are kept: what the worker asks the database to drop, and to compress."""

from dataclasses import dataclass
from datetime import datetime

from psycopg import Connection
from psycopg.rows import class_row, scalar_row

from tracker.queries.read import read

_CUT_PRICES = read("queries/cut_prices")
_COMPRESS_PRICES = read("queries/compress_prices")


@dataclass(frozen=True, slots=True)
class Cut:
    """What was dropped: *chunks* as a whole, *minutes* of all indexes, all before *reached*."""

    reached: datetime
    chunks: int
    minutes: int


def cut_prices(conn: Connection, horizon: datetime) -> Cut:
    """Drop prices from before *horizon*, a midnight of UTC, and keep their hourly candles.

    Old chunks go at once, what else is too old a day at a time: *horizon* may not be reached yet.
    """
    with conn.cursor(row_factory=class_row(Cut)) as cursor:
        found = cursor.execute(_CUT_PRICES, {"horizon": horizon}).fetchone()
        assert found is not None  # a function with OUT parameters always answers
        return found


def compress_prices(conn: Connection, horizon: datetime) -> str | None:
    """Compress a chunk that ends before *horizon*: its name, or None if there is none left.

    Raises FeatureNotSupported where the edition of TimescaleDB cannot.
    """
    with conn.cursor(row_factory=scalar_row) as cursor:
        found = cursor.execute(_COMPRESS_PRICES, {"horizon": horizon}).fetchone()
        return None if found is None else str(found)
