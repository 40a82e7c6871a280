"""Positions of the change log ascend in the order of commits; each month has its own revision."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tests.support.database import drop_prices, insert_minutes, insert_prices
from tests.support.reference import random_walk
from tests.support.waiting import wait_until
from tracker.settings import Settings
from tracker.times import DAY, MINUTE, floor_moment

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
TICKERS = ("btc_usd", "eth_usd", "sol_usdc")
BATCHES = "SELECT position, tickers FROM internal.batches ORDER BY position"
MONTHS = (
    "SELECT ticker, month, revision FROM internal.month_revisions"
    " WHERE ticker = 'btc_usd' ORDER BY 1, 2"
)


@pytest.fixture
def writer(writer: psycopg.Connection) -> psycopg.Connection:
    """The chunk exists: creating one blocks all other writers."""
    insert_minutes(writer, [NOON - MINUTE], "xrp_usd")
    return writer


def read_batches(conn: psycopg.Connection) -> list[tuple[int, list[str]]]:
    return conn.execute(BATCHES).fetchall()


def test_later_commit_has_the_later_position(base: Settings, writer: psycopg.Connection) -> None:
    start = len(read_batches(writer))
    with psycopg.connect(base.database_dsn) as slow:
        insert_minutes(slow, [NOON], "eth_usd")  # its batch is the first
        insert_minutes(writer, [NOON])
        assert [tickers for _, tickers in read_batches(writer)[start:]] == [["btc_usd"]]
        slow.commit()

    found = read_batches(writer)[start:]
    assert [tickers for _, tickers in found] == [["btc_usd"], ["eth_usd"]]
    assert found[0][0] < found[1][0]


def test_positions_only_grow_for_a_concurrent_reader(
    base: Settings, writer: psycopg.Connection
) -> None:
    def write(seed: int) -> None:
        rng = random.Random(seed)
        with psycopg.connect(base.database_dsn) as conn:
            for n in range(60):
                ticker = f"{TICKERS[seed % 3]}{seed}"
                insert_minutes(conn, [NOON + n * MINUTE], ticker)
                if rng.random() < 0.6:
                    conn.commit()
                if rng.random() < 0.1:
                    conn.rollback()

    seen: list[int] = [position for position, _ in read_batches(writer)]
    with ThreadPoolExecutor(4) as threads:
        writing = [threads.submit(write, seed) for seed in range(4)]
        while not all(future.done() for future in writing):
            found = [position for position, _ in read_batches(writer)]
            assert found[: len(seen)] == seen
            seen = found
        for future in writing:
            future.result()
    assert len(seen) > 60


def test_open_transaction_does_not_block_writers_of_other_indexes(
    base: Settings, writer: psycopg.Connection
) -> None:
    with psycopg.connect(base.database_dsn) as long:
        insert_prices(long, "eth_usd", random_walk(1, NOON, 500, 100))
        writer.execute("SET lock_timeout = '5s'")
        insert_minutes(writer, [NOON])


def test_writer_that_waited_for_a_lock_has_the_later_position(
    base: Settings, writer: psycopg.Connection
) -> None:
    waits = "SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
    start = len(read_batches(writer))
    with ThreadPoolExecutor(1) as threads, psycopg.connect(base.database_dsn) as first:
        insert_minutes(first, [NOON])

        def second() -> None:
            with psycopg.connect(base.database_dsn, autocommit=True) as conn:
                conn.execute(
                    "INSERT INTO prices (ticker, created_at, price)"
                    " SELECT name, %s, 2.50 FROM unnest(%s::text[]) AS name",
                    [NOON + MINUTE, ["btc_usd", "eth_usd"]],
                )

        waiting = threads.submit(second)
        wait_until(lambda: writer.execute(waits).rowcount)
        first.commit()
        waiting.result(timeout=60)

    found = [tickers for _, tickers in read_batches(writer)[start:]]
    assert found == [["btc_usd"], ["btc_usd", "eth_usd"]]


def test_repair_increments_only_the_revision_of_its_month(writer: psycopg.Connection) -> None:
    january, february = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)
    insert_prices(
        writer, "btc_usd", {february + n * MINUTE: Decimal("1.50") for n in (-2, -1, 0, 1)}
    )
    assert writer.execute(MONTHS).fetchall() == [
        ("btc_usd", january, 1),
        ("btc_usd", february, 1),
    ]

    writer.execute("UPDATE prices SET price = 9.00 WHERE created_at < %s", [february])
    assert read_month_revisions(writer) == {january: 2, february: 1}
    writer.execute("DELETE FROM prices WHERE created_at >= %s", [february])
    assert read_month_revisions(writer) == {january: 2, february: 3}
    writer.execute("TRUNCATE prices")
    assert read_month_revisions(writer) == {january: 4, february: 4}
    writer.execute("DELETE FROM tickers")
    assert read_month_revisions(writer) == {}


def test_retention_increments_no_revision_of_a_month(writer: psycopg.Connection) -> None:
    start = datetime(2024, 1, 8, tzinfo=UTC)
    series = random_walk(1, start, 8 * 1440, 100)
    insert_prices(writer, "btc_usd", series)
    before = read_month_revisions(writer)

    drop_prices(writer, 2 * DAY)

    horizon = floor_moment(max(series) + MINUTE - 2 * DAY, DAY)
    oldest = min(minute for minute in series if minute >= horizon)
    assert read_month_revisions(writer) == before
    assert writer.execute("SELECT min(created_at) FROM prices").fetchone() == (oldest,)


def read_month_revisions(conn: psycopg.Connection) -> dict[Any, int]:
    return {month: revision for _, month, revision in conn.execute(MONTHS).fetchall()}
