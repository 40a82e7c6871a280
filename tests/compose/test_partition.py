"""A network partition cuts the database off; no connection is closed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from tests.support.compose.stack import PROJECT, STEADY, Stack
from tests.support.waiting import current_minute
from tracker.times import MINUTE, minute_of

pytestmark = [pytest.mark.slow, pytest.mark.compose]

NETWORK = f"{PROJECT}_default"
UNSTORED = "is queued"


@contextmanager
def partition_database(stack: Stack) -> Iterator[None]:
    """Disconnect the database from the network in the block."""
    stack.docker("network", "disconnect", NETWORK, stack.name("db"))
    try:
        yield
    finally:
        stack.docker("network", "connect", "--alias", "db", NETWORK, stack.name("db"))


def count_queued_prices(stack: Stack, since: datetime) -> int:
    """The number of prices that were queued since that moment."""
    return stack.compose("logs", "--since", since.isoformat(), "worker").count(UNSTORED)


def sleep_until(moment: datetime) -> None:
    """Sleep until *moment*."""
    time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))


def wait_for_queued_minute(stack: Stack) -> datetime:
    """A minute whose polls could not be stored."""
    minute = minute_of(current_minute(spare=10)) + MINUTE
    sleep_until(minute)
    stack.wait_until(lambda: count_queued_prices(stack, minute) >= 2)
    return minute


def test_price_observed_in_a_partition_is_stored_later(stack: Stack) -> None:
    with partition_database(stack):
        minute = wait_for_queued_minute(stack)
        assert stack.api("/health/live")
        assert stack.api("/health/ready") is None
    stack.wait_until(lambda: stack.is_polled(minute))
    stack.wait_until(lambda: stack.api("/health/ready"))


def test_worker_stops_in_time_during_a_partition(stack: Stack) -> None:
    with partition_database(stack):
        minute = wait_for_queued_minute(stack)
        started_at = time.monotonic()
        stack.compose("stop", "worker")
        seconds = time.monotonic() - started_at
    assert stack.state("worker") == "exited 0"
    assert seconds < stack.inspect("worker")["Config"]["StopTimeout"]
    stack.up(*STEADY)
    stack.wait_until(lambda: stack.is_polled(minute))
