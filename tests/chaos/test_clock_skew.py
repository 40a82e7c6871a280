"""The machine's clock ahead of the exchange's, and behind it: whole processes, natural ticks."""

import time
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
import redis

from ops.bench.processes import free_ports
from tests.recorder.test_worker_metrics import measured
from tests.support.chaos_processes import another
from tests.support.chaos_truth import average, rows
from tests.support.working import misses, truth, wait_for
from tracker.settings import Settings
from tracker.simulator import Served
from tracker.times import MINUTE, minute_of

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

PATIENCE = 90.0  # seconds; a natural tick is a minute away at most


@pytest.mark.parametrize(
    ("ahead", "side"), [(-5.0, "behind"), (5.0, "ahead of"), (90.0, "ahead of")]
)
def test_the_tick_decides(
    database: Settings, conn: psycopg.Connection, tmp_path: Path, ahead: float, side: str
) -> None:
    """Off by seconds, each minute has its own price; off by more, it has none, and a record of
    why. Either is measured, and warned about.
    """
    log = tmp_path / "worker.log"
    metrics, port = free_ports(2)
    exchange = Served("127.0.0.1", port)
    settings = database.changed(client_base_url=exchange.url, worker_metrics_port=metrics)
    with redis.from_url(settings.broker_url) as queue:
        queue.flushdb()
    with ExitStack() as running:
        offset = f"--clock-offset={ahead}"
        running.enter_context(another(settings, "simulate", f"--port={port}", offset))
        running.enter_context(another(settings, "worker", log=log))
        running.enter_context(another(settings, "scheduler"))
        minute = minute_of(datetime.now(UTC)) + MINUTE
        wait_for(lambda: len(decided(conn, minute)) == 2, PATIENCE)
        time.sleep(1)  # for the line behind it
        skew = measured(metrics)["tracker_clock_skew_seconds",]
        stored = [row for row in rows(conn) if row.minute <= minute]
        for row in stored:
            told = Decimal(truth(exchange, row.ticker, row.observed_at))
            assert row.price == (
                told if row.source == "poll" else average(row.ticker, row.minute, 6)
            )

    polled = [row for row in stored if row.source == "poll"]
    late = {reason for _, at, reason in misses(conn) if at == minute}
    assert abs(skew - ahead) < 2
    assert f"the exchange's clock is {abs(skew):.1f} s {side} ours" in log.read_text()
    assert late == ({"too_late"} if ahead > 60 else set())
    assert bool(polled) == (ahead < 60)
    assert all(-5 <= (row.observed_at - row.minute).total_seconds() < 60 for row in polled)


def decided(conn: psycopg.Connection, minute: datetime) -> set[str]:
    """Which indexes have a price of *minute*, or a record of why not."""
    polled = {row.ticker for row in rows(conn) if row.minute == minute}
    return polled | {ticker for ticker, at, _ in misses(conn) if at == minute}
