"""The database is cut off from all others, as by a broken switch: nothing closes a connection."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from tests.compose.stack import PROJECT, STEADY, Stack
from tests.support.working import this_minute
from tracker.times import MINUTE, minute_of

pytestmark = [pytest.mark.slow, pytest.mark.compose]

NETWORK = f"{PROJECT}_default"
UNSTORED = "is left to the queue"


@contextmanager
def partition(stack: Stack) -> Iterator[None]:
    """Nobody reaches the database, nor it them."""
    stack.docker("network", "disconnect", NETWORK, stack.name("db"))
    try:
        yield
    finally:
        stack.docker("network", "connect", "--alias", "db", NETWORK, stack.name("db"))


def late(stack: Stack, since: datetime) -> int:
    """How many prices were left to the queue *since* then."""
    return stack.compose("logs", "--since", since.isoformat(), "worker").count(UNSTORED)


def until(moment: datetime) -> None:
    """Sleep until *moment*."""
    time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))


def cut_off_minute(stack: Stack) -> datetime:
    """A minute whose polls found no database."""
    minute = minute_of(this_minute(spare=10)) + MINUTE
    until(minute)
    stack.wait_for(lambda: late(stack, minute) >= 2)
    return minute


def test_price_of_a_partition_is_stored_afterwards(stack: Stack) -> None:
    """It was observed in its minute, and waits in the queue; the API says meanwhile what is."""
    with partition(stack):
        minute = cut_off_minute(stack)
        assert stack.api("/health/live")
        assert stack.api("/health/ready") is None
    stack.wait_for(lambda: stack.polled(minute))
    stack.wait_for(lambda: stack.api("/health/ready"))


def test_worker_stops_in_time_within_a_partition(stack: Stack) -> None:
    """It ends by itself; what it could not store is stored by the next one."""
    with partition(stack):
        minute = cut_off_minute(stack)
        began = time.monotonic()
        stack.compose("stop", "worker")
        took = time.monotonic() - began
    assert stack.state("worker") == "exited 0"
    assert took < stack.inspect("worker")["Config"]["StopTimeout"]
    stack.up(*STEADY)
    stack.wait_for(lambda: stack.polled(minute))
