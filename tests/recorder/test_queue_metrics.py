"""What the worker tells Prometheus of its queue, and of what went wrong."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dramatiq
import pytest
import redis
from prometheus_client import REGISTRY

from tests.support.working import idle, order, send, wait_for, working
from tracker import errors
from tracker.database import Database
from tracker.recorder import metrics
from tracker.recorder.broker import QueueMetrics, create_broker
from tracker.recorder.deribit import DeribitClient
from tracker.recorder.repair import Repairer
from tracker.settings import Settings
from tracker.simulator import Served, serve


@pytest.fixture
def exchange() -> Iterator[Served]:
    with serve() as exchange:
        yield exchange


@pytest.fixture
def queue(database: Settings) -> Settings:
    """An empty queue, beside an empty database."""
    with redis.from_url(database.broker_url) as client:
        client.flushdb()
    return database


def told(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def test_a_message_that_fails_is_counted(queue: Settings, exchange: Served) -> None:
    """One that can never succeed is rejected; Prometheus learns of it, and the rest goes on."""
    before = told("tracker_messages_rejected_total") or 0
    with working(queue.changed(client_base_url=exchange.url)):
        send(queue, "poll", "btc_usd", "no time")
        wait_for(lambda: told("tracker_messages_rejected_total") == before + 1)
        wait_for(lambda: told("tracker_queue_messages", queue="default") == 0)
        assert told("tracker_queue_up") == 1


def test_a_message_that_is_none_is_counted(queue: Settings, exchange: Served) -> None:
    """It cannot be read, so no actor could fail with it."""
    before = told("tracker_messages_rejected_total") or 0
    with redis.from_url(queue.broker_url) as client:
        client.hset("dramatiq:default.msgs", "broken", "{")
        client.rpush("dramatiq:default", "broken")
        with working(queue.changed(client_base_url=exchange.url)):
            wait_for(lambda: told("tracker_messages_rejected_total") == before + 1)
        client.flushdb()


def test_waiting_messages_are_counted(queue: Settings) -> None:
    """Each queue, with what a retry put off."""
    for _ in range(3):
        send(queue, "poll", "btc_usd", "later")
    send(queue, "repair", "later", queue="later")
    broker = create_broker(queue)
    for name in ("default", "later"):
        broker.declare_queue(name)
    broker.enqueue(dramatiq.Message("later", "store", (), {}, {}), delay=60_000)

    _, messages = QueueMetrics(broker).collect()
    lengths = {sample.labels["queue"]: sample.value for sample in messages.samples}
    assert lengths == {"default": 3, "later": 2}
    broker.client.flushdb()
    assert idle(queue)
    broker.client.close()


def test_redis_away_is_told(queue: Settings) -> None:
    """A scrape is answered all the same."""
    away = queue.changed(redis_host="127.0.0.1", redis_port=9)
    broker = create_broker(away)
    broker.declare_queue("default")

    up, messages = QueueMetrics(broker).collect()
    assert [(sample.name, sample.value) for sample in up.samples] == [("tracker_queue_up", 0)]
    assert messages.samples == []
    broker.client.close()


def test_a_chart_that_fails_is_counted(queue: Settings, exchange: Served) -> None:
    """Once for each index, and the holes stay open."""
    metrics.initialize(queue.tickers)
    before = {ticker: told("tracker_repair_failures_total", ticker=ticker) or 0
              for ticker in queue.tickers}  # fmt: skip
    order(exchange, "maintenance")
    with DeribitClient(exchange.url) as client, Database(queue.database_dsn, 2) as database:
        assert Repairer(queue.tickers, client, database).repair(datetime.now(UTC)) == 0

    for ticker in queue.tickers:
        assert told("tracker_repair_failures_total", ticker=ticker) == before[ticker] + 1
        assert told("tracker_open_holes", ticker=ticker) == 59


def test_every_outcome_begins_at_zero() -> None:
    """A counter that appears with its first step would hide that step from a rate."""
    metrics.initialize(["new_usd"])

    reasons = {
        kind.reason for kind in (errors.ExchangeError, *errors.ExchangeError.__subclasses__())
    }
    assert reasons | {"stored", "present"} == set(metrics.OUTCOMES)
    for outcome in metrics.OUTCOMES:
        assert told("tracker_polls_total", ticker="new_usd", outcome=outcome) == 0
    for name in ("tracker_repaired_minutes_total", "tracker_repair_failures_total"):
        assert told(name, ticker="new_usd") == 0
