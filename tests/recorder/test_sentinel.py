"""The queue on a Redis that a sentinel watches: its master is killed, its replica takes over."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import redis

from ops.bench.processes import free_ports
from tests.support.chaos.processes import run_process as another
from tests.support.working import rows, this_minute, tick, wait_for, working
from tracker.embedded.account import MINIMAL_ENVIRONMENT
from tracker.embedded.packages import find_programs
from tracker.recorder.broker import connect_redis
from tracker.settings import CHECKOUT, Settings
from tracker.simulator import Options, Served, serve

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
class Watched:
    """A master, its replica, and who watches them.

    sentinels: as the setting has them; nobody listens on the first.
    """

    master: "subprocess.Popen[bytes]"
    ports: tuple[int, int]
    sentinels: str


@contextmanager
def server(program: Path, *words: object) -> Iterator["subprocess.Popen[bytes]"]:
    """Redis with these *words*, killed at the end."""
    command = [str(program), *map(str, words)]
    with subprocess.Popen(
        command, env=MINIMAL_ENVIRONMENT, cwd="/", stdout=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def role(port: int) -> str:
    """What the Redis on *port* is: master, slave, or nothing while it does not answer."""
    with redis.Redis(port=port, socket_timeout=2) as client:
        try:
            return str(client.info("replication")["role"])
        except redis.RedisError:
            return ""


def answers(settings: Settings) -> bool:
    """Whether the sentinels know a master, and it answers."""
    with connect_redis(settings) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def in_step(port: int) -> bool:
    """Whether the replica on *port* has all of its master."""
    with redis.Redis(port=port, socket_timeout=2) as client:
        try:
            return str(client.info("replication")["master_link_status"]) == "up"
        except (redis.RedisError, KeyError):
            return False


@pytest.fixture
def watched(servers: Settings, tmp_path: Path) -> Iterator[Watched]:
    """All three, at work."""
    program = find_programs(servers).redis
    master, replica, sentinel, nobody = free_ports(4)
    facts = {"sentinel": sentinel, "master": master, "name": NAME, "folder": tmp_path}
    (tmp_path / "sentinel.conf").write_text(SENTINEL.format_map(facts))
    common = ("--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0")
    with ExitStack() as stack:
        first = stack.enter_context(server(program, "--port", master, *common))
        wait_for(lambda: role(master) == "master")
        of = ("--replicaof", "127.0.0.1", master)
        stack.enter_context(server(program, "--port", replica, *common, *of))
        wait_for(lambda: in_step(replica))
        stack.enter_context(server(program, tmp_path / "sentinel.conf", "--sentinel"))
        with redis.Redis(port=sentinel) as client:
            wait_for(lambda: knows_replica(client))
        sentinels = f"127.0.0.1:{nobody},127.0.0.1:{sentinel}"
        yield Watched(first, (master, replica), sentinels)


def knows_replica(sentinel: redis.Redis) -> bool:
    """Whether it would know whom to promote."""
    try:
        return bool(sentinel.execute_command("SENTINEL", "REPLICAS", NAME))
    except redis.RedisError:
        return False


@pytest.fixture
def exchange() -> Iterator[Served]:
    """A stand-in without faults."""
    with serve(Options(seed=7)) as served:
        yield served


def test_ticks_go_on_when_the_master_is_killed(
    database: Settings, conn: psycopg.Connection, exchange: Served, watched: Watched
) -> None:
    """The worker finds the new one by itself; so does a scheduler that is started again."""
    settings = database.changed(
        redis_host="",
        redis_sentinels=watched.sentinels,
        redis_sentinel_master=NAME,
        client_base_url=exchange.url,
    )
    with working(settings):
        tick(settings, this_minute(10))
        wait_for(lambda: len(rows(conn)) == 2)
        watched.master.kill()
        wait_for(lambda: answers(settings))
        assert role(watched.ports[1]) == "master"
        conn.execute("TRUNCATE prices")
        with another(settings, "scheduler"):
            wait_for(lambda: len(rows(conn)) == 2)


def test_a_master_that_no_sentinel_knows_is_named(servers: Settings, watched: Watched) -> None:
    """The scheduler says so in a line, and ends with status 1."""
    settings = servers.changed(redis_sentinels=watched.sentinels, redis_sentinel_master="nobody")

    done = subprocess.run(
        [sys.executable, "-m", "tracker", "scheduler"],
        env={**settings.environment(), "LOG_FORMAT": "plain"},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    line = "the tick could not be sent: No master found for 'nobody'\n"
    assert done.stdout.removeprefix("ERROR ").lstrip() == line
