"""The queue on a Redis with a sentinel: the master is killed, and its replica takes over."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import redis

from ops.bench.processes import free_ports
from tests.support.chaos.processes import run_process
from tests.support.commands import run_command
from tests.support.database import read_polls
from tests.support.waiting import current_minute, wait_until
from tests.support.worker import running_worker, send_tick
from tracker.embedded.account import MINIMAL_ENVIRONMENT
from tracker.embedded.packages import find_programs
from tracker.recorder.broker import connect_redis
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


@dataclass(frozen=True)
class Replication:
    """A master, its replica, and their sentinel.

    sentinels: the setting; nothing listens on the first address.
    """

    master: "subprocess.Popen[bytes]"
    ports: tuple[int, int]
    sentinels: str


@contextmanager
def server(program: Path, *words: object) -> Iterator["subprocess.Popen[bytes]"]:
    """Redis with *words*, killed at the end."""
    command = [str(program), *map(str, words)]
    with subprocess.Popen(
        command, env=MINIMAL_ENVIRONMENT, cwd="/", stdout=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_role(port: int) -> str:
    """The role of the Redis on *port*: master or slave; empty while it does not respond."""
    with redis.Redis(port=port, socket_timeout=2) as client:
        try:
            return str(client.info("replication")["role"])
        except redis.RedisError:
            return ""


def responds(settings: Settings) -> bool:
    """Whether the sentinels know a master that responds."""
    with connect_redis(settings) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def is_synchronized(port: int) -> bool:
    """Whether the replica on *port* has the data of its master."""
    with redis.Redis(port=port, socket_timeout=2) as client:
        try:
            return str(client.info("replication")["master_link_status"]) == "up"
        except (redis.RedisError, KeyError):
            return False


@pytest.fixture
def replication(servers: Settings, tmp_path: Path) -> Iterator[Replication]:
    """Master, replica and sentinel, running."""
    program = find_programs(servers).redis
    master, replica, sentinel, nobody = free_ports(4)
    facts = {"sentinel": sentinel, "master": master, "name": NAME, "folder": tmp_path}
    (tmp_path / "sentinel.conf").write_text(SENTINEL.format_map(facts))
    common = ("--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0")
    with ExitStack() as stack:
        first = stack.enter_context(server(program, "--port", master, *common))
        wait_until(lambda: read_role(master) == "master")
        of = ("--replicaof", "127.0.0.1", master)
        stack.enter_context(server(program, "--port", replica, *common, *of))
        wait_until(lambda: is_synchronized(replica))
        stack.enter_context(server(program, tmp_path / "sentinel.conf", "--sentinel"))
        with redis.Redis(port=sentinel) as client:
            wait_until(lambda: knows_replica(client))
        sentinels = f"127.0.0.1:{nobody},127.0.0.1:{sentinel}"
        yield Replication(first, (master, replica), sentinels)


def knows_replica(sentinel: redis.Redis) -> bool:
    """Whether it knows a replica to promote."""
    try:
        return bool(sentinel.execute_command("SENTINEL", "REPLICAS", NAME))
    except redis.RedisError:
        return False


def test_worker_and_scheduler_use_promoted_replica(
    database: Settings, conn: psycopg.Connection, live_exchange: Simulator, replication: Replication
) -> None:
    """A running worker, and a scheduler that its supervisor restarts."""
    settings = database.changed(
        redis_host="",
        redis_sentinels=replication.sentinels,
        redis_sentinel_master=NAME,
        client_base_url=live_exchange.url,
    )
    with running_worker(settings):
        send_tick(settings, current_minute(10))
        wait_until(lambda: len(read_polls(conn)) == 2)
        replication.master.kill()
        wait_until(lambda: responds(settings))
        assert read_role(replication.ports[1]) == "master"
        conn.execute("TRUNCATE prices")
        with run_process(settings, "scheduler"):
            wait_until(lambda: len(read_polls(conn)) == 2)


def test_unknown_master_ends_scheduler(servers: Settings, replication: Replication) -> None:
    """With status 1 and a line that names it."""
    settings = servers.changed(
        redis_sentinels=replication.sentinels, redis_sentinel_master="nobody", log_format="plain"
    )

    status, output, _ = run_command(settings, "scheduler")

    assert status == 1
    line = "the tick could not be sent: No master found for 'nobody'\n"
    assert output.removeprefix("ERROR ").lstrip() == line
