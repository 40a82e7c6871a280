"""Concurrent prices are stored in batches, and none delays or prevents another."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg.errors import CheckViolation

from tests.support.clock import NOON
from tests.support.database import insert_minutes
from tests.support.waiting import wait_until
from tracker.database import Database, Timeouts
from tracker.models import Quote
from tracker.recorder.poll import PriceWriter
from tracker.settings import Settings

MANY = [f"i{number:02}_usd" for number in range(20)]
LOCKED = "locked_usd"


def quote(ticker: str, price: str = "1.50", minute: datetime = NOON) -> tuple[Quote, datetime]:
    return Quote(ticker=ticker, price=Decimal(price), observed_at=minute), minute


@pytest.fixture
def writer(database: Settings) -> Iterator[PriceWriter]:
    with Database(database.database_dsn, 30) as connections:
        yield PriceWriter(connections)


@contextmanager
def locked_index(conn: psycopg.Connection, ticker: str = LOCKED) -> Iterator[None]:
    """Lock an index as an import does: with an uncommitted price of another minute."""
    with conn.transaction():
        insert_minutes(conn, [NOON - timedelta(days=1)], ticker)
        yield


@contextmanager
def start_threads(writer: PriceWriter) -> Iterator[Any]:
    """Threads; the yielded function stores a price on one of them."""
    with ThreadPoolExecutor(30) as threads:
        yield lambda quote, minute: threads.submit(writer.store, quote, minute)


@contextmanager
def blocked_writer(
    database: Settings, conn: psycopg.Connection, writer: PriceWriter
) -> Iterator[tuple[Any, Future[bool]]]:
    """Threads of which the first one's statement waits; the block has the others begin."""
    with (
        psycopg.connect(database.database_dsn, autocommit=True) as other,
        start_threads(writer) as submit,
        locked_index(other),
    ):
        first: Future[bool] = submit(*quote(LOCKED))
        wait_until(lambda: statement_waits(conn))
        yield submit, first


def statement_waits(conn: psycopg.Connection) -> bool:
    """Whether a statement of the writer waits for a lock."""
    query = (
        "SELECT FROM pg_stat_activity WHERE application_name = 'tracker-worker'"
        " AND wait_event_type = 'Lock' AND datname = current_database()"
    )
    return bool(conn.execute(query).rowcount)


def count_transactions(conn: psycopg.Connection, where: str = "true") -> int:
    """The number of transactions that stored those prices."""
    found = conn.execute(f"SELECT count(DISTINCT xmin::text) FROM prices WHERE {where}").fetchone()
    assert found
    return int(found[0])


def read_tickers(conn: psycopg.Connection, minute: datetime = NOON) -> set[str]:
    query = "SELECT ticker FROM prices WHERE created_at = %s"
    return {ticker for (ticker,) in conn.execute(query, [minute])}


def test_waiting_prices_are_stored_in_one_statement(
    database: Settings, conn: psycopg.Connection, writer: PriceWriter
) -> None:
    """All that arrive during another statement."""
    with blocked_writer(database, conn, writer) as (submit, first):
        outcomes: list[Future[bool]] = [first, *(submit(*quote(ticker)) for ticker in MANY)]
        wait_until(lambda: all(outcome.running() for outcome in outcomes))

    assert [outcome.result() for outcome in outcomes] == [True] * 21
    assert read_tickers(conn) == {LOCKED, *MANY}
    assert count_transactions(conn, f"ticker <> '{LOCKED}'") <= 2  # a thread may be late


def test_invalid_price_does_not_affect_its_batch(
    database: Settings, conn: psycopg.Connection, writer: PriceWriter
) -> None:
    """Only its own thread gets the error."""
    with blocked_writer(database, conn, writer) as (submit, first):
        refused: Future[bool] = submit(*quote("bad_usd", minute=NOON + timedelta(seconds=1)))
        outcomes: list[Future[bool]] = [submit(*quote(ticker)) for ticker in MANY]
        wait_until(lambda: all(each.running() for each in (first, refused, *outcomes)))

    with pytest.raises(CheckViolation):
        refused.result()
    assert [first.result(), *(outcome.result() for outcome in outcomes)] == [True] * 21
    assert read_tickers(conn) == {LOCKED, *MANY}


def test_repeated_price_is_new_once(
    database: Settings, conn: psycopg.Connection, writer: PriceWriter
) -> None:
    """In one batch, in the next, and after it; the sequence of ids has no gap."""
    with blocked_writer(database, conn, writer) as (submit, first):
        twice: list[Future[bool]] = [submit(*quote(t)) for t in MANY[:10] for _ in range(2)]
        wait_until(lambda: all(each.running() for each in (first, *twice)))
    assert sum(outcome.result() for outcome in twice) == 10
    assert not writer.store(*quote(LOCKED, "9.00"))
    assert writer.store(*quote("next_usd"))

    unused = conn.execute("SELECT max(id) - count(*) FROM prices").fetchone()
    assert unused == (0,)


def test_locked_index_does_not_delay_its_batch(
    database: Settings, conn: psycopg.Connection
) -> None:
    """The other prices are stored while it waits for the lock."""
    long_timeouts = Timeouts(statement=60, response=63)
    with (
        psycopg.connect(database.database_dsn, autocommit=True) as other,
        Database(database.database_dsn, 30, long_timeouts) as connections,
        start_threads(PriceWriter(connections)) as submit,
    ):
        assert submit(*quote("warm_usd")).result()  # creating a chunk locks the whole table
        with locked_index(conn):
            with locked_index(other, "first_usd"):
                first: Future[bool] = submit(*quote("first_usd"))
                wait_until(lambda: statement_waits(conn))
                waiting: Future[bool] = submit(*quote(LOCKED))
                outcomes: list[Future[bool]] = [submit(*quote(ticker)) for ticker in MANY]
                wait_until(lambda: all(each.running() for each in (first, waiting, *outcomes)))
            assert all(outcome.result(timeout=20) for outcome in outcomes)
            assert not waiting.done()

        assert waiting.result(timeout=20)
        assert first.result()
