"""Holes are filled from charts where the exchange can, marked as such, and asked for once."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import psycopg
import pytest

from tests.support.working import order, this_minute
from tracker import queries
from tracker.database import Database
from tracker.models import Quote
from tracker.recorder.deribit import DeribitClient
from tracker.recorder.repair import Repairer
from tracker.settings import Settings
from tracker.simulator import Options, Served, price_at, serve
from tracker.times import MINUTE, minute_of

TICKERS = ("btc_usd", "eth_usd")
SEED = 7


@pytest.fixture
def exchange() -> Iterator[Served]:
    with serve(Options(seed=SEED)) as served:
        yield served


@pytest.fixture
def repairer(database: Settings, exchange: Served) -> Iterator[Repairer]:
    with (
        DeribitClient(exchange.url) as client,
        Database(database.database_dsn, 2) as connections,
    ):
        yield Repairer(TICKERS, client, connections)


@pytest.fixture
def now() -> datetime:
    """A moment with some seconds left of its minute: the charts move on with the next one."""
    this_minute(spare=10)
    return datetime.now(UTC)


def stored(conn: psycopg.Connection, ticker: str = "btc_usd") -> dict[datetime, tuple[Any, ...]]:
    query = "SELECT created_at, price, observed_at, source FROM prices WHERE ticker = %s"
    return {row[0]: row[1:] for row in conn.execute(query, [ticker])}


def charts_asked(exchange: Served) -> int:
    asked = httpx.get(f"{exchange.admin_url}/counts").json()["asked"]
    return sum(asked.get("get_index_chart_data", {}).values())


def average(ticker: str, minute: datetime, step: int) -> Decimal:
    """What the chart must say of *minute*: six samples, evenly spread over its step."""
    second = int(minute.timestamp())
    samples = [price_at(SEED, ticker, second - step // 6 * back) for back in range(6)]
    return (sum(samples, Decimal(0)) / 6).quantize(Decimal("1e-6"))


def poll(conn: psycopg.Connection, minute: datetime, ticker: str = "btc_usd") -> None:
    """Store a price as a poll does."""
    quote = Quote(ticker=ticker, price=Decimal("1.25"), observed_at=minute)
    assert queries.insert_price(conn, quote, minute)


def test_a_new_database_gets_the_last_hour(
    repairer: Repairer, exchange: Served, conn: psycopg.Connection, now: datetime
) -> None:
    """Every minute but the present one, each the chart's own average; one request an index."""
    assert repairer.repair(now) == 2 * 59
    last = minute_of(now) - MINUTE
    for ticker in TICKERS:
        rows = stored(conn, ticker)
        assert sorted(rows) == [last - n * MINUTE for n in reversed(range(59))]
        for minute, row in rows.items():
            assert row == (average(ticker, minute, 6), minute, "chart")
    assert charts_asked(exchange) == len(TICKERS)
    transactions = conn.execute("SELECT count(DISTINCT xmin::text) FROM prices").fetchone()
    assert transactions == (len(TICKERS),)


def test_without_holes_nothing_is_asked(
    repairer: Repairer, exchange: Served, now: datetime
) -> None:
    """None of it costs the exchange a call, once there is nothing to fill."""
    repairer.repair(now)
    before = charts_asked(exchange)
    assert repairer.repair(now) == 0
    assert charts_asked(exchange) == before


def test_what_was_polled_stays(
    repairer: Repairer, exchange: Served, conn: psycopg.Connection, now: datetime
) -> None:
    """Only the index with holes is asked for, and no polled price is touched."""
    repairer.repair(now)
    conn.execute("DELETE FROM prices WHERE ticker = 'btc_usd'")
    polled = minute_of(now) - 5 * MINUTE
    poll(conn, polled)
    before = charts_asked(exchange)

    assert repairer.repair(now) == 58
    assert stored(conn)[polled] == (Decimal("1.25"), polled, "poll")
    assert charts_asked(exchange) == before + 1


def test_older_holes_are_filled_on_five_minute_marks(
    repairer: Repairer, conn: psycopg.Connection, now: datetime
) -> None:
    """Since the index is tracked, and no more than two days back; what lies between stays open."""
    since = minute_of(now) - timedelta(hours=5)
    poll(conn, since)
    repairer.repair(now)

    rows = stored(conn)
    span = [since + n * MINUTE for n in range(1, 4 * 60 + 1)]
    marks = [minute for minute in span if minute.minute % 5 == 0]
    assert [minute for minute in span if minute in rows] == marks
    for minute in marks:
        assert rows[minute] == (average("btc_usd", minute, 300), minute, "chart")


def test_holes_that_no_chart_has_are_asked_for_once(
    repairer: Repairer, exchange: Served, conn: psycopg.Connection, now: datetime
) -> None:
    """A chart without the minute leaves it open, and is not asked every minute for ever."""
    ahead = now + timedelta(minutes=3)
    repairer.repair(ahead)
    before = charts_asked(exchange)
    assert repairer.repair(ahead) == 0
    assert charts_asked(exchange) == before
    assert max(stored(conn)) <= minute_of(datetime.now(UTC))


@pytest.mark.parametrize("kind", ["maintenance", "rate_limit", "html", "truncated", "testnet"])
def test_an_exchange_in_trouble_is_asked_again(
    repairer: Repairer, exchange: Served, conn: psycopg.Connection, now: datetime, kind: str
) -> None:
    """Nothing wrong is stored meanwhile, and the holes are filled when it is over."""
    order(exchange, kind)
    assert repairer.repair(now) == 0
    assert stored(conn) == {}
    httpx.delete(f"{exchange.admin_url}/faults").raise_for_status()
    assert repairer.repair(now) == 2 * 59


def test_one_index_in_trouble_hides_no_other(
    repairer: Repairer, exchange: Served, conn: psycopg.Connection, now: datetime
) -> None:
    """Each has a request of its own."""
    order(exchange, "maintenance", index="btc_usd")
    assert repairer.repair(now) == 59
    assert len(stored(conn, "eth_usd")) == 59


def test_misses_stay_on_record(repairer: Repairer, conn: psycopg.Connection, now: datetime) -> None:
    """A repaired minute was still not polled."""
    minute = minute_of(now) - 3 * MINUTE
    reason = "exchange_unavailable"
    queries.insert_miss(conn, "btc_usd", minute, reason, code=None, attempts=4)
    repairer.repair(now)
    assert minute in stored(conn)
    assert conn.execute("SELECT minute FROM misses").fetchall() == [(minute,)]
