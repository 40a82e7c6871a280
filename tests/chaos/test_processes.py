"""Chaos, the long version (`just chaos`): processes are killed, terminated, duplicated, stopped."""

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.chaos.demo import TWELVE_TICKERS, ChaosDemo, minute_after_tick, run_chaos_demo
from tests.support.chaos.processes import ALL, OURS, run_process

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

SEED = 20261122
TICKERS = TWELVE_TICKERS


@pytest.mark.parametrize("name", ALL)
def test_repeatedly_killed_process_recovers(demo: ChaosDemo, name: str) -> None:
    with demo.chaos(SEED) as rng:
        for _ in range(3):
            demo.start_slow_polls()
            time.sleep(rng.uniform(0, 2))
            demo.wait_until(lambda: demo.pid(name))
            demo.kill(name)
    assert demo.was_killed(name)


@pytest.mark.parametrize("seed", range(SEED, SEED + 4))
def test_processes_killed_together_recover(demo: ChaosDemo, seed: int) -> None:
    with demo.chaos(seed) as rng:
        demo.start_slow_polls()
        time.sleep(rng.uniform(0, 2.5))
        demo.kill(*rng.sample(ALL, rng.randint(2, 5)))


@pytest.mark.parametrize("name", OURS)
def test_process_terminated_during_polls_is_restarted(demo: ChaosDemo, name: str) -> None:
    with demo.chaos(SEED):
        demo.start_slow_polls()
        demo.terminate(name)
    assert f"{name} ended with exit code" in demo.recipe.output()


@pytest.mark.parametrize("name", ["postgres", "redis"])
def test_unresponsive_server_times_out(demo: ChaosDemo, name: str) -> None:
    """The server is stopped for longer than any timeout."""
    with demo.chaos(SEED):
        demo.start_slow_polls(1)
        with demo.pause(name):
            time.sleep(20)
            assert demo.recipe.responds("/health/live")
            assert demo.recipe.responds("/health/ready", 503 if name == "postgres" else 200)


def test_killed_extra_workers_leave_their_polls_to_others(demo: ChaosDemo) -> None:
    """Two schedulers and three workers, of which two are killed during polls."""
    with demo.chaos(SEED), ExitStack() as extra:
        minute = minute_after_tick(45)
        extra.enter_context(run_process(demo.settings, "scheduler"))
        workers = [extra.enter_context(run_process(demo.settings, "worker")) for _ in range(2)]
        time.sleep(3)  # the new scheduler's first tick comes meanwhile
        demo.wait_until(demo.is_idle)
        demo.delete_minutes([0])
        demo.start_slow_polls()
        demo.send_tick()
        time.sleep(0.5)
        for worker in workers:
            worker.kill()
        demo.wait_until(lambda: demo.is_polled(minute))


def test_restarted_demo_continues_with_its_data(open_tmp: Path) -> None:
    folder = open_tmp / "chaos-again"
    with run_chaos_demo(folder) as demo:
        demo.delete_minutes(range(5))
        demo.start_slow_polls()
        assert demo.recipe.stop() == 0
    with run_chaos_demo(folder) as again, again.chaos(SEED):
        pass
