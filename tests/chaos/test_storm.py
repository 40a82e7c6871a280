"""Chaos, the long version (`just chaos`): all kinds of faults at random, while the clock ticks."""

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import psycopg
import pytest
import redis

from tests.support.chaos import TWELVE, Tracked, tracking
from tests.support.chaos_processes import ALL
from tracker.times import minute_of

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

SEED = 20261122


@pytest.fixture(scope="module")
def tracked(open_tmp: Path) -> Iterator[Tracked]:
    """A demo of twelve indexes that has recorded its first hour."""
    with tracking(open_tmp / "chaos-storm", TICKERS=TWELVE) as tracked:
        yield tracked


@pytest.mark.parametrize("seed", range(SEED, SEED + 2))
def test_a_storm(tracked: Tracked, seed: int) -> None:
    """For more than a minute."""
    with tracked.chaos(seed) as dice:
        until = time.monotonic() + 75
        while time.monotonic() < until:
            with suppress(redis.RedisError, psycopg.OperationalError):
                dice.choice([kill, pause, flush, trouble, crowd])(tracked, dice)
            time.sleep(dice.uniform(0.2, 3))


def kill(tracked: Tracked, dice: Random) -> None:
    tracked.kill(*dice.sample(ALL, dice.randint(1, 3)))


def pause(tracked: Tracked, dice: Random) -> None:
    with tracked.paused(dice.choice(ALL)):
        time.sleep(dice.uniform(0.5, 6))


def flush(tracked: Tracked, _: Random) -> None:
    with redis.from_url(tracked.settings.broker_url) as client:
        client.flushall()


def trouble(tracked: Tracked, dice: Random) -> None:
    kind = dice.choice(["timeout", "reset", "rate_limit", "maintenance", "html", "testnet"])
    tracked.trouble(kind, seconds=dice.uniform(1, 8), method=None)


def crowd(tracked: Tracked, dice: Random) -> None:
    for _ in range(dice.randint(1, 4)):
        tracked.ticked()


def test_the_clock_ticks_on(tracked: Tracked) -> None:
    """After all of that nobody hangs: the next minute comes without a hand."""
    with tracked.chaos(SEED):
        time.sleep(60.1 - time.time() % 60)
        minute = minute_of(datetime.now(UTC))
        tracked.wait_for(lambda: len(tracked.sources(minute)) == len(tracked.tickers))
        tracked.wait_for(lambda: not tracked.missing())
