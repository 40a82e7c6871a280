"""Daily candles are those of the hours below them, whatever is done to these, and by whom."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.errors import UniqueViolation

from tests.archive import store, walk
from tests.conftest import fresh_database
from tests.working import wait_for
from tracker import migrations
from tracker.gaps import DAY, HOUR
from tracker.models import MINUTE
from tracker.settings import Settings

MIDNIGHT = datetime(2024, 3, 31, tzinfo=UTC)  # clocks moved this day, and three weeks before
BEFORE, AFTER = "0011.create-retention", "0012.create-days"
SERIES = {ticker: walk(1, MIDNIGHT - DAY, 3 * 1440, 100) for ticker in ("btc_usd", "eth_usd")}

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

HOURS = (
    "INSERT INTO candles_1h AS hour"
    " SELECT ticker, %(since)s + n * %(step)s, price, price + n, price, price, 60, 0"
    " FROM unnest(%(tickers)s::text[]) AS ticker, generate_series(0, 2) AS n,"
    " (SELECT %(price)s::numeric AS price) AS given ON CONFLICT (ticker, bucket) DO"
)
WRITES = (
    f"{HOURS} NOTHING",
    f"{HOURS} UPDATE SET high = hour.high + 1, low = 0.5, samples = 30",
    "UPDATE candles_1h SET bucket = bucket + %(step)s WHERE ticker = ANY (%(tickers)s)",
    "UPDATE candles_1h SET ticker = 'sol_usdc' WHERE bucket < %(since)s",
    "UPDATE candles_1h SET close = low WHERE bucket >= %(since)s",
    "DELETE FROM candles_1h WHERE bucket < %(since)s",
    "DELETE FROM candles_1h WHERE ticker = ANY (%(tickers)s)",
    "TRUNCATE candles_1h",
    "TRUNCATE prices",
)
values = st.fixed_dictionaries(
    {
        "tickers": st.sampled_from([["btc_usd"], ["eth_usd", "btc_usd"]]),
        "since": st.integers(-26, 26).map(lambda hours: MIDNIGHT + hours * HOUR),
        "step": st.sampled_from([HOUR, 9 * HOUR, 24 * HOUR]),
        "price": st.integers(100, 10**6).map(lambda cents: Decimal(cents).scaleb(-2)),
    }
)
writes = st.lists(st.tuples(st.sampled_from(WRITES[:2]) | st.sampled_from(WRITES), values))


def assert_days(conn: psycopg.Connection, source: str = OF_HOURS) -> int:
    """Each day that has some is there, and is what *source* makes of it: how many there are."""
    days = conn.execute(f"{KEPT} ORDER BY 1, 2").fetchall()
    assert days == conn.execute(f"{source} ORDER BY 1, 2").fetchall()
    return len(days)


@settings(deadline=None)
@given(writes=writes, together=st.booleans())
def test_days_follow_every_statement(
    base: Settings, writes: list[tuple[str, dict[str, Any]]], *, together: bool
) -> None:
    """Whatever is done to the hours, in one transaction or in some."""
    with psycopg.connect(base.database_dsn, autocommit=not together) as conn:
        conn.execute("TRUNCATE candles_1h")
        for statement, parameters in writes:
            with suppress(UniqueViolation), conn.transaction():
                conn.execute(statement, parameters)
            assert_days(conn)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Kolkata"])
def test_days_are_those_of_utc(writer: psycopg.Connection, zone: str) -> None:
    """In every session, also where that day has 23 hours."""
    writer.execute("SELECT set_config('timezone', %s, false)", [zone])

    for ticker, series in SERIES.items():
        store(writer, ticker, series)
    writer.execute("DELETE FROM prices WHERE created_at > %s", [MIDNIGHT + 47 * HOUR])

    assert assert_days(writer, OF_PRICES) == 6


def test_an_hour_that_changes_costs_its_day_alone(writer: psycopg.Connection) -> None:
    """The other rows are the same as before."""
    store(writer, "btc_usd", SERIES["btc_usd"])
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
                store(conn, "btc_usd", {MIDNIGHT + hour * HOUR: Decimal("7.00") + hour})

    waits = "SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
    store(writer, "btc_usd", {MIDNIGHT + HOUR: Decimal("5.00")})  # the chunk is there
    with ThreadPoolExecutor(1) as threads, psycopg.connect(base.database_dsn) as first:
        store(first, "btc_usd", {MIDNIGHT + 20 * HOUR: Decimal("1.00")})
        second = threads.submit(write, range(3, 6))
        wait_for(lambda: writer.execute(waits).rowcount)
        store(first, "btc_usd", {MIDNIGHT + 21 * HOUR: Decimal("2.00")})
        first.commit()
        second.result(timeout=60)

    assert assert_days(writer, OF_PRICES) == 1
    prices = [Decimal(price) for price in ("5.00", "12.00", "1.00", "2.00")]
    assert writer.execute(KEPT).fetchone() == ("btc_usd", MIDNIGHT, *prices, 6)


@pytest.fixture
def older(servers: Settings) -> Iterator[Settings]:
    """A database without days, with prices."""
    with fresh_database(servers) as settings:
        migrations.apply(settings.database_dsn, BEFORE)
        with psycopg.connect(settings.database_dsn) as conn:
            for ticker, series in SERIES.items():
                store(conn, ticker, series)
        yield settings


def test_days_are_made_of_what_is_there(older: Settings) -> None:
    """Down and up again with prices in place, and while others store: none is overlooked."""
    dsn = older.database_dsn
    waits = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'candles_1h'::regclass"
    with (
        ThreadPoolExecutor(1) as threads,
        psycopg.connect(dsn, autocommit=True) as conn,
        psycopg.connect(dsn) as other,
    ):
        migrations.apply(dsn, AFTER)
        assert assert_days(conn, OF_PRICES) == 6

        assert AFTER in migrations.rollback(dsn, BEFORE)
        conn.execute("DELETE FROM prices WHERE created_at < %s", [MIDNIGHT - 5 * HOUR])
        store(other, "btc_usd", {MIDNIGHT + 9 * DAY: Decimal("9.00")})
        applied = threads.submit(migrations.apply, dsn, AFTER)
        wait_for(lambda: conn.execute(waits).rowcount)
        store(other, "btc_usd", {MIDNIGHT + 9 * DAY + MINUTE: Decimal("8.00")})
        other.commit()

        assert applied.result(timeout=60) == [AFTER]
        assert assert_days(conn, OF_PRICES) == 7
        conn.execute("TRUNCATE prices")
        assert assert_days(conn) == 0
