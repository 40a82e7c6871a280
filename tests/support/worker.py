"""A worker or its parts in this process, and messages to its queue."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import dramatiq
import redis

from tests.support.clock import ManualClock
from tests.support.exchange import SEED
from tracker.database import DEFAULT_TIMEOUTS, Database, Timeouts
from tracker.recorder.broker import ResilientBroker, create_broker, declare_tick
from tracker.recorder.deribit import DeribitClient
from tracker.recorder.indexes import PolledIndexes
from tracker.recorder.poll import Poller
from tracker.recorder.repair import Repairer
from tracker.recorder.worker import MAX_CONNECTIONS, start_worker
from tracker.settings import Settings
from tracker.simulator import Options, running_simulator
from tracker.times import Clock


@contextmanager
def running_worker(
    settings: Settings,
    clock: Clock | None = None,
    *,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    redis_timeout: float = 3.0,
    indexes: PolledIndexes | None = None,
) -> Iterator[dramatiq.Worker]:
    """A running worker; without *clock* it has this machine's, without *indexes* those it reads."""
    broker = create_broker(settings, ResilientBroker, redis_timeout)
    with (
        DeribitClient(settings.client_base_url) as client,
        Database(settings.database_dsn, MAX_CONNECTIONS, timeouts) as database,
    ):
        polled = indexes or PolledIndexes(settings.tickers, client, database)
        worker = start_worker(settings, broker, client, database, clock or Clock(), indexes=polled)
        try:
            yield worker
        finally:
            worker.stop(timeout=10_000)
            broker.client.close()


@contextmanager
def open_recorder(
    settings: Settings, clock: ManualClock, ahead: float = 0, timeouts: Timeouts = DEFAULT_TIMEOUTS
) -> Iterator[tuple[Poller, Repairer]]:
    """What polls and repairs two indexes of an exchange that is *ahead* of *clock*, in seconds."""
    options = Options(seed=SEED, clock=clock.microseconds, clock_offset=ahead)
    with (
        running_simulator(options) as exchange,
        DeribitClient(exchange.url) as client,
        Database(settings.database_dsn, 4, timeouts) as connections,
    ):
        poller = Poller(client, connections, clock)
        yield poller, Repairer(("btc_usd", "eth_usd"), client, connections)


def send_tick(settings: Settings, at: datetime) -> None:
    """Send the tick of *at*, as the scheduler does."""
    broker = create_broker(settings)
    actor = declare_tick(broker, settings.tickers)
    actor.send_with_options(scheduled_at=str(at))
    broker.client.close()


def send_message(
    settings: Settings,
    actor: str,
    *args: object,
    queue: str = "default",
    sent_at: datetime | None = None,
    **options: object,
) -> None:
    """Send any message."""
    broker = create_broker(settings)
    message: dramatiq.Message[Any] = dramatiq.Message(queue, actor, args, {}, options)
    if sent_at is not None:
        message = message.copy(message_timestamp=int(sent_at.timestamp() * 1000))
    broker.enqueue(message)
    broker.client.close()


def is_idle(settings: Settings) -> bool:
    """Whether no message is queued, delayed or in work."""
    with redis.from_url(settings.broker_url) as client:
        keys = client.keys("dramatiq:*")
    return not [key for key in keys if b"heartbeats" not in key and b".XQ" not in key]
