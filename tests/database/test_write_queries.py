"""The writing queries store a minute once, by any number of writers."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from threading import Barrier

import psycopg
import pytest
from psycopg.errors import CheckViolation

from tracker import queries
from tracker.models import Quote
from tracker.settings import Settings
from tracker.times import MINUTE

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
OBSERVED_AT = NOON + timedelta(seconds=7.25)
WRITERS = 8


def make_quote(price: str = "68241.50") -> Quote:
    """A quote of btc_usd, observed some seconds into the minute NOON."""
    return Quote(ticker="btc_usd", price=Decimal(price), observed_at=OBSERVED_AT)


def test_second_price_of_a_minute_changes_nothing(conn: psycopg.Connection) -> None:
    """It consumes no identity value either."""
    assert queries.insert_price(conn, make_quote(), NOON)
    for _ in range(5):
        assert not queries.insert_price(conn, make_quote("1.00"), NOON)
    assert queries.insert_price(conn, make_quote(), NOON + MINUTE, source="chart")

    assert conn.execute("TABLE prices ORDER BY id").fetchall() == [
        (1, "btc_usd", Decimal("68241.50"), NOON, OBSERVED_AT, "poll"),
        (2, "btc_usd", Decimal("68241.50"), NOON + MINUTE, OBSERVED_AT, "chart"),
    ]


def test_polled_price_replaces_a_chart_average(conn: psycopg.Connection) -> None:
    """A poll may have waited for the database while its minute was repaired; never the reverse."""
    assert queries.insert_price(conn, make_quote("68240.993333"), NOON, source="chart")
    assert not queries.insert_price(conn, make_quote("1.00"), NOON, source="chart")
    assert queries.insert_price(conn, make_quote(), NOON)
    assert not queries.insert_price(conn, make_quote("68240.993333"), NOON, source="chart")

    assert conn.execute("TABLE prices").fetchall() == [
        (1, "btc_usd", Decimal("68241.50"), NOON, OBSERVED_AT, "poll")
    ]
    candle = conn.execute("SELECT open, close, samples, charted FROM candles_1h").fetchall()
    assert candle == [(Decimal("68241.50"), Decimal("68241.50"), 1, 0)]


def test_invalid_chart_point_does_not_affect_the_others(conn: psycopg.Connection) -> None:
    offsets = (0, 1.5, 2)
    points = [replace(make_quote(), observed_at=NOON + offset * MINUTE) for offset in offsets]
    with pytest.raises(CheckViolation):
        queries.insert_points(conn, points)

    stored = conn.execute("SELECT created_at, source FROM prices ORDER BY created_at").fetchall()
    assert stored == [(NOON, "chart"), (NOON + 2 * MINUTE, "chart")]


def test_one_of_concurrent_writers_stores_the_price(
    database: Settings, conn: psycopg.Connection
) -> None:
    def store(conn: psycopg.Connection, number: int) -> bool:
        return queries.insert_price(conn, make_quote(f"{number + 1}.50"), NOON)

    assert sorted(write_concurrently(database, store)) == [False] * (WRITERS - 1) + [True]
    assert conn.execute("SELECT count(*) FROM prices").fetchone() == (1,)
    assert conn.execute("SELECT samples FROM candles_1h").fetchall() == [(1,)]
    assert conn.execute("SELECT revision FROM tickers").fetchall() == [(1,)]


def test_miss_is_recorded_once(conn: psycopg.Connection) -> None:
    assert queries.insert_miss(conn, "btc_usd", NOON, "rate_limited", code=429, attempts=4)
    assert not queries.insert_miss(conn, "btc_usd", NOON, "refused", code=400, attempts=1)
    assert queries.insert_miss(conn, "btc_usd", NOON + MINUTE, "too_late", code=None, attempts=0)

    misses = conn.execute("SELECT minute, reason, code, attempts FROM misses ORDER BY minute")
    assert misses.fetchall() == [
        (NOON, "rate_limited", 429, 4),
        (NOON + MINUTE, "too_late", None, 0),
    ]
    assert conn.execute("TABLE tickers").fetchall() == [("btc_usd", NOON, 0, None)]


def test_minute_with_a_price_has_no_miss(conn: psycopg.Connection) -> None:
    queries.insert_price(conn, make_quote(), NOON)

    assert not queries.insert_miss(conn, "btc_usd", NOON, "too_late", code=None, attempts=0)
    assert conn.execute("SELECT count(*) FROM misses").fetchone() == (0,)


def test_one_of_concurrent_writers_records_the_miss(database: Settings) -> None:
    def miss(conn: psycopg.Connection, number: int) -> bool:
        return queries.insert_miss(
            conn, "btc_usd", NOON, "bad_answer", code=number or None, attempts=number
        )

    assert sorted(write_concurrently(database, miss)) == [False] * (WRITERS - 1) + [True]


def write_concurrently(
    database: Settings, write: Callable[[psycopg.Connection, int], bool]
) -> list[bool]:
    """The results of concurrent writers."""
    start = Barrier(WRITERS)

    def write_one(number: int) -> bool:
        with psycopg.connect(database.database_dsn, autocommit=True) as conn:
            start.wait(timeout=30)
            return write(conn, number)

    with ThreadPoolExecutor(WRITERS) as threads:
        return list(threads.map(write_one, range(WRITERS)))
