"""Chaos, the long version (`just chaos`): processes are killed, ended, doubled, and stand still."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.chaos import TWELVE, Tracked, early_minute, tracking
from tests.support.chaos_processes import ALL, OURS, another

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

SEED = 20261122


@pytest.fixture(scope="module")
def tracked(open_tmp: Path) -> Iterator[Tracked]:
    """A demo of twelve indexes that has recorded its first hour."""
    with tracking(open_tmp / "chaos-processes", TICKERS=TWELVE) as tracked:
        yield tracked


@pytest.mark.parametrize("name", ALL)
def test_one_is_killed_again_and_again(tracked: Tracked, name: str) -> None:
    """kill -9 in the middle of polls, as soon as it is back."""
    with tracked.chaos(SEED) as dice:
        for _ in range(3):
            tracked.mid_poll()
            time.sleep(dice.uniform(0, 2))
            tracked.wait_for(lambda: tracked.pid(name))
            tracked.kill(name)
    assert tracked.was_killed(name)


@pytest.mark.parametrize("seed", range(SEED, SEED + 4))
def test_several_are_killed_together(tracked: Tracked, seed: int) -> None:
    """kill -9 of any two to five."""
    with tracked.chaos(seed) as dice:
        tracked.mid_poll()
        time.sleep(dice.uniform(0, 2.5))
        tracked.kill(*dice.sample(ALL, dice.randint(2, 5)))


@pytest.mark.parametrize("name", OURS)
def test_one_is_told_to_end_in_the_middle_of_polls(tracked: Tracked, name: str) -> None:
    """SIGTERM: it ends, is started again, and nothing is lost."""
    with tracked.chaos(SEED):
        tracked.mid_poll()
        tracked.end(name)
    assert f"{name} ended with exit code" in tracked.demo.output()


@pytest.mark.parametrize("name", ["postgres", "redis"])
def test_a_server_stands_still(tracked: Tracked, name: str) -> None:
    """SIGSTOP for longer than any time-out: it neither answers nor hangs up."""
    with tracked.chaos(SEED):
        tracked.mid_poll(1)
        with tracked.paused(name):
            time.sleep(20)
            assert tracked.demo.asks("/health/live")
            assert tracked.demo.asks("/health/ready", 503 if name == "postgres" else 200)


def test_more_than_one_of_each(tracked: Tracked) -> None:
    """Two schedulers and three workers; then two workers die in the middle of polls."""
    with tracked.chaos(SEED), ExitStack() as extra:
        minute = early_minute(45)
        extra.enter_context(another(tracked.settings, "scheduler"))
        workers = [extra.enter_context(another(tracked.settings, "worker")) for _ in range(2)]
        time.sleep(3)  # the new scheduler's first tick comes meanwhile
        tracked.wait_for(tracked.idle)
        tracked.forget([0])
        tracked.mid_poll()
        tracked.tick()
        time.sleep(0.5)
        for worker in workers:
            worker.kill()
        tracked.wait_for(lambda: tracked.polled(minute))


def test_all_of_it_is_told_to_end_and_starts_again(open_tmp: Path) -> None:
    """SIGTERM in the middle of polls; the next start finds the same rows and fills the rest."""
    folder = open_tmp / "chaos-again"
    with tracking(folder) as tracked:
        tracked.forget(range(5))
        tracked.mid_poll()
        assert tracked.demo.stop() == 0
    with tracking(folder) as again, again.chaos(SEED):
        pass
