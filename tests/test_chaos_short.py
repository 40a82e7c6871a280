"""Chaos, the short version: a whole tracker is broken, and all is well afterwards.

What "well" means stands in `Tracked.recover`: every case ends with it.
"""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from tests.chaos import ALL, Tracked, early_minute, tracking
from tests.working import send, truth

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

SEED = 20261122


@pytest.fixture(scope="module")
def tracked(open_tmp: Path) -> Iterator[Tracked]:
    """A demo that has recorded its first hour."""
    with tracking(open_tmp / "chaos-home") as tracked:
        yield tracked


def test_messages_that_come_twice_or_a_day_late(tracked: Tracked) -> None:
    """A minute gets one price, the first; a day-old poll gets none, and a record of why."""
    minute = early_minute()
    yesterday = minute - timedelta(days=1, minutes=3)
    with tracked.chaos(SEED):
        for _ in range(3):
            tracked.tick(minute)
            for ticker in tracked.tickers:
                send(tracked.settings, "poll", ticker, minute.isoformat())
        tracked.tick(yesterday)
        tracked.complete()
        late = (yesterday + timedelta(minutes=1)).isoformat()
        price = truth(tracked.exchange, "btc_usd", yesterday + timedelta(minutes=1))
        for said in (price, "1.25"):
            send(tracked.settings, "store", "btc_usd", late, said, late, queue="later")
            tracked.wait_for(lambda: tracked.sources(yesterday + timedelta(minutes=1)))
        tracked.wait_for(lambda: len(tracked.reasons(yesterday)) == len(tracked.tickers))

    assert tracked.sources(minute) == dict.fromkeys(tracked.tickers, "poll")
    assert tracked.sources(yesterday) == {}
    assert tracked.reasons(yesterday) == dict.fromkeys(tracked.tickers, "too_late")


def test_the_check_finds_what_is_wrong(tracked: Tracked) -> None:
    """One wrong price, one minute of another's, one minute too few: each is noticed."""
    tracked.recover()
    for change in ("price = price + 0.01", "observed_at = created_at + INTERVAL '60 s'"):
        with tracked.connected() as conn, conn.transaction(force_rollback=True):
            conn.execute(f"UPDATE prices SET {change} WHERE source = 'poll'")
            with pytest.raises(AssertionError):
                tracked.assert_true(conn)
    with tracked.connected() as conn, conn.transaction(force_rollback=True):
        conn.execute("DELETE FROM prices WHERE source = 'poll'")
        assert tracked.missing(conn)


def test_an_exchange_in_trouble(tracked: Tracked) -> None:
    """What passes is asked again, and leaves no record; what is no price is not stored."""
    minute = early_minute()
    with tracked.chaos(SEED):
        tracked.trouble("maintenance", index="btc_usd", seconds=1)
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
    minute = early_minute(8)
    with tracked.chaos(SEED):
        tracked.mid_poll(1)
        with tracked.paused("postgres"):
            time.sleep(10)
        tracked.wait_for(lambda: len(tracked.sources(minute)) == len(tracked.tickers))
        assert tracked.sources(minute) == dict.fromkeys(tracked.tickers, "poll")


def test_each_killed(tracked: Tracked) -> None:
    """kill -9, one after the other, at random moments."""
    with tracked.chaos(SEED) as dice:
        tracked.mid_poll()
        for name in dice.sample(ALL, len(ALL)):
            tracked.kill(name)
            time.sleep(dice.uniform(0, 0.5))
    assert all(tracked.was_killed(name) for name in ALL)


def test_all_killed(tracked: Tracked) -> None:
    """kill -9 of all of them at once, in the middle of polls."""
    with tracked.chaos(SEED) as dice:
        tracked.mid_poll()
        time.sleep(dice.uniform(0, 1))
        tracked.kill(*ALL)
