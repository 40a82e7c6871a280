"""Clocks that differ, and minutes at the boundaries of days, months, years and chunks."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest

from tests.support.chaos.truth import chart_average
from tests.support.clock import NOON, ManualClock
from tests.support.database import read_misses, read_polls
from tests.support.exchange import SEED
from tests.support.waiting import wait_until
from tests.support.worker import is_idle, open_recorder, running_worker, send_tick
from tracker.errors import WrongMinute
from tracker.settings import Settings
from tracker.simulator import Options, price_at, running_simulator
from tracker.times import EPOCH, MINUTE

TICKERS = ("btc_usd", "eth_usd")
CHUNK = timedelta(days=365)
BOUNDARIES = {
    "midnight": datetime(2026, 11, 22, tzinfo=UTC),
    "end of the month": datetime(2026, 12, 1, tzinfo=UTC),
    "end of the year": datetime(2027, 1, 1, tzinfo=UTC),
    "start of a leap day": datetime(2028, 2, 29, tzinfo=UTC),
    "end of a leap day": datetime(2028, 3, 1, tzinfo=UTC),
    "end of February": datetime(2027, 3, 1, tzinfo=UTC),
    "end of a chunk": EPOCH + 58 * CHUNK,
}


def read_prices(conn: psycopg.Connection) -> dict[tuple[str, datetime], tuple[str, Decimal]]:
    """Source and price of each index and minute."""
    query = "SELECT ticker, created_at, source, price FROM prices"
    return {(row[0], row[1]): (row[2], row[3]) for row in conn.execute(query)}


def expect_hour(
    boundary: datetime, polled: dict[datetime, datetime]
) -> dict[tuple[str, datetime], tuple[str, Decimal]]:
    """The minutes from an hour before *boundary*: those *polled* at a moment, else the chart's."""
    until = max(polled)
    minutes = [until - n * MINUTE for n in range(60)]
    return {
        (ticker, minute): (
            ("poll", price_at(SEED, ticker, int(polled[minute].timestamp())))
            if minute in polled
            else ("chart", chart_average(ticker, minute, 6))
        )
        for ticker in TICKERS
        for minute in minutes
        if minute > boundary - timedelta(hours=1)
    }


@pytest.mark.parametrize("ahead", [-5.0, 0.0, 5.0])
@pytest.mark.parametrize("boundary", BOUNDARIES.values(), ids=BOUNDARIES)
def test_minutes_at_boundary_have_prices_of_their_own_time(
    database: Settings,
    conn: psycopg.Connection,
    clock: ManualClock,
    boundary: datetime,
    ahead: float,
) -> None:
    """Polls: the last minute before it and the first two after it; the rest of the hour: repair."""
    polled = {}
    with open_recorder(database, clock, ahead) as (poller, repairer):
        for minute in (boundary - MINUTE, boundary, boundary + MINUTE):
            clock.moment = minute + timedelta(seconds=1)
            for ticker in TICKERS:
                assert poller.store(poller.fetch(ticker, minute), minute)
                assert not poller.store(poller.fetch(ticker, minute), minute)
            polled[minute] = clock.moment + timedelta(seconds=ahead)
            repairer.repair(clock.moment)

    prices = read_prices(conn)
    expected = expect_hour(boundary, polled)
    assert {key: prices[key] for key in expected} == expected
    minutes = [boundary + n * MINUTE for n in range(-60, 2)]
    assert set(prices) == {(ticker, minute) for ticker in TICKERS for minute in minutes}


def test_price_of_next_day_is_not_stored_under_last_minute(
    database: Settings, conn: psycopg.Connection, clock: ManualClock
) -> None:
    """The exchange's clock decides on which side of midnight a price was observed."""
    midnight = BOUNDARIES["midnight"]
    with open_recorder(database, clock, 5) as (poller, _):
        clock.moment = midnight - timedelta(seconds=3)
        with pytest.raises(WrongMinute):
            poller.fetch("btc_usd", midnight - MINUTE)
        clock.moment = midnight - timedelta(seconds=6)
        poller.store(poller.fetch("btc_usd", midnight - MINUTE), midnight - MINUTE)

    price = price_at(SEED, "btc_usd", int(midnight.timestamp()) - 1)
    assert read_prices(conn) == {("btc_usd", midnight - MINUTE): ("poll", price)}


def test_rows_around_end_of_chunk_are_in_different_chunks(
    database: Settings, conn: psycopg.Connection, clock: ManualClock
) -> None:
    """Otherwise BOUNDARIES would not contain one."""
    end = BOUNDARIES["end of a chunk"]
    with open_recorder(database, clock) as (_, repairer):
        clock.moment = end + timedelta(minutes=10)
        repairer.repair(clock.moment)

    query = "SELECT min(created_at), max(created_at) FROM prices GROUP BY tableoid ORDER BY 1"
    (_, before), (after, _) = conn.execute(query).fetchall()
    assert (before, after) == (end - MINUTE, end)


def test_minute_of_lagging_chart_is_repaired_later(
    database: Settings, conn: psycopg.Connection, clock: ManualClock
) -> None:
    """The repairer requests the chart again some minutes later."""
    midnight = BOUNDARIES["midnight"]
    with open_recorder(database, clock, -90) as (_, repairer):
        clock.moment = midnight + timedelta(seconds=1)
        repairer.repair(clock.moment)
        assert ("btc_usd", midnight - MINUTE) not in read_prices(conn)
        for _ in range(12):
            clock.moment += MINUTE
            repairer.repair(clock.moment)

    average = chart_average("btc_usd", midnight - MINUTE, 6)
    assert read_prices(conn)["btc_usd", midnight - MINUTE] == ("chart", average)


@pytest.mark.parametrize("ahead", [-5.0, 5.0])
def test_worker_stores_price_of_other_clock_under_minute_of_tick(
    tracked: Settings, conn: psycopg.Connection, clock: ManualClock, ahead: float
) -> None:
    """The tick decides the minute; the price is that of the exchange's own second."""
    minute = NOON - timedelta(hours=12)
    clock.moment = minute + timedelta(seconds=8)
    options = Options(seed=SEED, clock=clock.microseconds, clock_offset=ahead)
    with running_simulator(options) as exchange:
        settings = tracked.changed(client_base_url=exchange.url)
        with running_worker(settings, clock):
            send_tick(settings, minute)
            wait_until(lambda: len(read_prices(conn)) == 2 * 60 and is_idle(settings))

    assert read_misses(conn) == []
    assert read_polls(conn) == [(ticker, minute) for ticker in TICKERS]
    observed_at = clock.moment + timedelta(seconds=ahead)
    assert read_prices(conn) == expect_hour(minute, {minute: observed_at})
