"""The worker's metrics: its queue, its polls and failures, and how Prometheus reads them."""

import subprocess
import sys
import time

import dramatiq
import pytest
import redis
from prometheus_client import REGISTRY

from ops.bench.processes import free_ports
from tests.support.api import read_metrics
from tests.support.clock import ManualClock
from tests.support.exchange import inject_fault
from tests.support.waiting import current_minute, wait_until
from tests.support.worker import (
    is_idle,
    running_worker,
    send_message,
    send_tick,
)
from tracker import errors
from tracker.database import Database
from tracker.recorder import metrics
from tracker.recorder.broker import QueueMetrics, create_broker
from tracker.recorder.deribit import DeribitClient
from tracker.recorder.repair import Repairer
from tracker.settings import Settings
from tracker.simulator import Simulator, running_simulator


def read_sample(name: str, **labels: str) -> float | None:
    """The value of a metric in this process; None without such a sample."""
    return REGISTRY.get_sample_value(name, labels)


def test_rejected_message_is_counted(tracked: Settings, clock: ManualClock) -> None:
    """A message that fails for good; the queue is empty afterwards."""
    before = read_sample("tracker_messages_rejected_total") or 0
    with running_worker(tracked, clock):
        send_message(tracked, "poll", "btc_usd", "no time")
        wait_until(lambda: read_sample("tracker_messages_rejected_total") == before + 1)
        wait_until(lambda: read_sample("tracker_queue_messages", queue="default") == 0)
        assert read_sample("tracker_queue_up") == 1


def test_waiting_messages_are_counted_by_queue(tracked: Settings) -> None:
    """Delayed ones too."""
    for _ in range(3):
        send_message(tracked, "poll", "btc_usd", "later")
    send_message(tracked, "repair", "later", queue="later")
    broker = create_broker(tracked)
    for name in ("default", "later"):
        broker.declare_queue(name)
    broker.enqueue(dramatiq.Message("later", "store", (), {}, {}), delay=60_000)

    _, messages = QueueMetrics(broker).collect()
    lengths = {sample.labels["queue"]: sample.value for sample in messages.samples}
    assert lengths == {"default": 3, "later": 2}
    broker.client.flushdb()
    assert is_idle(tracked)
    broker.client.close()


def test_scrape_succeeds_without_redis(tracked: Settings) -> None:
    """It reports that the queue is down, and no lengths."""
    broker = create_broker(tracked.changed(redis_host="127.0.0.1", redis_port=9))
    broker.declare_queue("default")

    up, messages = QueueMetrics(broker).collect()
    assert [(sample.name, sample.value) for sample in up.samples] == [("tracker_queue_up", 0)]
    assert messages.samples == []
    broker.client.close()


def test_failed_chart_is_counted(
    tracked: Settings, exchange: Simulator, clock: ManualClock
) -> None:
    """Once an index, and its minutes stay missing."""
    failures = "tracker_repair_failures_total"
    metrics.initialize(tracked.tickers)
    before = {ticker: read_sample(failures, ticker=ticker) or 0 for ticker in tracked.tickers}
    inject_fault(exchange, "maintenance")
    with DeribitClient(exchange.url) as client, Database(tracked.database_dsn, 2) as database:
        assert Repairer(tracked.tickers, client, database).repair(clock.moment) == 0

    for ticker in tracked.tickers:
        assert read_sample(failures, ticker=ticker) == before[ticker] + 1
        assert read_sample("tracker_open_holes", ticker=ticker) == 59


def test_counters_of_an_index_start_at_zero() -> None:
    """rate() does not see the first step of a counter that appears with it."""
    metrics.initialize(["new_usd"])

    kinds = (errors.ExchangeError, *errors.ExchangeError.__subclasses__())
    assert {kind.reason for kind in kinds} | {"stored", "present"} == set(metrics.OUTCOMES)
    for outcome in metrics.OUTCOMES:
        assert read_sample("tracker_polls_total", ticker="new_usd", outcome=outcome) == 0
    for name in ("tracker_repaired_minutes_total", "tracker_repair_failures_total"):
        assert read_sample(name, ticker="new_usd") == 0


@pytest.mark.slow
def test_worker_process_exports_metrics_of_a_tick(database: Settings) -> None:
    """One index stored, one refused: polls, retries, lateness, repair and the scheduler's tick."""
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}/metrics"
    with redis.from_url(database.broker_url) as queue:
        queue.flushdb()
    with running_simulator() as exchange:
        inject_fault(exchange, "error", code=-32602, index="eth_usd", method="get_index_price")
        settings = database.changed(client_base_url=exchange.url, worker_metrics_port=port)
        command = [sys.executable, "-m", "tracker", "worker"]
        worker = subprocess.Popen(command, env=settings.environment())
        try:
            wait_until(lambda: read_metrics(url))
            send_tick(settings, current_minute(spare=10))
            wait_until(lambda: read_metrics(url).get(("tracker_polls_total", "stored", "btc_usd")))
            wait_until(lambda: read_metrics(url).get(("tracker_polls_total", "refused", "eth_usd")))
            wait_until(lambda: read_metrics(url).get(("tracker_repaired_minutes_total", "eth_usd")))
            samples = read_metrics(url)
        finally:
            worker.terminate()
            assert worker.wait(30) == 0
    assert samples["tracker_repaired_minutes_total", "btc_usd"] == 59
    assert samples["tracker_open_holes", "btc_usd"] == 0
    assert samples["tracker_poll_lateness_seconds_count",] == 1
    assert samples["tracker_retries_total",] == 0
    assert abs(samples["tracker_last_tick_timestamp_seconds",] - time.time()) < 60
