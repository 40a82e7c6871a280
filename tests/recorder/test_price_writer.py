"""Prices that are ready together: stored by few statements, and none at the cost of another."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg.errors import CheckViolation

from tests.support.working import wait_for
from tracker.database import Database, Timeouts
from tracker.models import Quote
from tracker.recorder.poll import PriceWriter
from tracker.settings import Settings

NOON = datetime(2026, 2, 28, 12, 0, tzinfo=UTC)
MANY = [f"i{number:02}_usd" for number in range(20)]
HELD = "held_usd"


def quote(ticker: str, price: str = "1.50", minute: datetime = NOON) -> tuple[Quote, datetime]:
    return Quote(ticker=ticker, price=Decimal(price), observed_at=minute), minute


@pytest.fixture
def writer(database: Settings) -> Iterator[PriceWriter]:
    with Database(database.database_dsn, 30) as connections:
        yield PriceWriter(connections)


@contextmanager
def index_held(conn: psycopg.Connection, ticker: str = HELD) -> Iterator[None]:
    """As an import holds an index: with a price of another minute, not yet committed."""
    with conn.transaction():
        conn.execute(
            "INSERT INTO prices (ticker, price, created_at) VALUES (%s, 1.25, %s)",
            [ticker, NOON - timedelta(days=1)],
        )
        yield


@contextmanager
def crowd(writer: PriceWriter) -> Iterator[Any]:
    """Threads that store; the first one's statement is under way when the others come."""
    with ThreadPoolExecutor(30) as threads:
        yield lambda quote, minute: threads.submit(writer.store, quote, minute)


def statement_waits(conn: psycopg.Connection) -> bool:
    """Whether one of the writer's statements waits for a lock."""
    query = (
        "SELECT FROM pg_stat_activity WHERE application_name = 'tracker-worker'"
        " AND wait_event_type = 'Lock' AND datname = current_database()"
    )
    return bool(conn.execute(query).rowcount)


def transactions(conn: psycopg.Connection, where: str = "true") -> int:
    """By how many transactions those prices were stored."""
    found = conn.execute(f"SELECT count(DISTINCT xmin::text) FROM prices WHERE {where}").fetchone()
    assert found
    return int(found[0])


def stored(conn: psycopg.Connection, minute: datetime = NOON) -> set[str]:
    query = "SELECT ticker FROM prices WHERE created_at = %s"
    return {ticker for (ticker,) in conn.execute(query, [minute])}


def test_prices_that_wait_are_stored_together(
    database: Settings, conn: psycopg.Connection, writer: PriceWriter
) -> None:
    """One statement for all that came while another one was under way."""
    with psycopg.connect(database.database_dsn, autocommit=True) as other, ExitStack() as stack:
        submit = stack.enter_context(crowd(writer))
        with index_held(other):
            outcomes: list[Future[bool]] = [submit(*quote(HELD))]
            wait_for(lambda: statement_waits(conn))
            outcomes += [submit(*quote(ticker)) for ticker in MANY]
            wait_for(lambda: all(outcome.running() for outcome in outcomes))

    assert [outcome.result() for outcome in outcomes] == [True] * 21
    assert stored(conn) == {HELD, *MANY}
    assert transactions(conn, f"ticker <> '{HELD}'") <= 2  # a thread may come a moment late


def test_a_refused_price_takes_no_other_with_it(
    database: Settings, conn: psycopg.Connection, writer: PriceWriter
) -> None:
    """Its own thread gets the error; a second price of a key is not new; no id is burnt."""
    with psycopg.connect(database.database_dsn, autocommit=True) as other, ExitStack() as stack:
        submit = stack.enter_context(crowd(writer))
        with index_held(other):
            first: Future[bool] = submit(*quote(HELD))
            wait_for(lambda: statement_waits(conn))
            refused: Future[bool] = submit(*quote("bad_usd", minute=NOON + timedelta(seconds=1)))
            outcomes: list[Future[bool]] = [submit(*quote(ticker)) for ticker in MANY]
            wait_for(lambda: all(each.running() for each in (first, refused, *outcomes)))

    with pytest.raises(CheckViolation):
        refused.result()
    assert [first.result(), *(outcome.result() for outcome in outcomes)] == [True] * 21
    assert stored(conn) == {HELD, *MANY}


def test_a_price_that_comes_twice_is_new_once(
    database: Settings, conn: psycopg.Connection, writer: PriceWriter
) -> None:
    """In one batch, in the next, and after it; the sequence goes on without a gap."""
    with psycopg.connect(database.database_dsn, autocommit=True) as other, ExitStack() as stack:
        submit = stack.enter_context(crowd(writer))
        with index_held(other):
            first: Future[bool] = submit(*quote(HELD))
            wait_for(lambda: statement_waits(conn))
            twice: list[Future[bool]] = [submit(*quote(t)) for t in MANY[:10] for _ in range(2)]
            wait_for(lambda: all(each.running() for each in (first, *twice)))
    assert sum(outcome.result() for outcome in twice) == 10
    assert not writer.store(*quote(HELD, "9.00"))
    assert writer.store(*quote("next_usd"))

    burnt = conn.execute("SELECT max(id) - count(*) FROM prices").fetchone()
    assert burnt == (0,)


def test_a_held_index_keeps_no_other_waiting(database: Settings, conn: psycopg.Connection) -> None:
    """It is in the same batch; the others are stored while it still waits."""
    patient = Timeouts(statement=60, response=63)
    with (
        psycopg.connect(database.database_dsn, autocommit=True) as other,
        Database(database.database_dsn, 30, patient) as connections,
        crowd(PriceWriter(connections)) as submit,
    ):
        assert submit(*quote("warm_usd")).result()  # whoever makes a chunk locks all of the table
        with index_held(conn):
            with index_held(other, "first_usd"):
                first: Future[bool] = submit(*quote("first_usd"))
                wait_for(lambda: statement_waits(conn))
                held: Future[bool] = submit(*quote(HELD))
                outcomes: list[Future[bool]] = [submit(*quote(ticker)) for ticker in MANY]
                wait_for(lambda: all(each.running() for each in (first, held, *outcomes)))
            assert all(outcome.result(timeout=20) for outcome in outcomes)
            assert not held.done()

        assert held.result(timeout=20)
        assert first.result()
