"""The worker's metrics tell what happened, and Prometheus can read them."""

import os
import subprocess
import sys
import time

import httpx
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from ops.bench.processes import free_ports
from tests.support.working import order, this_minute, tick, wait_for
from tracker.settings import Settings
from tracker.simulator import serve

pytestmark = pytest.mark.slow


def measured(port: int) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels; none while nobody answers."""
    try:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    except httpx.TransportError:
        return {}
    samples = (s for family in text_string_to_metric_families(text) for s in family.samples)
    return {
        (sample.name, *dict(sorted(sample.labels.items())).values()): sample.value
        for sample in samples
    }


def test_a_tick_is_told(database: Settings) -> None:
    """One index stored, one refused: polls, retries, lateness, repair and the scheduler's tick."""
    [port] = free_ports(1)
    with redis.from_url(database.broker_url) as queue:
        queue.flushdb()
    with serve() as exchange:
        order(exchange, "error", code=-32602, index="eth_usd", method="get_index_price")
        settings = database.changed(client_base_url=exchange.url, worker_metrics_port=port)
        worker = subprocess.Popen(
            [sys.executable, "-m", "tracker", "worker"],
            env={**os.environ, **settings.environment()},
        )
        try:
            wait_for(lambda: measured(port))
            tick(settings, this_minute(spare=10))
            wait_for(lambda: measured(port).get(("tracker_polls_total", "stored", "btc_usd")))
            wait_for(lambda: measured(port).get(("tracker_polls_total", "refused", "eth_usd")))
            wait_for(lambda: measured(port).get(("tracker_repaired_minutes_total", "eth_usd")))
            found = measured(port)
        finally:
            worker.terminate()
            assert worker.wait(30) == 0
    assert found["tracker_repaired_minutes_total", "btc_usd"] == 59
    assert found["tracker_open_holes", "btc_usd"] == 0
    assert found["tracker_poll_lateness_seconds_count",] == 1
    assert found["tracker_retries_total",] == 0
    assert abs(found["tracker_last_tick_timestamp_seconds",] - time.time()) < 60
