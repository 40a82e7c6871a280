"""The queue on a Redis with a sentinel: the master is killed, and its replica takes over."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import psycopg
import pytest
import redis

from ops.bench.processes import free_ports
from tests.support.api import serve_api
from tests.support.chaos.processes import run_process
from tests.support.commands import run_command
from tests.support.database import read_polls
from tests.support.redis import run_redis
from tests.support.waiting import current_minute, wait_until
from tests.support.worker import running_worker, send_tick
from tracker.embedded.packages import find_programs
from tracker.redis import connect_queue
from tracker.settings import Settings
from tracker.simulator import Simulator

pytestmark = pytest.mark.slow

NAME = "queue"
SENTINEL = """\
port {sentinel}
bind 127.0.0.1
dir {folder}
sentinel monitor {name} 127.0.0.1 {master} 1
sentinel down-after-milliseconds {name} 1500
sentinel failover-timeout {name} 5000
"""
SENTINEL_LOGIN = """\
requirepass "{passwords.sentinel}"
sentinel auth-pass {name} "{passwords.server}"
"""


@dataclass(frozen=True)
class Replication:
    """A master, its replica, and their sentinel.

    settings: what clients need; nothing listens on the first address of a sentinel.
    """

    master: Popen[bytes]
    ports: tuple[int, int]
    settings: Settings


@dataclass(frozen=True, slots=True)
class Passwords:
    """Those of the servers and of the sentinel; empty: none."""

    server: str = ""
    sentinel: str = ""


def responds(settings: Settings) -> bool:
    """Whether the sentinels know a master that responds."""
    with connect_queue(settings) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def read_replication(port: int, password: str) -> dict[str, object]:
    """The state of replication of the Redis on *port*; empty while it does not respond."""
    with redis.Redis(port=port, password=password or None, socket_timeout=2) as client:
        try:
            return dict(client.info("replication"))
        except redis.RedisError:
            return {}


def knows_replica(sentinel: redis.Redis) -> bool:
    """Whether it knows a replica to promote."""
    try:
        return bool(sentinel.execute_command("SENTINEL", "REPLICAS", NAME))
    except redis.RedisError:
        return False


@pytest.fixture(params=[Passwords(), Passwords("pass ' % word", "other @ : \\ word")], ids=str)
def passwords(request: pytest.FixtureRequest) -> Passwords:
    """None, and both."""
    assert isinstance(request.param, Passwords)
    return request.param


@pytest.fixture
def replication(servers: Settings, tmp_path: Path, passwords: Passwords) -> Iterator[Replication]:
    """Master, replica and sentinel, running."""
    program = find_programs(servers).redis
    master, replica, sentinel, nobody = free_ports(4)
    facts = {"sentinel": sentinel, "master": master, "name": NAME, "folder": tmp_path}
    configuration = SENTINEL.format_map(facts)
    common = ["--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0"]
    if passwords.server:
        common += ["--requirepass", passwords.server, "--masterauth", passwords.server]
        configuration += SENTINEL_LOGIN.format(name=NAME, passwords=escape(passwords))
    (tmp_path / "sentinel.conf").write_text(configuration)
    with ExitStack() as stack:

        def replication_of(port: int, key: str) -> object:
            return read_replication(port, passwords.server).get(key)

        first = stack.enter_context(run_redis(program, "--port", master, *common))
        wait_until(lambda: replication_of(master, "role") == "master")
        of = ("--replicaof", "127.0.0.1", master)
        stack.enter_context(run_redis(program, "--port", replica, *common, *of))
        wait_until(lambda: replication_of(replica, "master_link_status") == "up")
        stack.enter_context(run_redis(program, tmp_path / "sentinel.conf", "--sentinel"))
        with redis.Redis(port=sentinel, password=passwords.sentinel or None) as client:
            wait_until(lambda: knows_replica(client))
        settings = servers.changed(
            redis_sentinels=f"127.0.0.1:{nobody},127.0.0.1:{sentinel}",
            redis_sentinel_master=NAME,
            redis_password=passwords.server,
            redis_sentinel_password=passwords.sentinel,
        )
        yield Replication(first, (master, replica), settings)


def escape(passwords: Passwords) -> Passwords:
    """*passwords* for a quoted string of a configuration file."""
    server, sentinel = (
        each.replace("\\", "\\\\") for each in (passwords.server, passwords.sentinel)
    )
    return Passwords(server, sentinel)


@pytest.mark.usefixtures("database")
def test_worker_and_scheduler_use_promoted_replica(
    conn: psycopg.Connection,
    live_exchange: Simulator,
    replication: Replication,
    passwords: Passwords,
) -> None:
    """A running worker, and a scheduler that its supervisor restarts."""
    settings = replication.settings.changed(client_base_url=live_exchange.url)
    with running_worker(settings):
        send_tick(settings, current_minute(10))
        wait_until(lambda: len(read_polls(conn)) == 2)
        replication.master.kill()
        wait_until(lambda: responds(settings))
        promoted = read_replication(replication.ports[1], passwords.server)
        assert promoted["role"] == "master"
        conn.execute("TRUNCATE prices")
        with run_process(settings, "scheduler"):
            wait_until(lambda: len(read_polls(conn)) == 2)


def test_requests_are_counted_on_the_master(replication: Replication) -> None:
    with serve_api(replication.settings.changed(rate_limit="2/hour")) as client:
        wait_until(lambda: client.get("/udf/config").status_code == 429)


def test_unknown_master_ends_scheduler(replication: Replication) -> None:
    """With status 1 and a line that names it."""
    line = run_scheduler(replication.settings.changed(redis_sentinel_master="nobody"))
    assert line == "the tick could not be sent: Redis: No master found for 'nobody'\n"


@pytest.mark.parametrize("passwords", [Passwords("one", "two")])
def test_refusing_sentinel_ends_scheduler(replication: Replication) -> None:
    line = run_scheduler(replication.settings.changed(redis_sentinel_password="x"))
    assert line.endswith("found for 'queue' (REDIS_SENTINEL_USER, REDIS_SENTINEL_PASSWORD)\n")


def run_scheduler(settings: Settings) -> str:
    """The only line of a scheduler that ends with status 1."""
    status, output, _ = run_command(settings.changed(log_format="plain"), "scheduler")
    assert status == 1
    return output.removeprefix("ERROR ").lstrip()
