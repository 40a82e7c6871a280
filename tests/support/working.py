"""Helpers under the names that tests of other parts import."""

from tests.support.database import login
from tests.support.database import read_misses as misses
from tests.support.database import read_polls as rows
from tests.support.exchange import assert_true_polls as assert_true
from tests.support.exchange import count_calls as asked
from tests.support.exchange import fetch_true_price as truth
from tests.support.exchange import inject_fault as order
from tests.support.waiting import current_minute as this_minute
from tests.support.waiting import wait_until as wait_for
from tests.support.worker import is_idle as idle
from tests.support.worker import running_worker as working
from tests.support.worker import send_message as send
from tests.support.worker import send_tick as tick

__all__ = [
    "asked", "assert_true", "idle", "login", "misses", "order", "rows", "send", "this_minute",
    "tick", "truth", "wait_for", "working",
]  # fmt: skip
