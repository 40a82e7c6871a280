"""Two hundred indexes, as many as the exchange has, within the shipped limits.

It takes six minutes: an outage must outlast the polls of several minutes.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import pytest

from tests.support.compose.stack import STEADY, Stack
from tests.support.waiting import current_minute
from tracker.times import MINUTE

pytestmark = [pytest.mark.slow, pytest.mark.compose]

NAMES = [f"coin{number}_usd" for number in range(200)]
OUTAGE = 3  # minutes
PATIENCE = 300.0  # seconds, on a machine that does something else too


@pytest.fixture
def busy(stack: Stack) -> Iterator[Stack]:
    """The stack with all of these indexes, which its exchange has too."""
    own = {
        "TICKERS": ",".join(NAMES),
        "EXCHANGE_OPTIONS": " ".join(f"--index {name}" for name in NAMES),
    }
    busy = replace(stack, engine=replace(stack.engine, env={**stack.engine.env, **own}))
    busy.up(*STEADY, "exchange")
    yield busy
    stack.up(*STEADY, "exchange")


def count_indexes(stack: Stack, minute: datetime, relation: str, column: str) -> int:
    """How many of the indexes have a row for *minute*."""
    condition = f"{column} = '{minute.isoformat()}' AND ticker LIKE 'coin%'"
    return int(stack.query(f"SELECT count(*) FROM {relation} WHERE {condition}"))


def test_every_minute_of_an_outage_keeps_its_reason(busy: Stack) -> None:
    polled = current_minute() + MINUTE
    busy.wait_until(lambda: count_indexes(busy, polled, "prices", "created_at") == 200, PATIENCE)
    first = current_minute(spare=30) + MINUTE
    busy.docker("pause", busy.name("exchange"))
    try:
        for minute in (first + number * MINUTE for number in range(OUTAGE)):
            busy.wait_until(
                lambda minute=minute: count_indexes(busy, minute, "misses", "minute") == 200,
                PATIENCE,
            )
    finally:
        busy.docker("unpause", busy.name("exchange"))
    assert "can't start new thread" not in busy.compose("logs", "worker")
    assert busy.inspect("worker")["RestartCount"] == 0
    after = current_minute() + MINUTE
    busy.wait_until(lambda: count_indexes(busy, after, "prices", "created_at") == 200, PATIENCE)
