"""Two webs behind nginx, three workers and two schedulers, on one database and one queue."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import redis

from ops.bench.processes import free_ports
from tests.support.chaos_processes import another
from tests.support.debian import linked
from tests.support.processes import paused
from tests.support.serving import linked_url
from tests.support.streaming import following
from tests.support.working import (
    asked,
    assert_true,
    idle,
    misses,
    order,
    rows,
    this_minute,
    tick,
    wait_for,
)
from tracker.embedded.account import MINIMAL_ENVIRONMENT
from tracker.settings import Settings
from tracker.simulator import Options, Served, serve
from tracker.times import MINUTE, minute_of

pytestmark = pytest.mark.slow

NGINX = """\
daemon off;
master_process off;
pid {folder}/pid;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    scgi_temp_path {folder};
    uwsgi_temp_path {folder};
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
}}
"""
OTHER = "sol_usd"  # nobody polls it: what the tests store of it is all there is
INSERT = f"""
    INSERT INTO prices (ticker, price, created_at, source) VALUES ('{OTHER}', %s, %s, 'chart')
"""


@dataclass
class Fleet:
    """All of them.

    proxy, webs: clients of the API, by nginx and past it.
    folder: of their logs.
    stack: what ends them all.
    """

    settings: Settings
    exchange: Served
    conn: psycopg.Connection
    proxy: httpx.Client
    webs: list[httpx.Client]
    folder: Path
    stack: ExitStack
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """One more process: web1, worker3, say."""
        kind, number = name[:-1], int(name[-1])
        port = self.webs[number - 1].base_url.port if kind == "web" else None
        settings = self.settings.changed(web_port=port) if port else self.settings
        self.processes[name] = self.stack.enter_context(
            another(settings, kind, log=self.folder / name)
        )

    def works(self, name: str) -> bool:
        """Whether that worker has begun."""
        return "polling btc_usd" in (self.folder / name).read_text()

    def kill(self, name: str) -> None:
        """As a crash would."""
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait()

    def pid(self, name: str) -> int:
        """Its number."""
        return self.processes[name].pid


@contextmanager
def nginx(folder: Path, *webs: int) -> Iterator[httpx.Client]:
    """A client of a proxy before those ports."""
    (port,) = free_ports(1)
    facts = {"folder": folder, "port": port, "one": webs[0], "two": webs[1]}
    (folder / "nginx.conf").write_text(NGINX.format_map(facts))
    command = [
        *linked("nginx"),
        "-e",
        "stderr",
        "-p",
        str(folder),
        "-c",
        str(folder / "nginx.conf"),
    ]
    log = folder / "nginx.log"
    with (
        log.open("wb") as stream,
        subprocess.Popen(command, env=MINIMAL_ENVIRONMENT, stdout=stream, stderr=stream) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client,
    ):
        try:
            wait_for(lambda: answers(client) is not None)
            yield client
        finally:
            process.kill()


def answers(client: httpx.Client, path: str = "/health/live") -> int | None:
    """With which status; None if nobody listens."""
    try:
        return client.get(path).status_code
    except httpx.TransportError:
        return None


@pytest.fixture(scope="module")
def fleet(base: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """All of them, at work, with an empty queue and database at first."""
    with redis.from_url(base.broker_url) as client:
        client.flushall()
    ports = free_ports(2)
    with ExitStack() as stack:
        exchange = stack.enter_context(serve(Options(seed=11)))
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        webs = [stack.enter_context(httpx.Client(base_url=url, timeout=20)) for url in urls]
        conn = stack.enter_context(psycopg.connect(base.database_dsn, autocommit=True))
        folder = tmp_path_factory.mktemp("many")
        conn.execute(INSERT, ["1.00", minute_of(datetime.now(UTC)) - timedelta(days=90)])
        proxy = stack.enter_context(nginx(folder, *ports))
        settings = base.changed(client_base_url=exchange.url, log_format="json")
        fleet = Fleet(settings, exchange, conn, proxy, webs, folder, stack)
        for name in ("web1", "web2", "worker1", "worker2", "worker3", "scheduler1", "scheduler2"):
            fleet.start(name)
        for web in webs:
            wait_for(lambda web=web: answers(web) == 200)
        wait_for(lambda: all(fleet.works(f"worker{number}") for number in (1, 2, 3)))
        yield fleet


def test_each_minute_is_stored_once(fleet: Fleet) -> None:
    """Though both schedulers tick for it, and a hand does: a row of each index, and no miss."""
    minute = this_minute()
    wait_for(lambda: {"scheduler", "worker"} <= working(fleet))
    for _ in range(3):
        tick(fleet.settings, minute)
    wait_for(lambda: len([row for row in rows(fleet.conn) if row[1] == minute]) == 2)
    wait_for(lambda: idle(fleet.settings))

    stored = rows(fleet.conn)
    assert len(stored) == len(set(stored))
    assert {(ticker, minute) for ticker in fleet.settings.tickers} <= set(stored)
    assert minute not in {missed for _, missed, _ in misses(fleet.conn)}
    assert_true(fleet.conn, fleet.exchange)
    assert fleet.proxy.get("/health/ready").status_code == 200


def working(fleet: Fleet) -> set[str]:
    """The parts that are up, as the service says itself."""
    parts = fleet.proxy.get("/health/state").json()["parts"]
    return {part["name"] for part in parts if part["state"] == "up"}


def test_pages_go_on_from_web_to_web(fleet: Fleet) -> None:
    """A cursor of one is understood by the other, and so is an ETag; nothing is told twice."""
    first = minute_of(datetime.now(UTC)) - timedelta(days=30)
    with fleet.conn.cursor() as cursor:
        cursor.executemany(INSERT, [(f"{n + 1}.00", first + n * MINUTE) for n in range(120)])
    path = f"/v1/prices?ticker={OTHER}&limit=10&order=asc&start_date={first:%Y-%m-%dT%H:%M:%SZ}"

    found: list[dict[str, Any]] = []
    url, page = path, 0
    while url:
        answer = fleet.webs[page % 2].get(url)
        again = fleet.webs[(page + 1) % 2].get(
            url, headers={"If-None-Match": answer.headers["etag"]}
        )
        assert (answer.status_code, again.status_code) == (200, 304)
        found += answer.json()
        url, page = linked_url(answer), page + 1
        url = httpx.URL(url).raw_path.decode() if url else ""

    assert page == 12
    assert [row["price"] for row in found] == [f"{n + 1}.00" for n in range(120)]
    assert {fleet.proxy.get(path).text for _ in range(4)} == {fleet.webs[0].get(path).text}


def test_a_killed_web_is_missed_by_no_one(fleet: Fleet) -> None:
    """The proxy goes on without it, and a stream is taken up by the other, with all it missed."""
    moment = minute_of(datetime.now(UTC)) - timedelta(days=60)
    with following(fleet.proxy.base_url, OTHER) as cut:
        fleet.conn.execute(INSERT, ["1.00", moment])
        assert cut.take(1)[0].data["price"] == "1.00"
        counts = [
            web.get("/metrics").text.count("tracker_stream_clients 1.0") for web in fleet.webs
        ]
        name = f"web{counts.index(1) + 1}"

        fleet.kill(name)
        fleet.conn.execute(INSERT, ["2.00", moment + MINUTE])
        assert list(cut.events()) == []
        assert {fleet.proxy.get(f"/prices?ticker={OTHER}").status_code for _ in range(20)} == {200}
        with following(fleet.proxy.base_url, OTHER, last_id=cut.id) as resumed:
            assert resumed.take(1)[0].data["price"] == "2.00"

        fleet.start(name)
        wait_for(lambda: [answers(web) for web in fleet.webs] == [200, 200])


def test_what_a_killed_worker_was_at_is_taken_by_others(fleet: Fleet) -> None:
    """In the middle of both polls: each ends as a price, or as a miss if its minute is over."""
    wait_for(lambda: idle(fleet.settings))
    with paused(fleet.pid("worker2")), paused(fleet.pid("worker3")):
        order(fleet.exchange, "timeout", method="get_index_price", calls=2)
        before, minute = asked(fleet.exchange), this_minute()
        fleet.conn.execute("DELETE FROM prices WHERE source = 'poll'")
        tick(fleet.settings, minute)
        wait_for(lambda: asked(fleet.exchange) >= before + 2)
        fleet.kill("worker1")
    wait_for(lambda: told(fleet.conn, minute) == set(fleet.settings.tickers), 60)
    fleet.start("worker1")
    wait_for(lambda: fleet.works("worker1"))


def told(conn: psycopg.Connection, minute: datetime) -> set[str]:
    """The indexes of which something is known for that minute."""
    found = [*rows(conn), *((ticker, at) for ticker, at, _ in misses(conn))]
    return {ticker for ticker, at in found if at == minute}
