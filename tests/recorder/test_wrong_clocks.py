"""Clocks that are wrong by hours to decades: nothing false outlives them."""

import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import dramatiq
import pendulum
import periodiq
import psycopg
import pytest
import redis

from tests.support.clock import NOON, ManualClock
from tests.support.database import insert_minutes, read_misses, read_polls
from tests.support.exchange import inject_fault
from tests.support.waiting import wait_until
from tests.support.worker import is_idle, running_worker, send_message
from tracker import queries
from tracker.database import Database
from tracker.errors import RateLimited, Unavailable
from tracker.recorder.broker import (
    FailureNotes,
    MinuteScheduler,
    ResilientBroker,
    create_broker,
    declare_tick,
)
from tracker.recorder.deribit import DeribitClient
from tracker.recorder.poll import Poller
from tracker.settings import Settings
from tracker.simulator import Simulator
from tracker.times import MINUTE, StepDetector

HOUR = timedelta(hours=1)
WRONG = {
    "2 hours behind": -2 * HOUR,
    "3 days behind": timedelta(days=-3),
    "30 years behind": timedelta(days=-10957),
    "2 hours ahead": 2 * HOUR,
    "400 days ahead": timedelta(days=400),
    "30 years ahead": timedelta(days=10957),
}
UNREACHABLE = "http://127.0.0.1:9/api/v2"

wrong = pytest.mark.parametrize("difference", WRONG.values(), ids=WRONG)
# The nearest on either side, and the farthest.
few_wrong = pytest.mark.parametrize(
    "difference", [WRONG[name] for name in ("2 hours behind", "2 hours ahead", "30 years behind")]
)


def poll_at(settings: Settings, moment: datetime, minute: datetime) -> None:
    """Poll btc_usd for *minute* with a clock that shows *moment*, and wait for the end."""
    with running_worker(settings, ManualClock(moment)):
        send_message(settings, "poll", "btc_usd", minute.isoformat())
        wait_until(lambda: is_idle(settings))


def read_tracked(conn: psycopg.Connection) -> list[tuple[str, datetime]]:
    """Since when each index is tracked."""
    return conn.execute("SELECT ticker, since FROM tickers ORDER BY 1").fetchall()


@wrong
def test_wrong_clock_stores_nothing(
    tracked: Settings,
    conn: psycopg.Connection,
    clock: ManualClock,
    log: list[str],
    difference: timedelta,
) -> None:
    """Neither price nor miss, and the index is not tracked since then; a warning says why."""
    moment = clock.moment + difference
    poll_at(tracked, moment, moment.replace(second=0))

    assert (read_polls(conn), read_misses(conn), read_tracked(conn)) == ([], [], [])
    [line] = [line for line in log if "not recorded as missed" in line]
    side = "ahead of" if difference > timedelta() else "behind"
    hours = f"{abs(difference) / HOUR:,.0f} h {side} the exchange's: set it right"
    assert f"this machine's clock is {hours}" in line


@few_wrong
def test_message_of_wrong_clock_is_no_miss(
    tracked: Settings, conn: psycopg.Connection, clock: ManualClock, difference: timedelta
) -> None:
    """The clock was corrected before the poll, and the index has prices: it starts with these."""
    insert_minutes(conn, [NOON - HOUR / 2])
    before = read_tracked(conn)
    with running_worker(tracked, clock):
        send_message(tracked, "poll", "btc_usd", NOON.isoformat())
        wait_until(lambda: len(read_polls(conn)) == 2)
        send_message(tracked, "poll", "btc_usd", (NOON + difference).isoformat())
        wait_until(lambda: is_idle(tracked))

    assert read_misses(conn) == []
    assert read_tracked(conn) == before


@few_wrong
def test_wrong_clock_without_exchange_records_no_miss(
    tracked: Settings, conn: psycopg.Connection, difference: timedelta
) -> None:
    """At boot, without a network: what is stored contradicts the clock."""
    insert_minutes(conn, [NOON - MINUTE, NOON - 2 * MINUTE])
    before = read_tracked(conn)
    offline = tracked.changed(client_base_url=UNREACHABLE)
    minute = NOON + difference
    poll_at(offline, minute + timedelta(seconds=55), minute)

    assert (read_misses(conn), read_tracked(conn)) == ([], before)


def test_poll_of_clock_that_was_set_back_ends(database: Settings, exchange: Simulator) -> None:
    """Its minute ends in three days, and the exchange would be tried again in an hour."""
    inject_fault(exchange, "rate_limit", retry_after=3600)
    clock = ManualClock(NOON - timedelta(days=3))
    with (
        DeribitClient(exchange.url) as client,
        Database(database.database_dsn, 1) as connections,
        pytest.raises(RateLimited),
    ):
        Poller(client, connections, clock).fetch("btc_usd", NOON)


def test_outage_at_start_has_a_reason(tracked: Settings, conn: psycopg.Connection) -> None:
    """The exchange has never responded, but the clock follows what is stored."""
    insert_minutes(conn, [NOON - MINUTE])
    offline = tracked.changed(client_base_url=UNREACHABLE)
    minutes = [NOON + number * timedelta(minutes=50) for number in range(3)]
    for minute in minutes:
        poll_at(offline, minute + timedelta(seconds=55), minute)

    assert read_misses(conn) == [("btc_usd", each, "exchange_unavailable") for each in minutes]


def test_first_outage_has_a_reason(tracked: Settings, conn: psycopg.Connection) -> None:
    """Nothing is stored that could contradict the clock."""
    offline = tracked.changed(client_base_url=UNREACHABLE)
    poll_at(offline, NOON + timedelta(seconds=55), NOON)

    assert read_misses(conn) == [("btc_usd", NOON, "exchange_unavailable")]


