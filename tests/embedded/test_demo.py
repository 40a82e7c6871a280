"""End to end as a user does it: one command, and a price passes from the exchange to the API."""

import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from tests.support.recipes import RunningRecipe, run_recipe, start_recipe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(open_tmp: Path) -> Iterator[RunningRecipe]:
    """`ops/just demo` with a first price; the simulator is never behind a proxy."""
    proxies = {"http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "socks5h://127.0.0.1:9"}
    with start_recipe("demo", open_tmp / "demo-home", **proxies) as demo:
        demo.wait_until(lambda: demo.responds("/prices/last?ticker=eth_usd"))
        yield demo


def run_sql(demo: RunningRecipe, query: str) -> str:
    done = demo.just("psql", "-AtXc", query)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def fetch_true_price(demo: RunningRecipe, ticker: str, moment: str) -> str:
    admin = f"http://127.0.0.1:{demo.env['SIMULATOR_PORT']}/admin/truth"
    second = int(datetime.fromisoformat(moment).timestamp())
    return httpx.get(admin, params={"index": ticker, "second": str(second)}).json()["price"]


@pytest.mark.parametrize("ticker", ["btc_usd", "eth_usd"])
def test_price_is_that_of_the_simulator(demo: RunningRecipe, ticker: str) -> None:
    last: dict[str, str] = {}

    def is_polled() -> bool:
        """At first the minute may have a chart's average."""
        nonlocal last
        last = demo.api.get(f"/prices/last?ticker={ticker}&include=source").json()
        return last.get("source") == "poll"

    demo.wait_until(is_polled)
    minute = last["created_at"]
    query = f"SELECT observed_at FROM prices WHERE ticker = '{ticker}' AND created_at = '{minute}'"
    observed_at = run_sql(demo, query)
    assert last["price"] == fetch_true_price(demo, ticker, observed_at)
    elapsed = datetime.fromisoformat(observed_at) - datetime.fromisoformat(minute)
    assert 0 <= elapsed.total_seconds() < 60


def test_demo_is_ready_and_logs_its_addresses(demo: RunningRecipe) -> None:
    assert demo.api.get("/health/ready").json()["status"] == "ready"
    output = demo.output()
    assert f"http://127.0.0.1:{demo.env['WEB_PORT']}/v1/prices?ticker=btc_usd" in output
    names = {line.split("|")[0].split()[-1] for line in output.splitlines()}
    assert {"tracker", "postgres", "redis", "migrate", "simulator", "web", "worker"} <= names


def test_demo_has_a_separate_database(demo: RunningRecipe) -> None:
    assert run_sql(demo, "SELECT current_database()") == "tracker_demo"
    assert "dbname=tracker_demo" in demo.just("dsn").stdout


@pytest.mark.parametrize("name", ["web", "worker", "scheduler", "simulate"])
def test_killed_process_is_restarted(demo: RunningRecipe, name: str) -> None:
    killed = demo.pid(name)
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    demo.wait_until(lambda: demo.pid(name) not in {killed, None})
    assert f"{name.replace('late', 'lator')} was killed by SIGKILL" in demo.output()


def test_stopped_processes_are_restarted(demo: RunningRecipe) -> None:
    """SIGSTOP stands for any hang; it takes eight seconds, therefore all are stopped at once."""
    names = ("web", "worker", "scheduler", "simulate")
    demo.wait_until(lambda: all(map(demo.pid, names)) and demo.responds("/health/live"))
    stopped = {name: demo.pid(name) for name in names}
    for pid in stopped.values():
        os.kill(pid or 0, signal.SIGSTOP)

    for name, pid in stopped.items():
        demo.wait_until(lambda name=name, pid=pid: demo.pid(name) not in {pid, None})
        assert f"{name.replace('late', 'lator')} sends no heartbeat, and is T (s" in demo.output()
    demo.wait_until(lambda: demo.responds("/health/live"))


@pytest.mark.parametrize("name", ["web", "worker", "scheduler", "simulate"])
def test_process_does_not_run_as_root(demo: RunningRecipe, name: str) -> None:
    demo.wait_until(lambda: demo.pid(name))

    status = Path(f"/proc/{demo.pid(name)}/status").read_text()

    uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
    owner = str((Path(demo.env["TRACKER_HOME"]) / "demo").stat().st_uid)
    assert set(uids) == {owner}
    assert owner != "0"


def test_killed_worker_and_scheduler_store_the_minute_once(demo: RunningRecipe) -> None:
    run_sql(demo, "DELETE FROM prices")
    for name in ("worker", "scheduler"):
        demo.wait_until(lambda name=name: demo.pid(name))
        os.kill(demo.pid(name) or 0, signal.SIGKILL)
    demo.wait_until(lambda: demo.responds("/prices/last?ticker=btc_usd"))
    demo.wait_until(lambda: demo.responds("/prices/last?ticker=eth_usd"))
    query = "SELECT count(*) = count(DISTINCT (ticker, created_at)) FROM prices"
    assert run_sql(demo, query) == "t"


def test_second_demo_names_the_running_one(demo: RunningRecipe) -> None:
    second = run_recipe("demo", env=demo.env)
    assert second.returncode == 1
    assert second.stderr.startswith("tracker: a tracker already runs in ")
    assert f"(pid {demo.process.pid})" in second.stderr


def test_used_port_names_its_variable(demo: RunningRecipe, open_tmp: Path) -> None:
    env = {**demo.env, "TRACKER_HOME": str(open_tmp / "second-home")}
    second = run_recipe("demo", env=env)
    assert second.returncode == 1
    assert second.stderr.startswith("tracker: WEB_PORT: ")
    assert not (open_tmp / "second-home/demo/postgres-17").exists()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_the_demo_within_15_seconds(open_tmp: Path, signum: signal.Signals) -> None:
    with start_recipe("demo", open_tmp / "stopped-home") as demo:
        demo.wait_until(lambda: demo.pid("scheduler"))
        started_at = time.monotonic()
        assert demo.stop(signum) == 0
        assert time.monotonic() - started_at < 15


def test_up_reports_an_unreachable_exchange(open_tmp: Path) -> None:
    """Here in JSON, an object a line of whichever process."""
    url = "http://127.0.0.1:9/api/v2"
    with start_recipe("up", open_tmp / "up-home", CLIENT_BASE_URL=url, LOG_FORMAT="json") as up:
        up.wait_until(lambda: f"cannot reach the exchange at {url}" in up.output())
        line = next(line for line in up.output().splitlines() if "cannot reach" in line)
        assert "ops/just demo" in line
        up.wait_until(lambda: up.responds("/health/ready", 503))
        up.wait_until(lambda: up.responds("/prices/last?ticker=btc_usd", 404))
        records = [json.loads(line) for line in up.output().splitlines()]
        assert {"tracker", "postgres", "migrate", "web"} <= {line["process"] for line in records}
        assert {line["time"][-6:] for line in records} == {"+00:00"}
