"""Waiting until something is true, and for the next minute."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from tracker.times import minute_of


def wait_until(
    condition: Callable[[], object],
    timeout: float = 120,
    describe: Callable[[], str] = lambda: "",
) -> None:
    """Poll *condition* until it is true; after *timeout* seconds fail with *describe*'s text."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not true within {timeout} s\n{describe()}"
        time.sleep(0.02)


def current_minute(spare: float = 8) -> datetime:
    """The current minute, or the next one if fewer than *spare* seconds of it are left."""
    now = datetime.now(UTC)
    if now.second >= 60 - spare:
        time.sleep(60.1 - now.second)
    return minute_of(datetime.now(UTC))
