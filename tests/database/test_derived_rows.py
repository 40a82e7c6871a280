"""Candles, islands, revisions and the change log follow every statement, by several writers too."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from psycopg.errors import UniqueViolation

from tests.support.database import insert_prices
from tests.support.derived import (
    ADD_MISSES,
    ADD_PRICES,
    DAYS_OF_PRICES,
    DELETE_MISSES,
    DELETE_PRICES,
    INSERT_MISSES,
    INSERT_PRICES,
    MIDNIGHT,
    NOON,
    REASONS,
    TICKERS,
    UPDATE_PRICES,
    assert_daily_candles,
    assert_derived_rows,
    changes,
    read_change_log,
    read_derived_rows,
    read_prices,
    read_revisions,
)
from tests.support.reference import random_walk
from tests.support.waiting import wait_until
from tracker import queries
from tracker.settings import Settings
from tracker.times import DAY, HOUR, MINUTE

DEFAULTS = {
    "step": MINUTE,
    "last": 0,
    "price": Decimal("1.00"),
    "source": "poll",
    "reason": "too_late",
}
SPRING = datetime(2024, 3, 31, tzinfo=UTC)  # clocks moved this day, and three weeks before
SERIES = {ticker: random_walk(1, SPRING - DAY, 3 * 1440, 100) for ticker in ("btc_usd", "eth_usd")}
LOCK_WAITS = "SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"


@settings(deadline=None, max_examples=120)
@given(changes=changes)
def test_derived_rows_follow_every_statement(
    base: Settings, changes: list[tuple[str, dict[str, Any]]]
) -> None:
    """After each statement, whatever rows it changes; at the end rebuild() changes nothing."""
    with (
        psycopg.connect(base.database_dsn, autocommit=True) as conn,
        conn.transaction(force_rollback=True),
    ):
        conn.execute("TRUNCATE prices, tickers, misses")
        for statement, parameters in changes:
            prices, revisions = set(read_prices(conn)), read_revisions(conn)
            with suppress(UniqueViolation), conn.transaction():
                conn.execute(statement, parameters)
            assert_derived_rows(conn)
            changed = {row[:2] for row in prices ^ set(read_prices(conn))}
            assert_change_log(conn, revisions, changed)
        before = read_derived_rows(conn)
        conn.execute("SELECT rebuild(ticker) FROM tickers ORDER BY ticker")
        assert read_derived_rows(conn) == before


def assert_change_log(
    conn: psycopg.Connection, before: dict[str, int], changed: set[tuple[str, datetime]]
) -> None:
    """Each new revision has an entry, and the entries list every changed minute."""
    entries = [row for row in read_change_log(conn) if row[1] > before.get(row[0], 0)]
    assert {row[:2] for row in entries} == {
        (ticker, n)
        for ticker, revision in read_revisions(conn).items()
        for n in range(before.get(ticker, 0) + 1, revision + 1)
    }
    assert {ticker for ticker, _ in changed} <= {ticker for ticker, *_ in entries}
    if all(minutes is not None for *_, minutes in entries):
        assert changed <= {(ticker, at) for ticker, _, minutes in entries for at in minutes}


def run_writers(write: Callable[[int], None]) -> None:
    """Four concurrent writers, none of which may fail."""
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))


def test_derived_rows_are_exact_under_concurrent_writers(
    base: Settings, writer: psycopg.Connection
) -> None:
    statements = [ADD_PRICES, ADD_PRICES, UPDATE_PRICES, DELETE_PRICES, ADD_MISSES, DELETE_MISSES]

    def write(seed: int) -> None:
        rng = random.Random(seed)
        with psycopg.connect(base.database_dsn, autocommit=True) as conn:
            for _ in range(60):
                ticker, minute = (
                    rng.choice(TICKERS[:2]),
                    MIDNIGHT + rng.randrange(-120, 120) * MINUTE,
                )
                queries.insert_miss(conn, ticker, minute, "refused", code=None, attempts=1)
                parameters = {
                    **DEFAULTS,
                    "ticker": ticker,
                    "since": minute,
                    "last": rng.randrange(5),
                    "price": Decimal(rng.randrange(1, 10**6)).scaleb(-2),
                    "reason": rng.choice(REASONS),
                }
                conn.execute(rng.choice(statements), parameters)

    run_writers(write)

    assert_derived_rows(writer)
    rows = read_derived_rows(writer)
    assert len(read_prices(writer)) > 50
    assert min(len(rows["internal.price_islands"]), len(rows["internal.miss_islands"])) > 3
    for ticker, revision in read_revisions(writer).items():
        logged = [row[1] for row in read_change_log(writer) if row[0] == ticker]
        assert logged == list(range(1, revision + 1))
    writer.execute("TRUNCATE prices, tickers, misses")
    assert not any(read_derived_rows(writer).values())


def test_polls_and_misses_of_a_new_index_do_not_block_each_other(
    base: Settings, writer: psycopg.Connection
) -> None:
    """All begin at once with neighbouring minutes of an index that is not tracked yet."""
    for reason in (*REASONS, *REASONS):
        writer.execute("TRUNCATE prices, tickers, misses")

        def write(seed: int, reason: str = reason) -> None:
            with psycopg.connect(base.database_dsn, autocommit=True) as conn:
                for n in range(10):
                    minute = NOON + (n // 2 + seed % 2) * MINUTE
                    queries.insert_miss(conn, "btc_usd", minute, reason, code=None, attempts=1)
                    conn.execute(ADD_PRICES, {**DEFAULTS, "ticker": "btc_usd", "since": minute})

        run_writers(write)
        assert_derived_rows(writer)


@pytest.mark.parametrize("insert", [INSERT_PRICES, INSERT_MISSES], ids=["prices", "misses"])
def test_neighbours_form_one_island_across_hours(writer: psycopg.Connection, insert: str) -> None:
    """In any order of insertion, though each statement touches a single hour."""
    for order in permutations([-2, -1, 0, 58, 59, 60], 4):
        with writer.transaction(force_rollback=True):
            for offset in order:
                since = NOON + offset * MINUTE
                writer.execute(insert, {**DEFAULTS, "ticker": "btc_usd", "since": since})
            assert_derived_rows(writer)


def test_statement_may_delete_and_insert_the_same_minute(writer: psycopg.Connection) -> None:
    """The result does not depend on the order of the two triggers."""
    for statement in (ADD_MISSES, ADD_PRICES):
        writer.execute(statement, {**DEFAULTS, "ticker": "btc_usd", "since": NOON, "last": 9})
    writer.execute(
        "WITH gone AS (DELETE FROM misses RETURNING ticker, minute, attempts)"
        " INSERT INTO misses (ticker, minute, reason, attempts)"
        " SELECT ticker, minute + INTERVAL '5 min', 'too_late', attempts FROM gone ORDER BY minute"
    )
    writer.execute(
        "WITH gone AS (DELETE FROM prices RETURNING ticker, created_at, price)"
        " INSERT INTO prices (ticker, created_at, price)"
        " SELECT ticker, created_at + INTERVAL '5 min', price FROM gone ORDER BY created_at"
    )

    assert_derived_rows(writer)
    rows = read_derived_rows(writer)
    assert (len(rows["internal.price_islands"]), len(rows["internal.miss_islands"])) == (1, 1)


@pytest.mark.parametrize("insert", [INSERT_PRICES, INSERT_MISSES], ids=["prices", "misses"])
@pytest.mark.parametrize("hours", [1, 200])
def test_change_of_older_minutes_reads_only_nearby_islands(
    writer: psycopg.Connection, insert: str, hours: int
) -> None:
    """An archive with many gaps makes no change of an older minute slower."""
    first = {**DEFAULTS, "ticker": "btc_usd", "since": NOON}
    # Planned while the tables are nearly empty, as by a worker in its first minutes.
    writer.execute(insert, first | {"since": NOON + timedelta(days=30)})
    holes = 30 * 24 * 30
    writer.execute(insert, first | {"step": 2 * MINUTE, "last": holes - 1})
    with writer.transaction():
        before = count_island_reads(writer)
        filled = {"since": NOON + MINUTE, "step": timedelta(hours=1), "last": hours - 1}
        writer.execute(insert, first | filled)
        assert 0 < count_island_reads(writer) - before < 400 * hours
    [(count,)] = writer.execute(
        "SELECT (SELECT count(*) FROM internal.price_islands)"
        "     + (SELECT count(*) FROM internal.miss_islands)"
    )
    assert count == holes + 1 - hours


def count_island_reads(conn: psycopg.Connection) -> int:
    """Rows and index entries of islands that the transaction of *conn* has read."""
    [(count,)] = conn.execute(
        "SELECT sum(pg_stat_get_xact_tuples_returned(id) + pg_stat_get_xact_tuples_fetched(id))"
        "  FROM (VALUES ('internal.price_islands'::regclass::oid),"
        "               ('internal.miss_islands'::regclass)"
        "        UNION ALL"
        "        SELECT indexrelid FROM pg_index"
        "         WHERE indrelid IN ('internal.price_islands'::regclass,"
        "                            'internal.miss_islands'::regclass)) AS read (id)"
    )
    return int(count)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Kolkata"])
def test_daily_candles_use_utc_in_every_session(writer: psycopg.Connection, zone: str) -> None:
    """Also on a local day of 23 hours."""
    writer.execute("SELECT set_config('timezone', %s, false)", [zone])
    for ticker, series in SERIES.items():
        insert_prices(writer, ticker, series)
    writer.execute("DELETE FROM prices WHERE created_at > %s", [SPRING + 47 * HOUR])

    assert assert_daily_candles(writer, DAYS_OF_PRICES) == 6


def test_changed_hour_updates_its_day_alone(writer: psycopg.Connection) -> None:
    insert_prices(writer, "btc_usd", SERIES["btc_usd"])
    query = "SELECT bucket, xmin FROM candles_1d"
    before = dict(writer.execute(query).fetchall())

    writer.execute("UPDATE prices SET price = 9.00 WHERE created_at = %s", [SPRING + HOUR])

    after = dict(writer.execute(query).fetchall())
    assert {day for day in before if before[day] != after[day]} == {SPRING}


def test_writers_of_one_day_wait_for_each_other(base: Settings, writer: psycopg.Connection) -> None:
    """The second transaction includes the hours that the first has committed."""

    def write(hours: range) -> None:
        with psycopg.connect(base.database_dsn) as conn:
            for hour in hours:
                insert_prices(conn, "btc_usd", {SPRING + hour * HOUR: Decimal("7.00") + hour})

    insert_prices(writer, "btc_usd", {SPRING + HOUR: Decimal("5.00")})  # creates the chunk
    with ThreadPoolExecutor(1) as threads, psycopg.connect(base.database_dsn) as first:
        insert_prices(first, "btc_usd", {SPRING + 20 * HOUR: Decimal("1.00")})
        second = threads.submit(write, range(3, 6))
        wait_until(lambda: writer.execute(LOCK_WAITS).rowcount)
        insert_prices(first, "btc_usd", {SPRING + 21 * HOUR: Decimal("2.00")})
        first.commit()
        second.result(timeout=60)

    assert assert_daily_candles(writer, DAYS_OF_PRICES) == 1
    prices = [Decimal(price) for price in ("5.00", "12.00", "1.00", "2.00")]
    candle = "SELECT open, high, low, close, samples FROM candles_1d"
    assert writer.execute(candle).fetchall() == [(*prices, 6)]
