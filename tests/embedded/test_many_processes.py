"""Two webs behind nginx, three workers and two schedulers on one database and one queue."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
import redis

from ops.bench.processes import free_ports
from tests.support.api import fetch_status, linked_url
from tests.support.chaos.processes import run_process
from tests.support.chaos.truth import recorded_tickers
from tests.support.database import (
    insert_minutes,
    insert_prices,
    minutes_from,
    read_misses,
    read_polls,
)
from tests.support.exchange import assert_true_polls, count_calls, inject_fault
from tests.support.nginx import run_nginx
from tests.support.processes import pause_process
from tests.support.stream import open_stream
from tests.support.waiting import current_minute, wait_until
from tests.support.worker import is_idle, send_tick
from tracker.settings import Settings
from tracker.simulator import Options, Simulator, running_simulator
from tracker.times import MINUTE, minute_of

if TYPE_CHECKING:
    import subprocess

pytestmark = pytest.mark.slow

NGINX = """\
    upstream webs {{
        server 127.0.0.1:{one} max_fails=1 fail_timeout=1s;
        server 127.0.0.1:{two} max_fails=1 fail_timeout=1s;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://webs;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
"""
UNPOLLED = "sol_usd"  # has only the prices that tests insert


@dataclass
class Fleet:
    """All processes.

    proxy, webs: clients of the API, through nginx and direct.
    folder: of the logs.
    stack: ends the processes.
    """

    settings: Settings
    exchange: Simulator
    conn: psycopg.Connection
    proxy: httpx.Client
    webs: list[httpx.Client]
    folder: Path
    stack: ExitStack
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start one more process, such as web1 or worker3."""
        kind, number = name[:-1], int(name[-1])
        port = self.webs[number - 1].base_url.port if kind == "web" else None
        settings = self.settings.changed(web_port=port) if port else self.settings
        self.processes[name] = self.stack.enter_context(
            run_process(settings, kind, log=self.folder / name)
        )

    def is_polling(self, name: str) -> bool:
        """Whether that worker has started."""
        return "polling btc_usd" in (self.folder / name).read_text()

    def kill(self, name: str) -> None:
        """Kill it."""
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait()

    def pid(self, name: str) -> int:
        """Its process id."""
        return self.processes[name].pid


@contextmanager
def run_proxy(folder: Path, one: int, two: int) -> Iterator[httpx.Client]:
    """A client of a proxy before those ports."""
    (port,) = free_ports(1)
    http = NGINX.format(port=port, one=one, two=two)
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client,
        run_nginx(folder, http, client),
    ):
        yield client


@pytest.fixture(scope="module")
def fleet(base: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """All processes, with an empty queue and database at first."""
    with redis.from_url(base.broker_url) as client:
        client.flushall()
    ports = free_ports(2)
    with ExitStack() as stack:
        exchange = stack.enter_context(running_simulator(Options(seed=11)))
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        webs = [stack.enter_context(httpx.Client(base_url=url, timeout=20)) for url in urls]
        conn = stack.enter_context(psycopg.connect(base.database_dsn, autocommit=True))
        folder = tmp_path_factory.mktemp("many")
        old = minute_of(datetime.now(UTC)) - timedelta(days=90)
        insert_minutes(conn, [old], UNPOLLED, source="chart")
        proxy = stack.enter_context(run_proxy(folder, *ports))
        settings = base.changed(client_base_url=exchange.url, log_format="json")
        fleet = Fleet(settings, exchange, conn, proxy, webs, folder, stack)
        for name in ("web1", "web2", "worker1", "worker2", "worker3", "scheduler1", "scheduler2"):
            fleet.start(name)
        for web in webs:
            wait_until(lambda web=web: fetch_status(web, "/health/live") == 200)
        wait_until(lambda: all(fleet.is_polling(f"worker{number}") for number in (1, 2, 3)))
        yield fleet


def test_several_schedulers_store_a_minute_once(fleet: Fleet) -> None:
    minute = current_minute()
    wait_until(lambda: {"scheduler", "worker"} <= parts_up(fleet))
    for _ in range(3):
        send_tick(fleet.settings, minute)
    wait_until(lambda: len([row for row in read_polls(fleet.conn) if row[1] == minute]) == 2)
    wait_until(lambda: is_idle(fleet.settings))

    stored = read_polls(fleet.conn)
    assert len(stored) == len(set(stored))
    assert {(ticker, minute) for ticker in fleet.settings.tickers} <= set(stored)
    assert minute not in {missed for _, missed, _ in read_misses(fleet.conn)}
    assert_true_polls(fleet.conn, fleet.exchange)
    assert fleet.proxy.get("/health/ready").status_code == 200


def parts_up(fleet: Fleet) -> set[str]:
    """The parts that /health/state reports as up."""
    parts = fleet.proxy.get("/health/state").json()["parts"]
    return {part["name"] for part in parts if part["state"] == "up"}


def test_cursors_and_etags_are_valid_in_every_web(fleet: Fleet) -> None:
    first = minute_of(datetime.now(UTC)) - timedelta(days=30)
    series = {minute: f"{n}.00" for n, minute in enumerate(minutes_from(first, 120), 1)}
    insert_prices(fleet.conn, UNPOLLED, series, "chart")
    path = f"/v1/prices?ticker={UNPOLLED}&limit=10&order=asc&start_date={first:%Y-%m-%dT%H:%M:%SZ}"

    found: list[dict[str, Any]] = []
    url, page = path, 0
    while url:
        response = fleet.webs[page % 2].get(url)
        repeated = fleet.webs[(page + 1) % 2].get(
            url, headers={"If-None-Match": response.headers["etag"]}
        )
        assert (response.status_code, repeated.status_code) == (200, 304)
        found += response.json()
        url, page = linked_url(response), page + 1
        url = httpx.URL(url).raw_path.decode() if url else ""

    assert page == 12
    assert [row["price"] for row in found] == list(series.values())
    assert {fleet.proxy.get(path).text for _ in range(4)} == {fleet.webs[0].get(path).text}


def test_killed_web_is_replaced_by_the_other(fleet: Fleet) -> None:
    """The proxy uses the other web, where the stream resumes with everything it missed."""
    moment = minute_of(datetime.now(UTC)) - timedelta(days=60)
    with open_stream(fleet.proxy.base_url, UNPOLLED) as cut:
        insert_prices(fleet.conn, UNPOLLED, {moment: "1.00"}, "chart")
        assert cut.take(1)[0].data["price"] == "1.00"
        counts = [
            web.get("/metrics").text.count("tracker_stream_clients 1.0") for web in fleet.webs
        ]
        name = f"web{counts.index(1) + 1}"

        fleet.kill(name)
        insert_prices(fleet.conn, UNPOLLED, {moment + MINUTE: "2.00"}, "chart")
        assert list(cut.events()) == []
        page = f"/prices?ticker={UNPOLLED}"
        assert {fetch_status(fleet.proxy, page) for _ in range(20)} == {200}
        with open_stream(fleet.proxy.base_url, UNPOLLED, last_id=cut.id) as resumed:
            assert resumed.take(1)[0].data["price"] == "2.00"

        fleet.start(name)
        wait_until(lambda: [fetch_status(web, "/health/live") for web in fleet.webs] == [200, 200])


def test_polls_of_a_killed_worker_are_taken_over(fleet: Fleet) -> None:
    """Each ends as a price, or as a miss if its minute is over."""
    wait_until(lambda: is_idle(fleet.settings))
    with pause_process(fleet.pid("worker2")), pause_process(fleet.pid("worker3")):
        inject_fault(fleet.exchange, "timeout", method="get_index_price", calls=2)
        before, minute = count_calls(fleet.exchange), current_minute()
        fleet.conn.execute("DELETE FROM prices WHERE source = 'poll'")
        send_tick(fleet.settings, minute)
        wait_until(lambda: count_calls(fleet.exchange) >= before + 2)
        fleet.kill("worker1")
    wait_until(lambda: recorded_tickers(fleet.conn, minute) == set(fleet.settings.tickers))
    fleet.start("worker1")
    wait_until(lambda: fleet.is_polling("worker1"))
