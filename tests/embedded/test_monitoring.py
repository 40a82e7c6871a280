"""The real Prometheus over the demo: what rules and dashboards name is there, and an outage shows.

Its configuration is a copy of the shipped one with other targets, an interval of a second, and
rules that wait for nothing; see `shipped`.
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
from tests.support.running import Running, running
from tests.support.servers import make_settings
from tests.support.watching import OPS, Watch, watched
from tests.support.working import this_minute, tick
from tracker.settings import Settings

pytestmark = pytest.mark.slow

PANELS = queries("prometheus", "expr")
JOBS = {"web", "worker", "postgres", "redis", "host", "prometheus"}
METRIC = re.compile(r"\b(?:tracker|pg|redis|node|process)_[a-z0-9_]+\b|\bup\b")
TICKERS = {"btc_usd", "eth_usd"}
# All that three minutes without the exchange would leave, without the three minutes.
AGE = "DELETE FROM prices WHERE created_at > now() - INTERVAL '5 minutes' AND created_at <= now()"


@dataclass(frozen=True)
class Watched:
    """The demo, and who watches it."""

    demo: Running
    watch: Watch
    settings: Settings

    def tick(self) -> None:
        """Send a tick by hand: the minute's prices are asked for once more."""
        tick(self.settings, this_minute())

    def faults(self, method: str, **fields: str) -> None:
        """Give the simulator a fault, or take all from it."""
        url = f"http://127.0.0.1:{self.demo.env['SIMULATOR_PORT']}/admin/faults"
        httpx.request(method, url, json=fields or None).raise_for_status()

    def sql(self, *words: str) -> None:
        """Run psql on the demo's database."""
        done = self.demo.just("psql", "--no-psqlrc", "--quiet", *words)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def stack(open_tmp: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """`ops/just demo` with prices, watched."""
    [port] = free_ports(1)
    home = open_tmp / "watched-home"
    folder = tmp_path_factory.mktemp("watching")
    for role in ("grafana", "exporter"):
        (folder / f"{role}_db_password").write_text(role)
    with running("demo", home, WORKER_METRICS_PORT=str(port)) as demo:
        demo.wait_for(lambda: demo.asks("/prices/last?ticker=eth_usd"))
        settings = make_settings(home / "demo", postgres_db="tracker_demo")
        with watched(demo, folder, port) as watch:
            stack = Watched(demo, watch, settings)
            stack.sql(f"--set=secrets={folder}", f"--file={GRAFANA}/roles.sql")
            yield stack


@pytest.fixture(scope="module")
def polled(stack: Watched) -> Watched:
    """The same, when Prometheus has seen the worker before and after a poll."""
    stack.demo.wait_for(lambda: stack.watch.values("tracker_retries_total"))
    stack.tick()
    return stack


def named() -> set[str]:
    """Every metric that a rule or a panel names."""
    groups = yaml.safe_load((OPS / "prometheus/rules.yml").read_text())["groups"]
    rules = [rule["expr"] for group in groups for rule in group["rules"]]
    return {
        name for text in (*rules, *(each.text for each in PANELS)) for name in METRIC.findall(text)
    }


def test_every_job_answers(stack: Watched) -> None:
    """Each of the shipped configuration, once."""
    stack.demo.wait_for(lambda: stack.watch.values("up") == [1.0] * len(JOBS))
    found = stack.watch.asked("/query", query="up")["result"]
    assert {series["metric"]["job"] for series in found} == JOBS


def test_every_metric_that_is_named_arrives(stack: Watched) -> None:
    """A rule or a panel over a metric that nobody sends would be silent for ever."""

    def lacking() -> set[str]:
        return named() - set(stack.watch.asked("/label/__name__/values") or ())

    assert len(named()) > 25
    stack.demo.wait_for(lambda: not lacking())


def test_rules_are_evaluated(stack: Watched) -> None:
    """By this Prometheus too, each without an error; with prices flowing no price alert fires."""
    stack.demo.wait_for(lambda: stack.watch.asked("/rules"))
    found = [rule for group in stack.watch.asked("/rules")["groups"] for rule in group["rules"]]
    stack.demo.wait_for(lambda: stack.watch.values("tracker_price_age_seconds"))
    assert {rule["health"] for rule in found} <= {"ok", "unknown"}
    assert stack.watch.firing("PriceStale") == set()


@pytest.mark.parametrize("query", PANELS, ids=str)
def test_no_panel_is_empty(polled: Watched, query: Query) -> None:
    """Every expression has an answer that can be drawn; those that count failures say 0."""

    def shows() -> bool:
        polled.demo.asks("/prices?ticker=btc_usd")
        return any(map(math.isfinite, polled.watch.values(expanded_promql(query.text))))

    polled.demo.wait_for(shows)


def test_staleness_fires_when_the_exchange_is_away_and_ends(stack: Watched) -> None:
    """For both indexes; when the exchange is back, the holes fill and it ends."""
    [before] = stack.watch.values("tracker_retries_total")
    stack.faults("POST", kind="maintenance")
    stack.sql("--command", AGE)
    stack.tick()
    stack.demo.wait_for(lambda: stack.watch.firing("PriceStale") == TICKERS)
    stack.demo.wait_for(lambda: stack.watch.values("tracker_retries_total") > [before])
    assert stack.watch.firing("PriceStale") == TICKERS
    assert stack.demo.asks("/health/ready", 503)

    stack.faults("DELETE")
    stack.tick()
    stack.demo.wait_for(lambda: not stack.watch.firing("PriceStale"))
    stack.demo.wait_for(lambda: stack.demo.asks("/health/ready"))
