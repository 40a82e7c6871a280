"""Chaos, the short version: a whole tracker is broken, and recovers.

`ChaosDemo.assert_recovery` states what that means; every case ends with it.
"""

import time
from datetime import UTC, datetime, timedelta

import pytest
import redis

from tests.support.chaos.demo import ChaosDemo
from tests.support.chaos.faults import CHARTS
from tests.support.chaos.gaps import make_gap
from tests.support.chaos.processes import ALL
from tests.support.exchange import count_calls, fetch_true_price
from tests.support.worker import send_message
from tracker.times import MINUTE, floor_moment

pytestmark = pytest.mark.slow

SEED = 20261122


def test_late_messages_store_only_observed_prices(demo: ChaosDemo) -> None:
    """A late poll records a miss, and a late repair does nothing; an observed price is stored once.

    Of the minutes from there on, a repair fills the five-minute marks only.
    """
    mark = floor_moment(datetime.now(UTC) - timedelta(days=1), timedelta(minutes=5))
    old, late = mark + MINUTE, mark + 2 * MINUTE
    with demo.chaos(SEED):
        with demo.paused_scheduler():
            charts = count_calls(demo.exchange, CHARTS)
            send_message(demo.settings, "repair", late.isoformat(), queue="later")
            demo.wait_until(demo.is_idle)
            assert count_calls(demo.exchange, CHARTS) == charts
        send_observed_prices(demo, old)
        demo.wait_until(lambda: demo.is_polled(old))
        send_observed_prices(demo, old, "1.25")
        demo.send_tick(late)
        demo.wait_until(lambda: len(demo.miss_reasons(late)) == len(demo.tickers))
        demo.wait_until(demo.is_idle)

    assert demo.sources(late) == {}
    assert demo.miss_reasons(late) == dict.fromkeys(demo.tickers, "too_late")
    for ticker in demo.tickers:
        oldest = [make_gap(late + MINUTE, 2, "not_polled"), make_gap(late, 1, "too_late")]
        assert demo.fetch_gaps(ticker)[-2:] == oldest


def send_observed_prices(demo: ChaosDemo, minute: datetime, price: str | None = None) -> None:
    """Queue prices of *minute* as a worker does in a database outage: the true ones, or *price*."""
    at = minute.isoformat()
    for ticker in demo.tickers:
        quoted = price or fetch_true_price(demo.exchange, ticker, minute)
        send_message(demo.settings, "store", ticker, at, quoted, at, queue="later")


def test_assertions_detect_wrong_data(demo: ChaosDemo) -> None:
    demo.assert_recovery()
    for change in ("price = price + 0.01", "observed_at = created_at + INTERVAL '60 s'"):
        with demo.connect() as conn, conn.transaction(force_rollback=True):
            conn.execute(f"UPDATE prices SET {change} WHERE source = 'poll'")
            with pytest.raises(AssertionError):
                demo.assert_true_prices(conn)
    with demo.connect() as conn, conn.transaction(force_rollback=True):
        conn.execute("DELETE FROM prices WHERE created_at < now() - INTERVAL '1 minute'")
        assert demo.missing_minutes(conn)
        with pytest.raises(AssertionError):
            demo.assert_gaps_match(conn)  # the API still sees those minutes


def test_transient_faults_are_retried_and_invalid_prices_missed(demo: ChaosDemo) -> None:
    with demo.chaos(SEED), demo.paused_scheduler() as minute:
        demo.inject_fault("maintenance", index="btc_usd", calls=1)
        demo.inject_fault("testnet", index="eth_usd")
        demo.send_tick(minute)
        demo.wait_until(lambda: demo.miss_reasons(minute) and demo.sources(minute))
        assert demo.sources(minute) == {"btc_usd": "poll"}

    assert demo.miss_reasons(minute) == {"eth_usd": "bad_answer"}


def test_flushed_queue_recovers(demo: ChaosDemo) -> None:
    """Its messages are lost, and the polls are sent again."""
    with demo.chaos(SEED), redis.from_url(demo.settings.broker_url) as client:
        demo.start_slow_polls(1)
        client.flushall()
        client.script_flush()


def test_unresponsive_database_loses_no_price(demo: ChaosDemo) -> None:
    """It is stopped for longer than the worker's timeout."""
    with demo.chaos(SEED):
        with demo.paused_scheduler() as minute:
            demo.start_slow_polls(1)
            with demo.pause("postgres"):
                time.sleep(10)
        demo.wait_until(lambda: demo.is_polled(minute))


def test_processes_killed_in_turn_recover(demo: ChaosDemo) -> None:
    with demo.chaos(SEED) as rng:
        demo.start_slow_polls()
        for name in rng.sample(ALL, len(ALL)):
            demo.wait_until(lambda name=name: demo.pid(name))
            demo.kill(name)
            time.sleep(rng.uniform(0, 0.5))
    assert all(demo.was_killed(name) for name in ALL)


def test_processes_killed_at_once_recover(demo: ChaosDemo) -> None:
    with demo.chaos(SEED) as rng:
        demo.start_slow_polls()
        time.sleep(rng.uniform(0, 1))
        demo.kill(*ALL)
