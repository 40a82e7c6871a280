"""Retention: dropping old prices."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import Connection
from psycopg.rows import class_row

from tracker.queries.read import read

_DROP_PRICES = read("queries/drop_prices")


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
    """Drop prices older than *retention*, and keep their candles.

    The age counts from the newest stored price, or from the server's clock if that is earlier. Old
    chunks go at once, the rest a day at a call.
    """
    with conn.cursor(row_factory=class_row(Dropped)) as cursor:
        found = cursor.execute(_DROP_PRICES, {"retention": retention}).fetchone()
        assert found is not None  # a function with OUT parameters returns one row
        return found
