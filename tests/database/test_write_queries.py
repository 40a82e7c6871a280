"""What the writing queries store: a minute once, whoever writes it and how often."""

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
SEEN = NOON + timedelta(seconds=7.25)
WRITERS = 8


def quote(price: str = "68241.50") -> Quote:
    """A quote of btc_usd, seen some seconds into the minute NOON."""
    return Quote(ticker="btc_usd", price=Decimal(price), observed_at=SEEN)


def test_a_second_price_of_a_minute_changes_nothing(conn: psycopg.Connection) -> None:
    """It says so, keeps the first one, and burns no identity value."""
    assert queries.insert_price(conn, quote(), NOON)
    for _ in range(5):
        assert not queries.insert_price(conn, quote("1.00"), NOON)
    assert queries.insert_price(conn, quote(), NOON + MINUTE, source="chart")

    assert conn.execute("TABLE prices ORDER BY id").fetchall() == [
        (1, "btc_usd", Decimal("68241.50"), NOON, SEEN, "poll"),
        (2, "btc_usd", Decimal("68241.50"), NOON + MINUTE, SEEN, "chart"),
    ]


def test_a_polled_price_takes_the_place_of_an_average(conn: psycopg.Connection) -> None:
    """It may have waited for the database while its minute was repaired; never the reverse."""
    assert queries.insert_price(conn, quote("68240.993333"), NOON, source="chart")
    assert not queries.insert_price(conn, quote("1.00"), NOON, source="chart")
    assert queries.insert_price(conn, quote(), NOON)
    assert not queries.insert_price(conn, quote("68240.993333"), NOON, source="chart")

    assert conn.execute("TABLE prices").fetchall() == [
        (1, "btc_usd", Decimal("68241.50"), NOON, SEEN, "poll")
    ]
    candle = conn.execute("SELECT open, close, samples, charted FROM candles_1h").fetchall()
    assert candle == [(Decimal("68241.50"), Decimal("68241.50"), 1, 0)]


def test_a_refused_point_takes_no_other_with_it(conn: psycopg.Connection) -> None:
    """All others of its batch are stored by the time that the error is raised."""
    offsets = (0, 1.5, 2)
    points = [replace(quote(), observed_at=NOON + offset * MINUTE) for offset in offsets]
    with pytest.raises(CheckViolation):
        queries.insert_points(conn, points)

    stored = conn.execute("SELECT created_at, source FROM prices ORDER BY created_at").fetchall()
    assert stored == [(NOON, "chart"), (NOON + 2 * MINUTE, "chart")]


def test_of_racing_writers_exactly_one_stores(database: Settings, conn: psycopg.Connection) -> None:
    """The others find the minute taken, nobody fails, and candle and revision count one."""

    def store(conn: psycopg.Connection, number: int) -> bool:
        return queries.insert_price(conn, quote(f"{number + 1}.50"), NOON)

    assert sorted(raced(database, store)) == [False] * (WRITERS - 1) + [True]
    assert conn.execute("SELECT count(*) FROM prices").fetchone() == (1,)
    assert conn.execute("SELECT samples FROM candles_1h").fetchall() == [(1,)]
    assert conn.execute("SELECT revision FROM tickers").fetchall() == [(1,)]


def test_a_miss_is_recorded_once(conn: psycopg.Connection) -> None:
    """The first reason stays; the index counts as tracked from that minute."""
    assert queries.insert_miss(conn, "btc_usd", NOON, "rate_limited", code=429, attempts=4)
    assert not queries.insert_miss(conn, "btc_usd", NOON, "refused", code=400, attempts=1)
    assert queries.insert_miss(conn, "btc_usd", NOON + MINUTE, "too_late", code=None, attempts=0)

    kept = conn.execute("SELECT minute, reason, code, attempts FROM misses ORDER BY minute")
    assert kept.fetchall() == [
        (NOON, "rate_limited", 429, 4),
        (NOON + MINUTE, "too_late", None, 0),
    ]
    assert conn.execute("TABLE tickers").fetchall() == [("btc_usd", NOON, 0, None)]


def test_a_minute_with_a_price_has_no_miss(conn: psycopg.Connection) -> None:
    """A message that comes again after the price was stored records nothing."""
    queries.insert_price(conn, quote(), NOON)

    assert not queries.insert_miss(conn, "btc_usd", NOON, "too_late", code=None, attempts=0)
    assert conn.execute("SELECT count(*) FROM misses").fetchone() == (0,)


def test_of_racing_records_of_a_miss_one_stays(database: Settings) -> None:
    """Redelivered messages agree on who records it."""

    def miss(conn: psycopg.Connection, number: int) -> bool:
        return queries.insert_miss(
            conn, "btc_usd", NOON, "bad_answer", code=number or None, attempts=number
        )

    assert sorted(raced(database, miss)) == [False] * (WRITERS - 1) + [True]


def raced(database: Settings, write: Callable[[psycopg.Connection, int], bool]) -> list[bool]:
    """What each of the writers said who all wrote at once."""
    start = Barrier(WRITERS)

    def one(number: int) -> bool:
        with psycopg.connect(database.database_dsn, autocommit=True) as conn:
            start.wait(timeout=30)
            return write(conn, number)

    with ThreadPoolExecutor(WRITERS) as threads:
        return list(threads.map(one, range(WRITERS)))
