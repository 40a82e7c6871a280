"""Chaos, the short version: a whole tracker is broken, and all is well afterwards.

What "well" means stands in `Tracked.recover`: every case ends with it.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from tests.support.chaos import Tracked, early_minute, tracking
from tests.support.chaos_gaps import gap
from tests.support.chaos_hands import CHARTS
from tests.support.chaos_processes import ALL
from tests.support.working import asked, send, truth
from tracker.gaps import floor
from tracker.times import MINUTE

pytestmark = pytest.mark.slow

SEED = 20261122


@pytest.fixture(scope="module")
def tracked(open_tmp: Path) -> Iterator[Tracked]:
    """A demo that has recorded its first hour."""
    with tracking(open_tmp / "chaos-short") as tracked:
        yield tracked


def test_messages_that_come_twice(tracked: Tracked) -> None:
    """A minute gets one price, whoever sends how often."""
    with tracked.chaos(SEED):
        minute = early_minute()
        for _ in range(3):
            tracked.tick(minute)
            for ticker in tracked.tickers:
                send(tracked.settings, "poll", ticker, minute.isoformat())
        tracked.wait_for(tracked.idle)

    assert tracked.polled(minute)


def test_messages_of_yesterday(tracked: Tracked) -> None:
    """A poll gets no price, but a record of why; a repair does nothing; what was observed in its
    minute is stored, once. Of the minutes from there on, five-minute marks are filled, no other.
    """
    mark = floor(datetime.now(UTC) - timedelta(days=1), timedelta(minutes=5))
    old, late = mark + MINUTE, mark + 2 * MINUTE
    with tracked.chaos(SEED):
        with tracked.calm():
            charts = asked(tracked.exchange, CHARTS)
            send(tracked.settings, "repair", late.isoformat(), queue="later")
            tracked.wait_for(tracked.idle)
            assert asked(tracked.exchange, CHARTS) == charts
        send_prices(tracked, old)
        tracked.wait_for(lambda: tracked.polled(old))
        send_prices(tracked, old, "1.25")
        tracked.tick(late)
        tracked.wait_for(lambda: len(tracked.reasons(late)) == len(tracked.tickers))
        tracked.wait_for(tracked.idle)

    assert tracked.sources(late) == {}
    assert tracked.reasons(late) == dict.fromkeys(tracked.tickers, "too_late")
    for ticker in tracked.tickers:
        oldest = [gap(late + MINUTE, 2, "not_polled"), gap(late, 1, "too_late")]
        assert tracked.told(ticker)[-2:] == oldest


def send_prices(tracked: Tracked, minute: datetime, price: str | None = None) -> None:
    """What a worker leaves to the queue while the database is away: the truth, or *price*."""
    at = minute.isoformat()
    for ticker in tracked.tickers:
        said = price or truth(tracked.exchange, ticker, minute)
        send(tracked.settings, "store", ticker, at, said, at, queue="later")


def test_the_check_finds_what_is_wrong(tracked: Tracked) -> None:
    """One wrong price, one minute of another's, one minute too few: each is noticed."""
    tracked.recover()
    for change in ("price = price + 0.01", "observed_at = created_at + INTERVAL '60 s'"):
        with tracked.connected() as conn, conn.transaction(force_rollback=True):
            conn.execute(f"UPDATE prices SET {change} WHERE source = 'poll'")
            with pytest.raises(AssertionError):
                tracked.assert_true(conn)
    with tracked.connected() as conn, conn.transaction(force_rollback=True):
        conn.execute("DELETE FROM prices WHERE created_at < now() - INTERVAL '1 minute'")
        assert tracked.missing(conn)
        with pytest.raises(AssertionError):
            tracked.assert_explained(conn)  # the API still sees those minutes


def test_an_exchange_in_trouble(tracked: Tracked) -> None:
    """What passes is asked again, and leaves no record; what is no price is not stored."""
    with tracked.chaos(SEED), tracked.calm() as minute:
        tracked.trouble("maintenance", index="btc_usd", calls=1)
        tracked.trouble("testnet", index="eth_usd")
        tracked.tick(minute)
        tracked.wait_for(lambda: tracked.reasons(minute) and tracked.sources(minute))
        assert tracked.sources(minute) == {"btc_usd": "poll"}

    assert tracked.reasons(minute) == {"eth_usd": "bad_answer"}


def test_an_emptied_queue(tracked: Tracked) -> None:
    """In the middle of polls: what it held is lost, and asked for again."""
    with tracked.chaos(SEED), redis.from_url(tracked.settings.broker_url) as client:
        tracked.mid_poll(1)
        client.flushall()
        client.script_flush()


def test_a_database_that_stands_still(tracked: Tracked) -> None:
    """For longer than the worker waits for it: what was observed meanwhile is stored after."""
    with tracked.chaos(SEED):
        with tracked.calm() as minute:
            tracked.mid_poll(1)
            with tracked.paused("postgres"):
                time.sleep(10)
        tracked.wait_for(lambda: tracked.polled(minute))


def test_each_killed(tracked: Tracked) -> None:
    """kill -9, one after the other, at random moments."""
    with tracked.chaos(SEED) as dice:
        tracked.mid_poll()
        for name in dice.sample(ALL, len(ALL)):
            tracked.wait_for(lambda name=name: tracked.pid(name))
            tracked.kill(name)
            time.sleep(dice.uniform(0, 0.5))
    assert all(tracked.was_killed(name) for name in ALL)


def test_all_killed(tracked: Tracked) -> None:
    """kill -9 of all of them at once, in the middle of polls."""
    with tracked.chaos(SEED) as dice:
        tracked.mid_poll()
        time.sleep(dice.uniform(0, 1))
        tracked.kill(*ALL)
