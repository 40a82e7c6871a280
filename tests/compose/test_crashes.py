"""Killed containers are restarted by Docker or by `up`, and lose no price."""

import os
import signal
from datetime import UTC, datetime

import pytest

from tests.support.compose.stack import PROJECT, STEADY, TICKERS, TRACKER, Stack
from tests.support.processes import process_tree

pytestmark = [pytest.mark.slow, pytest.mark.compose]


def crash_container(stack: Stack, service: str) -> None:
    """Kill the container's process, as the kernel does when memory is short."""
    os.kill(stack.inspect(service)["State"]["Pid"], signal.SIGKILL)


def fetch_gaps(stack: Stack, ticker: str) -> object:
    """The gaps since the first price."""
    return stack.api("/v1/prices/gaps", ticker=ticker)


def wait_until_healthy(stack: Stack) -> None:
    """Wait until every container is healthy and the API is ready."""
    stack.wait_until(lambda: {stack.state(service) for service in STEADY} == {"healthy"})
    stack.wait_until(lambda: stack.api("/health/ready"))


@pytest.mark.parametrize("service", STEADY)
def test_crashed_container_is_restarted(stack: Stack, service: str) -> None:
    before = stack.inspect(service)["RestartCount"]
    crash_container(stack, service)
    stack.wait_until(lambda: stack.inspect(service)["RestartCount"] > before)
    wait_until_healthy(stack)


@pytest.mark.parametrize("service", TRACKER)
def test_hung_process_is_restarted(stack: Stack, service: str) -> None:
    """Stopped, it neither responds nor ends; its container's entrypoint notices that."""
    before = stack.inspect(service)["RestartCount"]
    processes = process_tree(stack.inspect(service)["State"]["Pid"])
    os.kill(processes[-1], signal.SIGSTOP)
    stack.wait_until(lambda: stack.inspect(service)["RestartCount"] > before)
    assert "no heartbeat" in stack.compose("logs", "--tail", "50", service)
    wait_until_healthy(stack)


def test_containers_crashed_at_once_recover(stack: Stack) -> None:
    before = stack.prices(TICKERS[0])
    for service in STEADY:
        crash_container(stack, service)
    wait_until_healthy(stack)
    assert before.items() <= stack.prices(TICKERS[0]).items()


@pytest.mark.parametrize("service", STEADY)
def test_killed_container_is_restarted_by_up(stack: Stack, service: str) -> None:
    """After `docker kill` the engine restarts nothing by itself."""
    stack.docker("kill", stack.name(service))
    assert stack.state(service) == "exited 137"
    stack.up(*STEADY)
    wait_until_healthy(stack)


def test_killed_stack_is_restarted_by_up(stack: Stack) -> None:
    before = stack.prices(TICKERS[0])
    stack.docker("kill", *map(stack.name, STEADY))
    stack.up(*STEADY)
    wait_until_healthy(stack)
    assert before.items() <= stack.prices(TICKERS[0]).items()


def test_down_and_up_keep_the_data(stack: Stack) -> None:
    before = {ticker: stack.prices(ticker) for ticker in TICKERS}
    stack.compose("down")
    assert stack.states() == {}
    volumes = stack.docker("volume", "ls", "--quiet").split()
    assert [name for name in volumes if not name.startswith(PROJECT)] == []
    stack.up(*STEADY, "exchange")
    wait_until_healthy(stack)
    for ticker in TICKERS:
        assert before[ticker]
        assert before[ticker].items() <= stack.prices(ticker).items()


@pytest.mark.parametrize("service", TRACKER)
def test_service_stops_within_its_grace_period(stack: Stack, service: str) -> None:
    started_at = datetime.now(UTC)
    stack.compose("stop", service)
    seconds = (datetime.now(UTC) - started_at).total_seconds()
    assert stack.state(service) == "exited 0"
    assert seconds < stack.inspect(service)["Config"]["StopTimeout"]
    stack.up(*STEADY)


def test_every_minute_is_polled_or_repaired_after_the_crashes(stack: Stack) -> None:
    wait_until_healthy(stack)
    for ticker in TICKERS:
        stack.wait_until(lambda ticker=ticker: fetch_gaps(stack, ticker) == [], timeout=240)
