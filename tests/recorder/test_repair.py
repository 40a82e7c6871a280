"""Missing minutes are filled from charts where the exchange has them, and marked so."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tests.support.chaos.truth import chart_average
from tests.support.clock import NOON, ManualClock
from tests.support.exchange import clear_faults, count_calls, inject_fault
from tracker import queries
from tracker.database import Database
from tracker.models import Quote
from tracker.recorder.deribit import DeribitClient
from tracker.recorder.repair import Repairer
from tracker.settings import Settings
from tracker.simulator import Simulator
from tracker.times import MINUTE

TICKERS = ("btc_usd", "eth_usd")
CHART = "get_index_chart_data"
LAST = NOON - MINUTE  # the last complete minute


@pytest.fixture
def repairer(database: Settings, exchange: Simulator) -> Iterator[Repairer]:
    """A repairer of two indexes."""
    with (
        DeribitClient(exchange.url) as client,
        Database(database.database_dsn, 2) as connections,
    ):
        yield Repairer(TICKERS, client, connections)


@pytest.fixture
def now(clock: ManualClock) -> datetime:
    """The time of the exchange: some seconds after noon."""
    return clock.moment


def read_prices(
    conn: psycopg.Connection, ticker: str = "btc_usd"
) -> dict[datetime, tuple[Any, ...]]:
    """Price, time of observation and source of each minute."""
    query = "SELECT created_at, price, observed_at, source FROM prices WHERE ticker = %s"
    return {row[0]: row[1:] for row in conn.execute(query, [ticker])}


def insert_poll(conn: psycopg.Connection, minute: datetime) -> None:
    """Store a price of btc_usd as a poll does."""
    quote = Quote(ticker="btc_usd", price=Decimal("1.25"), observed_at=minute)
    assert queries.insert_price(conn, quote, minute)


def test_new_database_gets_last_hour(
    repairer: Repairer, exchange: Simulator, conn: psycopg.Connection, now: datetime
) -> None:
    """Every complete minute, with the chart's average; one request and transaction an index."""
    assert repairer.repair(now) == 2 * 59

    for ticker in TICKERS:
        prices = read_prices(conn, ticker)
        assert sorted(prices) == [LAST - n * MINUTE for n in reversed(range(59))]
        for minute, price in prices.items():
            assert price == (chart_average(ticker, minute, 6), minute, "chart")
    assert count_calls(exchange, CHART) == len(TICKERS)
    transactions = conn.execute("SELECT count(DISTINCT xmin::text) FROM prices").fetchone()
    assert transactions == (len(TICKERS),)


def test_complete_hour_needs_no_request(
    repairer: Repairer, exchange: Simulator, now: datetime
) -> None:
    """Without a missing minute no chart is requested."""
    repairer.repair(now)
    before = count_calls(exchange, CHART)

    assert repairer.repair(now) == 0
    assert count_calls(exchange, CHART) == before


def test_repair_leaves_polled_prices(
    repairer: Repairer, exchange: Simulator, conn: psycopg.Connection, now: datetime
) -> None:
    """It requests only the chart of the index with missing minutes."""
    repairer.repair(now)
    conn.execute("DELETE FROM prices WHERE ticker = 'btc_usd'")
    polled = NOON - 5 * MINUTE
    insert_poll(conn, polled)
    before = count_calls(exchange, CHART)

    assert repairer.repair(now) == 58
    assert read_prices(conn)[polled] == (Decimal("1.25"), polled, "poll")
    assert count_calls(exchange, CHART) == before + 1


def test_older_minutes_are_repaired_every_five_minutes(
    repairer: Repairer, conn: psycopg.Connection, now: datetime
) -> None:
    """From when the index is tracked, for two days at most; the other minutes stay missing."""
    since = NOON - timedelta(hours=5)
    insert_poll(conn, since)
    repairer.repair(now)

    prices = read_prices(conn)
    minutes = [since + n * MINUTE for n in range(1, 4 * 60 + 1)]
    fifths = [minute for minute in minutes if minute.minute % 5 == 0]
    assert [minute for minute in minutes if minute in prices] == fifths
    for minute in fifths:
        assert prices[minute] == (chart_average("btc_usd", minute, 300), minute, "chart")


def test_minute_that_chart_lacks_is_requested_once(
    repairer: Repairer, exchange: Simulator, conn: psycopg.Connection, now: datetime
) -> None:
    """It stays missing, and does not cost a request each minute."""
    ahead = now + 3 * MINUTE
    repairer.repair(ahead)
    before = count_calls(exchange, CHART)

    assert repairer.repair(ahead) == 0
    assert count_calls(exchange, CHART) == before
    assert max(read_prices(conn)) == NOON


@pytest.mark.parametrize("kind", ["maintenance", "rate_limit", "html", "truncated", "testnet"])
def test_failed_chart_is_requested_again(
    repairer: Repairer, exchange: Simulator, conn: psycopg.Connection, now: datetime, kind: str
) -> None:
    """The failure stores nothing."""
    inject_fault(exchange, kind)
    assert repairer.repair(now) == 0
    assert read_prices(conn) == {}

    clear_faults(exchange)
    assert repairer.repair(now) == 2 * 59


def test_failed_chart_does_not_affect_other_indexes(
    repairer: Repairer, exchange: Simulator, conn: psycopg.Connection, now: datetime
) -> None:
    """Each index has a request of its own."""
    inject_fault(exchange, "maintenance", index="btc_usd")

    assert repairer.repair(now) == 59
    assert len(read_prices(conn, "eth_usd")) == 59


def test_repair_leaves_misses(repairer: Repairer, conn: psycopg.Connection, now: datetime) -> None:
    """A repaired minute was not polled all the same."""
    minute = NOON - 3 * MINUTE
    reason = "exchange_unavailable"
    queries.insert_miss(conn, "btc_usd", minute, reason, code=None, attempts=4)
    repairer.repair(now)

    assert minute in read_prices(conn)
    assert conn.execute("SELECT minute FROM misses").fetchall() == [(minute,)]
