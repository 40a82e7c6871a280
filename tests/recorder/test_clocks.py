"""Clocks that disagree, and minutes at the edges of days, months, years and chunks."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest

from tests.support.chaos.demo import minute_after_tick as early_minute
from tests.support.chaos.truth import chart_average as average
from tests.support.working import idle, misses, rows, tick, wait_for, working
from tracker.database import Database
from tracker.errors import WrongMinute
from tracker.recorder.deribit import DeribitClient
from tracker.recorder.poll import Poller
from tracker.recorder.repair import Repairer
from tracker.settings import Settings
from tracker.simulator import Options, price_at, serve
from tracker.times import MINUTE, Clock, minute_of

Clocked = Callable[..., AbstractContextManager[tuple["SetClock", Poller, Repairer]]]

SEED = 1
TICKERS = ("btc_usd", "eth_usd")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CHUNK = timedelta(days=365)

EDGES = {
    "midnight": datetime(2026, 11, 22, tzinfo=UTC),
    "the month's end": datetime(2026, 12, 1, tzinfo=UTC),
    "the year's end": datetime(2027, 1, 1, tzinfo=UTC),
    "a leap day's begin": datetime(2028, 2, 29, tzinfo=UTC),
    "a leap day's end": datetime(2028, 3, 1, tzinfo=UTC),
    "no leap day": datetime(2027, 3, 1, tzinfo=UTC),
    "a chunk's end": EPOCH + 58 * CHUNK,
}


class SetClock(Clock):
    """Both clocks: ours, and the exchange's, which is *ahead* of it."""

    def __init__(self, now: datetime, ahead: timedelta) -> None:
        self.time = now
        self.ahead = ahead

    def now(self) -> datetime:
        """What ours says."""
        return self.time

    def microseconds(self) -> int:
        """What the exchange's clock says."""
        return (self.time + self.ahead - EPOCH) // timedelta(microseconds=1)


@pytest.fixture
def clocked(database: Settings) -> Clocked:
    """A poller and a repairer at a time of one's choice."""

    @contextmanager
    def at(now: datetime, ahead: float = 0) -> Iterator[tuple[SetClock, Poller, Repairer]]:
        clock = SetClock(now, timedelta(seconds=ahead))
        options = Options(seed=SEED, clock=clock.microseconds)
        with (
            serve(options) as exchange,
            DeribitClient(exchange.url) as client,
            Database(database.database_dsn, 4) as connections,
        ):
            poller = Poller(client, connections, clock)
            yield clock, poller, Repairer(TICKERS, client, connections)

    return at


def prices(conn: psycopg.Connection) -> dict[tuple[str, datetime], tuple[str, Decimal]]:
    """Source and price of each row."""
    query = "SELECT ticker, created_at, source, price FROM prices"
    return {(row[0], row[1]): (row[2], row[3]) for row in conn.execute(query)}


def expected(
    edge: datetime, polled: dict[datetime, datetime]
) -> dict[tuple[str, datetime], tuple[str, Decimal]]:
    """The hour before *edge* and its first minutes: what was *polled*, and else the chart's."""
    until = max(polled)
    minutes = [until - n * MINUTE for n in range(60)]
    return {
        (ticker, minute): (
            ("poll", price_at(SEED, ticker, int(polled[minute].timestamp())))
            if minute in polled
            else ("chart", average(ticker, minute, 6))
        )
        for ticker in TICKERS
        for minute in minutes
        if minute > edge - timedelta(hours=1)
    }


@pytest.mark.parametrize("ahead", [-5.0, 0.0, 5.0])
@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES)
def test_minutes_at_an_edge(
    clocked: Clocked, conn: psycopg.Connection, edge: datetime, ahead: float
) -> None:
    """The last minute before it, the first two after it, and the hour around it by repair.

    Each of them has the price of its own time, whichever clock is ahead.
    """
    polled = {}
    with clocked(edge, ahead) as (clock, poller, repairer):
        for minute in (edge - MINUTE, edge, edge + MINUTE):
            clock.time = minute + timedelta(seconds=1)
            for ticker in TICKERS:
                assert poller.store(poller.fetch(ticker, minute), minute)
                assert not poller.store(poller.fetch(ticker, minute), minute)
            polled[minute] = clock.time + clock.ahead
            repairer.repair(clock.time)

    found = prices(conn)
    assert {key: found[key] for key in expected(edge, polled)} == expected(edge, polled)
    assert set(found) == {(ticker, edge + n * MINUTE) for ticker in TICKERS for n in range(-60, 2)}


def test_the_last_second_is_the_minutes_own(clocked: Clocked, conn: psycopg.Connection) -> None:
    """A price observed in the next day is not the old day's last one."""
    edge = EDGES["midnight"]
    with clocked(edge, 5) as (clock, poller, _):
        clock.time = edge - timedelta(seconds=3)
        with pytest.raises(WrongMinute):
            poller.fetch("btc_usd", edge - MINUTE)
        clock.time = edge - timedelta(seconds=6)
        poller.store(poller.fetch("btc_usd", edge - MINUTE), edge - MINUTE)

    second = int(edge.timestamp()) - 1
    assert prices(conn) == {("btc_usd", edge - MINUTE): ("poll", price_at(SEED, "btc_usd", second))}


def test_the_chunks_end_is_one(clocked: Clocked, conn: psycopg.Connection) -> None:
    """The rows on either side of it lie in different chunks."""
    edge = EDGES["a chunk's end"]
    with clocked(edge) as (clock, _, repairer):
        clock.time = edge + timedelta(minutes=10)
        repairer.repair(clock.time)

    query = "SELECT min(created_at), max(created_at) FROM prices GROUP BY tableoid ORDER BY 1"
    (_, before), (after, _) = conn.execute(query).fetchall()
    assert (before, after) == (edge - MINUTE, edge)


def test_a_chart_that_lags(clocked: Clocked, conn: psycopg.Connection) -> None:
    """A minute that the chart did not have yet is filled once it has it."""
    edge = EDGES["midnight"]
    with clocked(edge, -90) as (clock, _, repairer):
        clock.time = edge + timedelta(seconds=1)
        repairer.repair(clock.time)
        assert ("btc_usd", edge - MINUTE) not in prices(conn)
        for _ in range(12):
            clock.time += MINUTE
            repairer.repair(clock.time)

    assert prices(conn)["btc_usd", edge - MINUTE] == ("chart", average("btc_usd", edge - MINUTE, 6))


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [-5.0, 5.0])
def test_a_worker_beside_an_exchange_with_another_clock(
    database: Settings, conn: psycopg.Connection, ahead: float
) -> None:
    """The tick decides the minute; what is stored is the truth of the exchange's own second."""
    with serve(Options(seed=SEED, clock_offset=ahead)) as exchange:
        settings = database.changed(client_base_url=exchange.url, tickers=",".join(TICKERS))
        minute = early_minute(10)
        with working(settings):
            tick(settings, minute)
            wait_for(lambda: len(prices(conn)) == 2 * 60 and idle(settings))

    assert misses(conn) == []
    assert rows(conn) == [(ticker, minute) for ticker in TICKERS]
    query = "SELECT ticker, observed_at, source, price, created_at FROM prices"
    for ticker, observed_at, source, price, created_at in conn.execute(query):
        second = int(observed_at.timestamp())
        polled = price_at(SEED, ticker, second)
        assert price == (polled if source == "poll" else average(ticker, created_at, 6))
        assert minute_of(created_at) == created_at
