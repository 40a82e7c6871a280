"""A worker in this process, real queue and database; and what it left in the tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import dramatiq
import redis

from tests.support.database import login
from tests.support.database import read_misses as misses
from tests.support.database import read_polls as rows
from tests.support.exchange import assert_true_polls as assert_true
from tests.support.exchange import count_calls as asked
from tests.support.exchange import fetch_true_price as truth
from tests.support.exchange import inject_fault as order
from tests.support.waiting import current_minute as this_minute
from tests.support.waiting import wait_until as wait_for
from tracker.database import DEFAULT_TIMEOUTS, Database, Timeouts
from tracker.recorder.broker import ResilientBroker, create_broker, declare_tick
from tracker.recorder.deribit import DeribitClient
from tracker.recorder.worker import MAX_CONNECTIONS, start_worker
from tracker.settings import Settings
from tracker.times import Clock

__all__ = [
    "asked", "assert_true", "idle", "login", "misses", "order", "rows", "send", "this_minute",
    "tick", "truth", "wait_for", "working",
]  # fmt: skip


@contextmanager
def working(
    settings: Settings, timeouts: Timeouts = DEFAULT_TIMEOUTS, redis_timeout: float = 3.0
) -> Iterator[dramatiq.Worker]:
    """A running worker."""
    broker = create_broker(settings, ResilientBroker, redis_timeout)
    with (
        DeribitClient(settings.client_base_url) as client,
        Database(settings.database_dsn, MAX_CONNECTIONS, timeouts) as database,
    ):
        worker = start_worker(settings, broker, client, database, Clock())
        try:
            yield worker
        finally:
            worker.stop(timeout=10_000)
            broker.client.close()


def tick(settings: Settings, at: datetime) -> None:
    """Send a tick, as the scheduler does."""
    broker = create_broker(settings)
    actor = declare_tick(broker, settings.tickers)
    actor.send_with_options(scheduled_at=str(at))
    broker.client.close()


def send(settings: Settings, actor: str, *args: object, queue: str = "default") -> None:
    """Send any message."""
    broker = create_broker(settings)
    message: dramatiq.Message[Any] = dramatiq.Message(queue, actor, args, {}, {})
    broker.enqueue(message)
    broker.client.close()


def idle(settings: Settings) -> bool:
    """Whether nothing is queued, delayed or in flight."""
    with redis.from_url(settings.broker_url) as client:
        return not [key for key in client.keys("dramatiq:*") if b"heartbeats" not in key
                    and b".XQ" not in key]  # fmt: skip
