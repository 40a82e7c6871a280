"""Chaos, the long version (`just chaos`): random faults of all kinds while the clock ticks."""

import time
from contextlib import suppress
from datetime import UTC, datetime
from random import Random

import psycopg
import pytest
import redis

from tests.support.chaos.demo import TWELVE_TICKERS, ChaosDemo
from tests.support.chaos.processes import ALL
from tracker.times import minute_of

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

SEED = 20261122
TICKERS = TWELVE_TICKERS


def kill_processes(demo: ChaosDemo, rng: Random) -> None:
    demo.kill(*rng.sample(ALL, rng.randint(1, 3)))


def pause_part(demo: ChaosDemo, rng: Random) -> None:
    with demo.pause(rng.choice(ALL)):
        time.sleep(rng.uniform(0.5, 6))


def flush_queue(demo: ChaosDemo, _: Random) -> None:
    with redis.from_url(demo.settings.broker_url) as client:
        client.flushall()


def fail_exchange(demo: ChaosDemo, rng: Random) -> None:
    kind = rng.choice(["timeout", "reset", "rate_limit", "maintenance", "html", "testnet"])
    demo.inject_fault(kind, seconds=rng.uniform(1, 8), method=None)


def send_ticks(demo: ChaosDemo, rng: Random) -> None:
    for _ in range(rng.randint(1, 4)):
        demo.try_tick()


FAULTS = (kill_processes, pause_part, flush_queue, fail_exchange, send_ticks)


@pytest.mark.parametrize("seed", range(SEED, SEED + 2))
def test_random_faults_recover(demo: ChaosDemo, seed: int) -> None:
    with demo.chaos(seed) as rng:
        until = time.monotonic() + 75
        while time.monotonic() < until:
            with suppress(redis.RedisError, psycopg.OperationalError):
                rng.choice(FAULTS)(demo, rng)
            time.sleep(rng.uniform(0.2, 3))


def test_next_minute_is_polled_after_the_faults(demo: ChaosDemo) -> None:
    with demo.chaos(SEED):
        time.sleep(60.1 - time.time() % 60)
        minute = minute_of(datetime.now(UTC))
        demo.wait_until(lambda: len(demo.sources(minute)) == len(demo.tickers))
        demo.wait_until(lambda: not demo.missing_minutes())
