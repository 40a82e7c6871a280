"""Positions of the change log grow in the order of commits; months have revisions of their own."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tests.support.database import insert_prices
from tests.support.reference import random_walk
from tests.support.waiting import wait_until
from tracker.settings import Settings
from tracker.times import MINUTE

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
TICKERS = ("btc_usd", "eth_usd", "sol_usdc")
INSERT = "INSERT INTO prices (ticker, created_at, price) VALUES (%s, %s, 1.50)"
COMMITTED = "SELECT position, tickers FROM internal.batches ORDER BY position"
MONTHS = (
    "SELECT ticker, month, revision FROM internal.month_revisions"
    " WHERE ticker = 'btc_usd' ORDER BY 1, 2"
)


@pytest.fixture
def writer(writer: psycopg.Connection) -> psycopg.Connection:
    """The same, with the chunk in place: who creates one makes all others wait."""
    writer.execute(INSERT, ["xrp_usd", NOON - MINUTE])
    return writer


def committed(conn: psycopg.Connection) -> list[tuple[int, list[str]]]:
    return conn.execute(COMMITTED).fetchall()


def test_the_later_commit_has_the_later_position(
    base: Settings, writer: psycopg.Connection
) -> None:
    start = len(committed(writer))
    with psycopg.connect(base.database_dsn) as slow:
        slow.execute(INSERT, ["eth_usd", NOON])  # its batch is the first
        writer.execute(INSERT, ["btc_usd", NOON])
        assert [tickers for _, tickers in committed(writer)[start:]] == [["btc_usd"]]
        slow.commit()

    found = committed(writer)[start:]
    assert [tickers for _, tickers in found] == [["btc_usd"], ["eth_usd"]]
    assert found[0][0] < found[1][0]


def test_a_position_is_never_followed_by_an_earlier_one(
    base: Settings, writer: psycopg.Connection
) -> None:
    """Whoever reads while transactions of any length commit, sees positions only grow."""

    def write(seed: int) -> None:
        chance = random.Random(seed)
        with psycopg.connect(base.database_dsn) as conn:
            for n in range(60):
                ticker = f"{TICKERS[seed % 3]}{seed}"
                conn.execute(INSERT, [ticker, NOON + n * MINUTE])
                if chance.random() < 0.6:
                    conn.commit()
                if chance.random() < 0.1:
                    conn.rollback()

    seen: list[int] = [position for position, _ in committed(writer)]
    with ThreadPoolExecutor(4) as threads:
        writing = [threads.submit(write, seed) for seed in range(4)]
        while not all(each.done() for each in writing):
            found = [position for position, _ in committed(writer)]
            assert found[: len(seen)] == seen
            seen = found
        for each in writing:
            each.result()
    assert len(seen) > 60


def test_a_waiting_commit_blocks_no_writer_before_its_end(
    base: Settings, writer: psycopg.Connection
) -> None:
    """An import that runs for minutes keeps neither its position nor the lock of one."""
    with psycopg.connect(base.database_dsn) as long:
        insert_prices(long, "eth_usd", random_walk(1, NOON, 500, 100))
        writer.execute("SET lock_timeout = '5s'")
        writer.execute(INSERT, ["btc_usd", NOON])


def test_statements_of_one_transaction_are_notified_once(
    base: Settings, writer: psycopg.Connection
) -> None:
    writer.execute("LISTEN prices")
    with psycopg.connect(base.database_dsn) as conn:
        for n in range(3):
            conn.execute(INSERT, ["btc_usd", NOON + n * MINUTE])
        conn.execute(INSERT, ["eth_usd", NOON])

    payloads = [each.payload for each in writer.notifies(timeout=1)]
    assert sorted(payloads) == [
        '{"ticker" : "btc_usd", "revision" : 3}',
        '{"ticker" : "eth_usd", "revision" : 1}',
    ]


def test_positions_survive_a_lock_wait(base: Settings, writer: psycopg.Connection) -> None:
    """A writer that waits for another one's index commits after it, and stands after it."""
    waits = "SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
    start = len(committed(writer))
    with ThreadPoolExecutor(1) as threads, psycopg.connect(base.database_dsn) as first:
        first.execute(INSERT, ["btc_usd", NOON])

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

    found = [tickers for _, tickers in committed(writer)[start:]]
    assert found == [["btc_usd"], ["btc_usd", "eth_usd"]]


def test_a_repair_moves_the_revision_of_its_month_alone(writer: psycopg.Connection) -> None:
    january, february = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)
    insert_prices(
        writer, "btc_usd", {february + n * MINUTE: Decimal("1.50") for n in (-2, -1, 0, 1)}
    )
    assert writer.execute(MONTHS).fetchall() == [
        ("btc_usd", january, 1),
        ("btc_usd", february, 1),
    ]

    writer.execute("UPDATE prices SET price = 9.00 WHERE created_at < %s", [february])
    assert months(writer) == {january: 2, february: 1}
    writer.execute("DELETE FROM prices WHERE created_at >= %s", [february])
    assert months(writer) == {january: 2, february: 3}
    writer.execute("TRUNCATE prices")
    assert months(writer) == {january: 4, february: 4}
    writer.execute("DELETE FROM tickers")
    assert months(writer) == {}


def test_retention_moves_no_revision_of_a_month(writer: psycopg.Connection) -> None:
    start = datetime(2024, 1, 8, tzinfo=UTC)
    insert_prices(writer, "btc_usd", random_walk(1, start, 8 * 1440, 100))
    before = months(writer)

    while True:
        [(horizon, reached)] = writer.execute(
            "SELECT horizon, reached FROM internal.drop_prices('2 days')"
        ).fetchall()
        if horizon == reached:
            break

    assert months(writer) == before
    assert writer.execute("SELECT min(created_at) FROM prices").fetchone() == (horizon,)
    assert horizon - start >= timedelta(days=5)


def months(conn: psycopg.Connection) -> dict[Any, int]:
    return {month: revision for _, month, revision in conn.execute(MONTHS).fetchall()}