@few_wrong
def test_miss_of_wrong_clock_at_first_start_is_deleted(
    tracked: Settings, conn: psycopg.Connection, clock: ManualClock, difference: timedelta
) -> None:
    """Nothing contradicted it then; the outage itself keeps its reason."""
    outage = [NOON - HOUR / 2, NOON - MINUTE]
    reason = "exchange_unavailable"
    for minute in (NOON + difference, *outage):
        assert queries.insert_miss(
            conn, "btc_usd", minute, reason, code=None, attempts=4, confirmed=False
        )
    with running_worker(tracked, clock):
        send_message(tracked, "poll", "btc_usd", NOON.isoformat())
        wait_until(lambda: read_polls(conn))

    assert read_misses(conn) == [("btc_usd", minute, reason) for minute in outage]
    assert read_tracked(conn) == [("btc_usd", outage[0])]
    assert queries.insert_miss(conn, "eth_usd", NOON - 3 * HOUR, reason, code=None, attempts=4)
    assert queries.discard_misses(conn, NOON) == 0


@pytest.mark.parametrize(("ago", "recorded"), [(2 * HOUR, False), (HOUR, True)])
def test_miss_before_tracking_is_not_recorded(
    conn: psycopg.Connection, ago: timedelta, *, recorded: bool
) -> None:
    """An hour before the first price it still extends the time since when an index is tracked."""
    insert_minutes(conn, [NOON])
    new = queries.insert_miss(conn, "btc_usd", NOON - ago, "too_late", code=None, attempts=0)

    assert new is recorded
    assert read_tracked(conn) == [("btc_usd", NOON - ago if recorded else NOON)]


def test_repeated_poll_has_reason_of_first_try(
    tracked: Settings,
    conn: psycopg.Connection,
    exchange: Simulator,
    clock: ManualClock,
    no_pauses: None,  # noqa: ARG001 -- for its effect
) -> None:
    """Its worker was killed while it repeated the request, and the minute is over."""
    inject_fault(exchange, "maintenance")
    minute = NOON.isoformat()
    notes = FailureNotes(create_broker(tracked).client)
    with DeribitClient(exchange.url) as client, pytest.raises(Unavailable):
        client.fetch_price("btc_usd", 60, partial(notes.write, "btc_usd", minute))
    clock.moment = NOON + 2 * MINUTE
    with running_worker(tracked, clock):
        for ticker in ("btc_usd", "eth_usd"):
            send_message(tracked, "poll", ticker, minute)
        wait_until(lambda: len(read_misses(conn)) == 2)

    query = "SELECT ticker, reason, code, attempts FROM misses ORDER BY 1"
    assert conn.execute(query).fetchall() == [
        ("btc_usd", "exchange_unavailable", 11051, 4),
        ("eth_usd", "too_late", None, 0),
    ]


def test_message_delayed_by_clock_ahead_is_due(
    tracked: Settings, conn: psycopg.Connection, clock: ManualClock
) -> None:
    """A price that waits for the database since the clock was 400 days ahead."""
    broker = create_broker(tracked)
    broker.declare_queue("later")
    price = ("btc_usd", NOON.isoformat(), "1.50", NOON.isoformat())
    message: dramatiq.Message[None] = dramatiq.Message("later", "store", price, {}, {})
    broker.enqueue(message, delay=400 * 86_400_000)
    with running_worker(tracked, clock):
        wait_until(lambda: read_polls(conn))

    assert read_polls(conn) == [("btc_usd", NOON)]


def test_messages_of_worker_killed_with_clock_ahead_are_taken_over(
    tracked: Settings, conn: psycopg.Connection, clock: ManualClock
) -> None:
    """Its heartbeat would be fresh for 400 days."""
    send_message(tracked, "poll", "btc_usd", NOON.isoformat())
    killed = create_broker(tracked, ResilientBroker)
    assert next(killed.consume("default")) is not None
    with redis.from_url(tracked.broker_url) as client:
        ahead = (time.time() + 400 * 86_400) * 1000
        assert client.zadd("dramatiq:__heartbeats__", {killed.broker_id: ahead}, ch=True) == 1
    with running_worker(tracked, clock):
        wait_until(lambda: read_polls(conn))

    assert read_polls(conn) == [("btc_usd", NOON)]


@pytest.fixture
def _alarm() -> Iterator[None]:
    """Restores the alarm and its handler."""
    handler = signal.getsignal(signal.SIGALRM)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, handler)


@pytest.mark.usefixtures("_alarm")
@pytest.mark.parametrize("days", [0, 400, 10_957])
def test_scheduler_wakes_within_a_minute_of_a_wrong_reading(
    tracked: Settings, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """A single reading is ahead; the next tick comes nevertheless."""
    right = pendulum.now("UTC").replace(second=30)
    readings = iter([right.add(days=days)])
    monkeypatch.setattr(periodiq.pendulum, "now", lambda: next(readings, right))
    scheduler = MinuteScheduler([declare_tick(create_broker(tracked), tracked.tickers)])
    scheduler.schedule()

    assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60


def test_step_of_clock_is_measured() -> None:
    """Time that passes is no step."""
    clock, elapsed = ManualClock(datetime(2026, 11, 26, tzinfo=UTC)), [7.0]
    detector = StepDetector(clock, lambda: elapsed[0])
    for passed, step in ((5, 0), (5, -86_400), (5, 60), (0, 0)):
        clock.moment += timedelta(seconds=passed + step)
        elapsed[0] += passed
        assert detector.measure_step() == timedelta(seconds=step)
