"""A worker in this process, real queue and database; and what it left in the tables."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import dramatiq
import httpx
import psycopg
import redis

from tracker import actors, worker
from tracker.deribit import Client
from tracker.polling import Poller
from tracker.repair import Repairer
from tracker.settings import Settings
from tracker.simulator import Served
from tracker.times import minute_of


@contextmanager
def working(settings: Settings) -> Iterator[dramatiq.Worker]:
    """A running worker."""
    with Client(settings.client_base_url) as client:
        database = worker.create_database(settings)
        poller = Poller(settings, client, database)
        repairer = Repairer(settings, client, database)
        running = worker.start(settings, database, poller, repairer)
        try:
            yield running
        finally:
            running.stop(timeout=10_000)
            running.broker.client.close()  # type: ignore[attr-defined]


def tick(settings: Settings, at: datetime) -> None:
    """Send a tick, as the scheduler does."""
    broker = actors.create_broker(settings)
    actor = actors.declare_tick(broker, settings.tickers)
    actor.send_with_options(scheduled_at=str(at))
    broker.client.close()


def send(settings: Settings, actor: str, *args: object, queue: str = "default") -> None:
    """Send any message."""
    broker = actors.create_broker(settings)
    message: dramatiq.Message[Any] = dramatiq.Message(queue, actor, args, {}, {})
    broker.enqueue(message)
    broker.client.close()


def idle(settings: Settings) -> bool:
    """Whether nothing is queued, delayed or in flight."""
    with redis.from_url(settings.broker_url) as client:
        return not [key for key in client.keys("dramatiq:*") if b"heartbeats" not in key
                    and b".XQ" not in key]  # fmt: skip


def this_minute(spare: int = 8) -> datetime:
    """The present minute, or the next one if fewer than *spare* seconds are left of it."""
    now = datetime.now(UTC)
    if now.second >= 60 - spare:
        time.sleep(60.1 - now.second)
    return minute_of(datetime.now(UTC))


def wait_for(true: Callable[[], object], seconds: float = 30) -> None:
    """Look again and again."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def order(exchange: Served, kind: str, **fields: object) -> None:
    """Put a fault in force."""
    url = f"{exchange.admin_url}/faults"
    httpx.post(url, json={"kind": kind, **fields}).raise_for_status()


def asked(exchange: Served, method: str = "get_index_price") -> int:
    """Calls of *method* so far, for whatever index."""
    counts = httpx.get(f"{exchange.admin_url}/counts").json()["asked"]
    return sum(counts.get(method, {}).values())


def truth(exchange: Served, ticker: str, at: datetime) -> str:
    """What the stand-in says of that moment."""
    params = {"index": ticker, "at": at.isoformat()}
    return str(httpx.get(f"{exchange.admin_url}/truth", params=params).json()["price"])


def login(settings: Settings, role: str) -> psycopg.Connection:
    """A connection to that database as *role*, each statement committed."""
    dsn = settings.changed(postgres_user=role).database_dsn
    return psycopg.connect(dsn, autocommit=True)


def rows(conn: psycopg.Connection) -> list[tuple[str, datetime]]:
    """What was polled, and stored under which minute."""
    query = (
        "SELECT ticker, created_at FROM prices WHERE source = 'poll' ORDER BY created_at, ticker"
    )
    return [(ticker, minute) for ticker, minute in conn.execute(query)]


def misses(conn: psycopg.Connection) -> list[tuple[str, datetime, str]]:
    """Which minutes were given up, and why."""
    query = "SELECT ticker, minute, reason FROM misses ORDER BY minute, ticker"
    return [(ticker, minute, reason) for ticker, minute, reason in conn.execute(query)]


def assert_true(conn: psycopg.Connection, exchange: Served) -> None:
    """Every polled row is what the stand-in said, of a moment in that row's minute."""
    query = "SELECT ticker, price, created_at, observed_at FROM prices WHERE source = 'poll'"
    for ticker, price, minute, observed_at in conn.execute(query):
        assert minute_of(observed_at) == minute
        assert f"{price:f}" == truth(exchange, ticker, observed_at)
