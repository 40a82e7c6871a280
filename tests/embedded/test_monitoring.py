"""The real Prometheus with the demo: its rules and panels have data, and an outage raises alerts.

Its configuration is a copy of the shipped one; see `write_test_config`.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from ops.bench.processes import free_ports
from tests.support.dashboards import GRAFANA, Query, expanded_promql, queries
from tests.support.database import make_settings
from tests.support.prometheus import OPS, Prometheus, run_prometheus
from tests.support.recipes import RunningRecipe, start_recipe
from tests.support.waiting import current_minute
from tests.support.worker import send_tick
from tracker.settings import Settings

pytestmark = pytest.mark.slow

PANELS = queries("prometheus", "expr")
JOBS = {"web", "worker", "postgres", "redis", "host", "prometheus"}
METRIC = re.compile(r"\b(?:tracker|pg|redis|node|process)_[a-z0-9_]+\b|\bup\b")
TICKERS = {"btc_usd", "eth_usd"}
# The state after an outage of three minutes, without waiting for it.
DELETE_RECENT = "DELETE FROM prices WHERE created_at BETWEEN now() - INTERVAL '5 minutes' AND now()"


@dataclass(frozen=True)
class MonitoredDemo:
    """The demo and its Prometheus."""

    demo: RunningRecipe
    prometheus: Prometheus
    settings: Settings

    def send_tick(self) -> None:
        """Send a tick for the current minute."""
        send_tick(self.settings, current_minute())

    def faults(self, method: str, **fields: str) -> None:
        """Give the simulator a fault, or clear all."""
        url = f"http://127.0.0.1:{self.demo.env['SIMULATOR_PORT']}/admin/faults"
        httpx.request(method, url, json=fields or None).raise_for_status()

    def psql(self, *words: str) -> None:
        """Run psql on the demo's database."""
        done = self.demo.just("psql", "--no-psqlrc", "--quiet", *words)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def monitored(open_tmp: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MonitoredDemo]:
    """`ops/just demo` with prices, monitored."""
    [port] = free_ports(1)
    home = open_tmp / "watched-home"
    folder = tmp_path_factory.mktemp("watching")
    for role in ("grafana", "exporter"):
        (folder / f"{role}_db_password").write_text(role)
    with start_recipe("demo", home, WORKER_METRICS_PORT=str(port)) as demo:
        demo.wait_until(lambda: demo.responds("/prices/last?ticker=eth_usd"))
        settings = make_settings(home / "demo", postgres_db="tracker_demo")
        with run_prometheus(demo, folder, port) as prometheus:
            monitored = MonitoredDemo(demo, prometheus, settings)
            monitored.psql(f"--set=secrets={folder}", f"--file={GRAFANA}/roles.sql")
            yield monitored


@pytest.fixture(scope="module")
def polled(monitored: MonitoredDemo) -> MonitoredDemo:
    """The same after Prometheus has scraped the worker before and after a poll."""
    monitored.demo.wait_until(lambda: monitored.prometheus.values("tracker_retries_total"))
    monitored.send_tick()
    return monitored


def used_metrics() -> set[str]:
    """Every metric in a rule or a panel."""
    groups = yaml.safe_load((OPS / "prometheus/rules.yml").read_text())["groups"]
    rules = [rule["expr"] for group in groups for rule in group["rules"]]
    return {
        name for text in (*rules, *(each.text for each in PANELS)) for name in METRIC.findall(text)
    }


def test_every_job_is_up(monitored: MonitoredDemo) -> None:
    monitored.demo.wait_until(lambda: monitored.prometheus.values("up") == [1.0] * len(JOBS))
    found = monitored.prometheus.query_api("/query", query="up")["result"]
    assert {series["metric"]["job"] for series in found} == JOBS


def test_every_used_metric_is_exported(monitored: MonitoredDemo) -> None:
    def missing() -> set[str]:
        return used_metrics() - set(monitored.prometheus.query_api("/label/__name__/values") or ())

    assert len(used_metrics()) > 25
    monitored.demo.wait_until(lambda: not missing())


def test_rules_are_healthy_and_silent_while_prices_arrive(monitored: MonitoredDemo) -> None:
    monitored.demo.wait_until(lambda: monitored.prometheus.query_api("/rules"))
    groups = monitored.prometheus.query_api("/rules")["groups"]
    monitored.demo.wait_until(lambda: monitored.prometheus.values("tracker_price_age_seconds"))
    assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}
    assert monitored.prometheus.firing("PriceStale") == set()


@pytest.mark.parametrize("query", PANELS, ids=str)
def test_panel_expression_has_a_finite_value(polled: MonitoredDemo, query: Query) -> None:
    expression = expanded_promql(query.text)

    def has_value() -> bool:
        polled.demo.responds("/prices?ticker=btc_usd")
        return any(map(math.isfinite, polled.prometheus.values(expression)))

    polled.demo.wait_until(has_value)


def test_stale_price_alert_fires_in_an_outage_and_ends(monitored: MonitoredDemo) -> None:
    [before] = monitored.prometheus.values("tracker_retries_total")
    monitored.faults("POST", kind="maintenance")
    monitored.psql("--command", DELETE_RECENT)
    monitored.send_tick()
    monitored.demo.wait_until(lambda: monitored.prometheus.firing("PriceStale") == TICKERS)
    monitored.demo.wait_until(
        lambda: monitored.prometheus.values("tracker_retries_total") > [before]
    )
    assert monitored.prometheus.firing("PriceStale") == TICKERS
    assert monitored.demo.responds("/health/ready", 503)

    monitored.faults("DELETE")
    monitored.send_tick()
    monitored.demo.wait_until(lambda: not monitored.prometheus.firing("PriceStale"))
    monitored.demo.wait_until(lambda: monitored.demo.responds("/health/ready"))
