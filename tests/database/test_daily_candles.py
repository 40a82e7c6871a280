"""Daily candles are those of the hours below them, whatever is done to these, and by whom."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal

import psycopg
import pytest

from tests.support.database import insert_prices
from tests.support.reference import random_walk
from tests.support.waiting import wait_until
from tracker.gaps import DAY, HOUR
from tracker.settings import Settings

MIDNIGHT = datetime(2024, 3, 31, tzinfo=UTC)  # clocks moved this day, and three weeks before
SERIES = {
    ticker: random_walk(1, MIDNIGHT - DAY, 3 * 1440, 100) for ticker in ("btc_usd", "eth_usd")
}

KEPT = "SELECT ticker, bucket, open, high, low, close, samples::bigint FROM candles_1d"
OF_HOURS = """
    SELECT ticker, date_trunc('day', bucket, 'UTC'), first(open, bucket), max(high), min(low),
           last(close, bucket), sum(samples)
      FROM candles_1h
     GROUP BY 1, 2
"""
OF_PRICES = """
    SELECT ticker, date_trunc('day', created_at, 'UTC'), first(price, created_at), max(price),
           min(price), last(price, created_at), count(*)
      FROM prices
     GROUP BY 1, 2
"""


def assert_days(conn: psycopg.Connection, source: str = OF_HOURS) -> int:
    """Each day that has some is there, and is what *source* makes of it: how many there are."""
    days = conn.execute(f"{KEPT} ORDER BY 1, 2").fetchall()
    assert days == conn.execute(f"{source} ORDER BY 1, 2").fetchall()
    return len(days)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Kolkata"])
def test_days_are_those_of_utc(writer: psycopg.Connection, zone: str) -> None:
    """In every session, also where that day has 23 hours."""
    writer.execute("SELECT set_config('timezone', %s, false)", [zone])

    for ticker, series in SERIES.items():
        insert_prices(writer, ticker, series)
    writer.execute("DELETE FROM prices WHERE created_at > %s", [MIDNIGHT + 47 * HOUR])

    assert assert_days(writer, OF_PRICES) == 6


def test_an_hour_that_changes_costs_its_day_alone(writer: psycopg.Connection) -> None:
    """The other rows are the same as before."""
    insert_prices(writer, "btc_usd", SERIES["btc_usd"])
    query = "SELECT bucket, xmin FROM candles_1d"
    before = dict(writer.execute(query).fetchall())

    writer.execute("UPDATE prices SET price = 9.00 WHERE created_at = %s", [MIDNIGHT + HOUR])

    after = dict(writer.execute(query).fetchall())
    assert {day for day in before if before[day] != after[day]} == {MIDNIGHT}


def test_writers_of_one_day_stand_in_a_line(base: Settings, writer: psycopg.Connection) -> None:
    """Some statements each, of other hours: the second waits, and sees those of the first."""

    def write(hours: range) -> None:
        with psycopg.connect(base.database_dsn) as conn:
            for hour in hours:
                insert_prices(conn, "btc_usd", {MIDNIGHT + hour * HOUR: Decimal("7.00") + hour})

    waits = "SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
    insert_prices(writer, "btc_usd", {MIDNIGHT + HOUR: Decimal("5.00")})  # the chunk is there
    with ThreadPoolExecutor(1) as threads, psycopg.connect(base.database_dsn) as first:
        insert_prices(first, "btc_usd", {MIDNIGHT + 20 * HOUR: Decimal("1.00")})
        second = threads.submit(write, range(3, 6))
        wait_until(lambda: writer.execute(waits).rowcount)
        insert_prices(first, "btc_usd", {MIDNIGHT + 21 * HOUR: Decimal("2.00")})
        first.commit()
        second.result(timeout=60)

    assert assert_days(writer, OF_PRICES) == 1
    prices = [Decimal(price) for price in ("5.00", "12.00", "1.00", "2.00")]
    assert writer.execute(KEPT).fetchone() == ("btc_usd", MIDNIGHT, *prices, 6)
