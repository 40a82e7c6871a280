"""What is killed comes back, by itself or when asked to, and no price is lost by it."""

import os
import signal
from datetime import UTC, datetime

import pytest

from tests.compose.stack import PROJECT, STEADY, TICKERS, TRACKER, Stack

pytestmark = [pytest.mark.slow, pytest.mark.compose]


def crash(stack: Stack, service: str) -> None:
    """Kill what runs in the container, as the kernel would when memory is short."""
    os.kill(stack.inspect(service)["State"]["Pid"], signal.SIGKILL)


def holes(stack: Stack, ticker: str) -> object:
    """Minutes since the first price that have none."""
    return stack.api("/v1/prices/gaps", ticker=ticker)


def well(stack: Stack) -> None:
    """Everything is healthy, prices are fresh, and the latest minute was polled."""
    stack.wait_for(lambda: {stack.state(service) for service in STEADY} == {"healthy"})
    stack.wait_for(lambda: stack.api("/health/ready"))


@pytest.mark.parametrize("service", STEADY)
def test_crash_is_made_good_by_the_engine(stack: Stack, service: str) -> None:
    """It is started again, and the others go on with the new one."""
    before = stack.inspect(service)["RestartCount"]
    crash(stack, service)
    stack.wait_for(lambda: stack.inspect(service)["RestartCount"] > before)
    well(stack)


def test_all_crash_at_once(stack: Stack) -> None:
    """In whatever order they come back, they find each other."""
    before = stack.prices(TICKERS[0])
    for service in STEADY:
        crash(stack, service)
    well(stack)
    assert before.items() <= stack.prices(TICKERS[0]).items()


@pytest.mark.parametrize("service", STEADY)
def test_what_docker_killed_is_brought_back_by_up(stack: Stack, service: str) -> None:
    """The engine takes `docker kill` for a wish, and starts nothing by itself; `up` does."""
    stack.docker("kill", stack.name(service))
    assert stack.state(service) == "exited 137"
    stack.up(*STEADY)
    well(stack)


def test_all_are_killed(stack: Stack) -> None:
    """The same with all of them; what was stored is there."""
    before = stack.prices(TICKERS[0])
    stack.docker("kill", *map(stack.name, STEADY))
    stack.up(*STEADY)
    well(stack)
    assert before.items() <= stack.prices(TICKERS[0]).items()


def test_down_and_up_keep_the_data(stack: Stack) -> None:
    """Containers and network are new, the volumes are not; the password still holds."""
    before = {ticker: stack.prices(ticker) for ticker in TICKERS}
    stack.compose("down")
    assert stack.states() == {}
    volumes = stack.docker("volume", "ls", "--quiet").split()
    assert [name for name in volumes if not name.startswith(PROJECT)] == []
    stack.up(*STEADY, "exchange")
    well(stack)
    for ticker in TICKERS:
        assert before[ticker]
        assert before[ticker].items() <= stack.prices(ticker).items()


@pytest.mark.parametrize("service", TRACKER)
def test_stop_is_clean(stack: Stack, service: str) -> None:
    """Each ends by itself, well within the time it is given."""
    began = datetime.now(UTC)
    stack.compose("stop", service)
    took = (datetime.now(UTC) - began).total_seconds()
    assert stack.state(service) == "exited 0"
    assert took < stack.inspect(service)["Config"]["StopTimeout"]
    stack.up(*STEADY)


def test_no_minute_is_missing_in_the_end(stack: Stack) -> None:
    """Whatever was killed meanwhile: each minute was polled, or is repaired from a chart."""
    well(stack)
    for ticker in TICKERS:
        stack.wait_for(lambda ticker=ticker: holes(stack, ticker) == [], patience=240)
