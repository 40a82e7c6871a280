"""Exchanges, an empty queue and an empty database; most have a clock that stands."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import redis
import stamina

from tests.support.clock import NOON, ManualClock
from tests.support.exchange import SEED
from tracker.settings import Settings
from tracker.simulator import Options, Simulator, running_simulator


@pytest.fixture
def clock() -> ManualClock:
    """The clock of worker and exchange: 20 seconds after noon."""
    return ManualClock(NOON + timedelta(seconds=20))


@pytest.fixture
def exchange(clock: ManualClock) -> Iterator[Simulator]:
    """A simulated exchange without faults."""
    with running_simulator(Options(seed=SEED, clock=clock.microseconds)) as simulator:
        yield simulator


@pytest.fixture
def live_exchange() -> Iterator[Simulator]:
    """A simulated exchange without faults, on this machine's clock."""
    with running_simulator(Options(seed=SEED)) as simulator:
        yield simulator


@pytest.fixture
def no_pauses() -> Iterator[None]:
    """Four attempts without pauses between them."""
    with stamina.set_testing(True, attempts=4):
        yield


@pytest.fixture
def tracked(database: Settings, exchange: Simulator) -> Settings:
    """Settings of that exchange, an empty queue and an empty database, for two indexes."""
    with redis.from_url(database.broker_url) as client:
        client.flushdb()
    return database.changed(client_base_url=exchange.url, tickers="btc_usd,eth_usd")
