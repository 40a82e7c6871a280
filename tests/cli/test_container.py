"""The entrypoint of a container watches the process that it runs."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest

from ops.bench.processes import free_ports
from tests.support.api import fetch_status
from tests.support.processes import process_tree, wait_until_dead
from tests.support.waiting import wait_until
from tracker.settings import CHECKOUT

pytestmark = pytest.mark.slow

TIMEOUT = 60.0  # seconds
NO_SERVERS = {"REDIS_PORT": "1", "REDIS_HOST": "127.0.0.1", "POSTGRES_HOST": "127.0.0.1"}


@contextmanager
def start_container(*words: str, **variables: str) -> Iterator["subprocess.Popen[str]"]:
    """The entrypoint with *words*, without servers; it is killed at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tracker.container", *words],
        cwd=CHECKOUT,
        env={"PATH": os.environ["PATH"], **NO_SERVERS, **variables},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            yield process
        finally:
            for pid in process_tree(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@contextmanager
def start_web() -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """The entrypoint with an API that responds, and the API's process."""
    [port] = free_ports(1)
    with (
        start_container("web", WEB_PORT=str(port), POSTGRES_PORT="1") as entry,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        wait_until(lambda: fetch_status(client, "/health/live") == 200, TIMEOUT)
        _, web = process_tree(entry.pid)
        yield entry, web


def test_stopped_process_is_killed_with_a_reason() -> None:
    with start_web() as (entry, web):
        os.kill(web, signal.SIGSTOP)
        output, _ = entry.communicate(timeout=TIMEOUT)
        wait_until_dead([web])
    assert entry.returncode == 128 + signal.SIGKILL
    assert "web sends no heartbeat, and is T (stopped); the container ends" in output


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signal_stops_the_process_in_order(number: signal.Signals, status: int) -> None:
    with start_web() as (entry, _):
        entry.send_signal(number)
        output, _ = entry.communicate(timeout=TIMEOUT)
    assert entry.returncode == status
    assert "Application shutdown complete" in output


def test_exit_status_is_that_of_the_process() -> None:
    with start_container("scheduler") as entry:
        output, _ = entry.communicate(timeout=TIMEOUT)
    assert entry.returncode == 1
    assert "the tick could not be sent" in output


@pytest.mark.parametrize("words", [("dsn",), ("--help",), ("nonsense",), ()])
def test_other_commands_run_as_they_are(words: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "tracker", *words]
    env = {"PATH": os.environ["PATH"], **NO_SERVERS}
    expected = subprocess.run(
        command, cwd=CHECKOUT, env=env, check=False, capture_output=True, text=True
    )
    with start_container(*words) as entry:
        output, _ = entry.communicate(timeout=TIMEOUT)
    assert (entry.returncode, output) == (expected.returncode, expected.stdout + expected.stderr)
