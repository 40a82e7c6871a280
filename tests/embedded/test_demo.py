"""End to end, as a user does it: one command, and a price comes from the exchange to the API."""

import os
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from tests.support.running import Running, just, running

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(open_tmp: Path) -> Iterator[Running]:
    """`ops/just demo`, with a first price."""
    with running("demo", open_tmp / "demo-home") as demo:
        demo.wait_for(lambda: demo.asks("/prices/last?ticker=eth_usd"))
        yield demo


def sql(demo: Running, query: str) -> str:
    done = demo.just("psql", "-AtXc", query)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def truth(demo: Running, ticker: str, moment: str) -> str:
    admin = f"http://127.0.0.1:{demo.env['SIMULATOR_PORT']}/admin/truth"
    second = int(datetime.fromisoformat(moment).timestamp())
    return httpx.get(admin, params={"index": ticker, "second": str(second)}).json()["price"]


@pytest.mark.parametrize("ticker", ["btc_usd", "eth_usd"])
def test_price_is_the_exchanges(demo: Running, ticker: str) -> None:
    """What /prices/last serves is what the simulator says was true in that minute."""
    last: dict[str, str] = {}

    def is_polled() -> bool:
        """Not so while a chart's average stands there, or a busy machine has no time."""
        nonlocal last
        last = demo.api.get(f"/prices/last?ticker={ticker}&include=source").json()
        return last.get("source") == "poll"

    demo.wait_for(is_polled)
    minute = last["created_at"]
    query = f"SELECT observed_at FROM prices WHERE ticker = '{ticker}' AND created_at = '{minute}'"
    observed_at = sql(demo, query)
    assert last["price"] == truth(demo, ticker, observed_at)
    elapsed = datetime.fromisoformat(observed_at) - datetime.fromisoformat(minute)
    assert 0 <= elapsed.total_seconds() < 60


def test_it_is_ready_and_says_where(demo: Running) -> None:
    """The log names the URLs, each line with the name of its process."""
    assert demo.api.get("/health/ready").json()["status"] == "ready"
    output = demo.output()
    assert f"http://127.0.0.1:{demo.env['WEB_PORT']}/v1/prices?ticker=btc_usd" in output
    names = {line.split("|")[0].split()[-1] for line in output.splitlines()}
    assert {"tracker", "postgres", "redis", "migrate", "simulator", "web", "worker"} <= names


def test_synthetic_prices_stay_apart(demo: Running) -> None:
    """The demo has a database of its own, and says so in its name."""
    assert sql(demo, "SELECT current_database()") == "tracker_demo"
    assert "dbname=tracker_demo" in demo.just("dsn").stdout


@pytest.mark.parametrize("name", ["web", "worker", "scheduler", "simulate"])
def test_killed_process_comes_back(demo: Running, name: str) -> None:
    """kill -9 of any process is mended, and prices go on."""
    killed = demo.pid(name)
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    demo.wait_for(lambda: demo.pid(name) not in {killed, None})
    assert f"{name.replace('late', 'lator')} was killed by SIGKILL" in demo.output()


def test_prices_go_on_after_a_kill(demo: Running) -> None:
    """Worker and scheduler killed together store the minute's price again, exactly once."""
    sql(demo, "DELETE FROM prices")
    for name in ("worker", "scheduler"):
        demo.wait_for(lambda name=name: demo.pid(name))
        os.kill(demo.pid(name) or 0, signal.SIGKILL)
    demo.wait_for(lambda: demo.asks("/prices/last?ticker=btc_usd"))
    demo.wait_for(lambda: demo.asks("/prices/last?ticker=eth_usd"))
    assert sql(demo, "SELECT count(*) = count(DISTINCT (ticker, created_at)) FROM prices") == "t"


def test_second_demo_says_who_runs(demo: Running) -> None:
    """One tracker a home."""
    second = just("demo", env=demo.env)
    assert second.returncode == 1
    assert f"(pid {demo.process.pid})" in second.stderr


def test_port_in_use_is_named(demo: Running, open_tmp: Path) -> None:
    """Another instance on the same port names the variable to change, and starts nothing."""
    env = {**demo.env, "TRACKER_HOME": str(open_tmp / "second-home")}
    second = just("demo", env=env)
    assert second.returncode == 1
    assert second.stderr.startswith("tracker: WEB_PORT: ")
    assert not (open_tmp / "second-home/demo/postgres-17").exists()


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_stop_is_clean(open_tmp: Path, sign: signal.Signals) -> None:
    """Ctrl-C or SIGTERM ends all of it within 15 s, with exit status 0."""
    with running("demo", open_tmp / "stopped-home") as demo:
        demo.wait_for(lambda: demo.pid("scheduler"))
        began = time.monotonic()
        assert demo.stop(sign) == 0
        assert time.monotonic() - began < 15


def test_up_says_that_the_exchange_is_away(open_tmp: Path) -> None:
    """Without internet: one plain line soon, the cause in it, and `demo` as the way out."""
    url = "http://127.0.0.1:9/api/v2"
    with running("up", open_tmp / "up-home", CLIENT_BASE_URL=url) as up:
        up.wait_for(lambda: f"cannot reach the exchange at {url}" in up.output())
        line = next(line for line in up.output().splitlines() if "cannot reach" in line)
        assert "ops/just demo" in line
        up.wait_for(lambda: up.asks("/health/ready", 503))
        up.wait_for(lambda: up.asks("/prices/last?ticker=btc_usd", 404))
