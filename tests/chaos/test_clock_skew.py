"""A clock ahead of the exchange's, and behind it: whole processes and the scheduler's own ticks."""

import time
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
import redis

from ops.bench.processes import free_ports
from tests.support.api import read_metrics
from tests.support.chaos.processes import run_process
from tests.support.chaos.truth import chart_average, read_price_rows, recorded_tickers
from tests.support.database import read_misses
from tests.support.exchange import fetch_true_price
from tests.support.waiting import wait_until
from tracker.settings import Settings
from tracker.simulator import Simulator
from tracker.times import MINUTE, minute_of

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

TIMEOUT = 90.0  # seconds; a natural tick is a minute away at most


@pytest.mark.parametrize(
    ("ahead", "side"), [(-5.0, "behind"), (5.0, "ahead of"), (90.0, "ahead of")]
)
def test_clock_skew_decides_between_price_and_miss(
    database: Settings, conn: psycopg.Connection, tmp_path: Path, ahead: float, side: str
) -> None:
    """Off by seconds, each minute has its own price; off by more, it has a miss.

    The skew is measured and logged as a warning in both cases.
    """
    log = tmp_path / "worker.log"
    metrics, port = free_ports(2)
    exchange = Simulator("127.0.0.1", port)
    settings = database.changed(client_base_url=exchange.url, worker_metrics_port=metrics)
    with redis.from_url(settings.broker_url) as queue:
        queue.flushdb()
    with ExitStack() as running:
        offset = f"--clock-offset={ahead}"
        running.enter_context(run_process(settings, "simulate", f"--port={port}", offset))
        running.enter_context(run_process(settings, "worker", log=log))
        running.enter_context(run_process(settings, "scheduler"))
        minute = minute_of(datetime.now(UTC)) + MINUTE
        wait_until(lambda: len(recorded_tickers(conn, minute)) == 2, TIMEOUT)
        time.sleep(1)  # for the line behind it
        skew = read_metrics(f"http://127.0.0.1:{metrics}/metrics")["tracker_clock_skew_seconds",]
        stored = [row for row in read_price_rows(conn) if row.minute <= minute]
        for row in stored:
            price = Decimal(fetch_true_price(exchange, row.ticker, row.observed_at))
            assert row.price == (
                price if row.source == "poll" else chart_average(row.ticker, row.minute, 6)
            )

    polled = [row for row in stored if row.source == "poll"]
    late = {reason for _, at, reason in read_misses(conn) if at == minute}
    assert abs(skew - ahead) < 2
    assert f"the exchange's clock is {abs(skew):.1f} s {side} ours" in log.read_text()
    assert late == ({"too_late"} if ahead > 60 else set())
    assert bool(polled) == (ahead < 60)
    assert all(-5 <= (row.observed_at - row.minute).total_seconds() < 60 for row in polled)
