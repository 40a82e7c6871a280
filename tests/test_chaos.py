"""Chaos, the long version (`just chaos`): real processes, real faults, one truth.

What must be true afterwards stands in `Tracked.recover`, and every case ends with it: nothing is
missing, nothing is there twice, every row is what the exchange said, ready again by itself.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import httpx
import psycopg
import pytest
import redis

from tests.chaos import ALL, OURS, Tracked, early_minute, tracking
from tests.working import asked, idle
from tracker.models import minute_of
from tracker.settings import CHECKOUT

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

CHARTS = "get_index_chart_data"
SEED = 20261122

# An index for each kind of fault: the kind, its fields, and the reason on record if it stays.
TROUBLES: dict[str, tuple[str, dict[str, object], str | None]] = {
    "btc_usd": ("latency", {"delay": 3.0}, None),
    "eth_usd": ("timeout", {}, "exchange_unavailable"),
    "sol_usd": ("reset", {}, "exchange_unavailable"),
    "bnb_usd": ("rate_limit", {}, "rate_limited"),
    "ltc_usd": ("maintenance", {}, "exchange_unavailable"),
    "bch_usd": ("error", {}, "exchange_unavailable"),
    "link_usd": ("html", {}, "exchange_unavailable"),
    "avax_usd": ("truncated", {}, "bad_answer"),
    "dot_usd": ("testnet", {}, "bad_answer"),
    "uni_usd": ("frozen", {}, None),
    "near_usd": ("missing", {}, "bad_answer"),
    "paxg_usd": ("wrong_status", {}, "exchange_unavailable"),
}


@pytest.fixture(scope="module")
def tracked(open_tmp: Path) -> Iterator[Tracked]:
    """A demo of twelve indexes that has recorded its first hour."""
    with tracking(open_tmp / "storm-home", TICKERS=",".join(TROUBLES)) as tracked:
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


def test_the_queue_is_emptied_and_killed(tracked: Tracked) -> None:
    """In the middle of polls; its scripts are gone too."""
    with tracked.chaos(SEED):
        tracked.mid_poll()
        with redis.from_url(tracked.settings.broker_url) as client:
            client.flushall()
            client.script_flush()
        tracked.mid_poll()
        with redis.from_url(tracked.settings.broker_url) as client:
            client.flushall()
        tracked.kill("redis")


@pytest.mark.parametrize("name", ["postgres", "redis"])
def test_a_server_stands_still(tracked: Tracked, name: str) -> None:
    """SIGSTOP for longer than any time-out: it neither answers nor hangs up."""
    with tracked.chaos(SEED):
        tracked.mid_poll(1)
        with tracked.paused(name):
            time.sleep(20)
            assert tracked.demo.asks("/health/live")
            assert tracked.demo.asks("/health/ready", 503 if name == "postgres" else 200)


def test_the_database_is_away_during_polls(tracked: Tracked) -> None:
    """Whatever was observed meanwhile is stored when it is back, under its own minute."""
    minute = early_minute(15)
    with tracked.chaos(SEED):
        tracked.mid_poll(1)
        down_until = time.monotonic() + 8
        while time.monotonic() < down_until:
            tracked.kill("postgres")
            time.sleep(0.05)
        tracked.wait_for(tracked.alive)
        tracked.wait_for(lambda: idle(tracked.settings))
        assert tracked.sources(minute) == dict.fromkeys(tracked.tickers, "poll")


def test_more_than_one_of_each(tracked: Tracked) -> None:
    """Two schedulers and three workers; then two workers die in the middle of polls."""
    minute = early_minute(40)
    with tracked.chaos(SEED), ExitStack() as extra:
        extra.enter_context(another(tracked, "scheduler"))
        workers = [extra.enter_context(another(tracked, "worker")) for _ in range(2)]
        time.sleep(3)
        tracked.mid_poll()
        tracked.tick()
        time.sleep(0.5)
        for worker in workers:
            worker.kill()
        tracked.complete()
        assert tracked.sources(minute) == dict.fromkeys(tracked.tickers, "poll")


@contextmanager
def another(tracked: Tracked, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """One more process of that kind on the same servers."""
    command = [sys.executable, "-m", "tracker", name]
    environment = tracked.settings.environment()
    with subprocess.Popen(
        command, cwd=CHECKOUT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
            if name == "scheduler":
                assert process.poll() is None
        finally:
            process.kill()


def test_every_fault_of_the_exchange_for_a_minute(tracked: Tracked) -> None:
    """Polled all the same, or on record with the right reason, and repaired."""
    minute = early_minute(50)
    with tracked.chaos(SEED):
        for ticker, (kind, fields, _) in TROUBLES.items():
            tracked.trouble(kind, index=ticker, **fields)
        tracked.tick(minute)
        expected = {ticker: reason for ticker, (*_, reason) in TROUBLES.items() if reason}
        tracked.wait_for(lambda: len(tracked.reasons(minute)) >= len(expected))
        time.sleep(60.1 - time.time() % 60)  # past it, only a chart can fill it

    assert tracked.reasons(minute) == expected
    assert tracked.sources(minute) == {
        ticker: "chart" if reason else "poll" for ticker, (*_, reason) in TROUBLES.items()
    }


def test_maintenance_at_the_minutes_edge(tracked: Tracked) -> None:
    """The scheduler's own tick falls into it; the minute is polled when it is over."""
    time.sleep(max(0, 57 - time.time() % 60))
    with tracked.chaos(SEED):
        tracked.trouble("maintenance", seconds=10)
        time.sleep(60.1 - time.time() % 60)
        minute = minute_of(datetime.now(UTC))
        tracked.wait_for(lambda: len(tracked.sources(minute)) == len(tracked.tickers))
        assert tracked.sources(minute) == dict.fromkeys(tracked.tickers, "poll")
        assert tracked.reasons(minute) == {}


def test_a_chart_in_trouble(tracked: Tracked) -> None:
    """Nothing of it is stored, and the holes are filled when it is over."""
    with tracked.chaos(SEED):
        before = tracked.missing()
        for kind in ("truncated", "testnet", "html"):
            tracked.trouble(kind, method=CHARTS)
            enough = asked(tracked.exchange, CHARTS) + len(tracked.tickers)
            tracked.tick()
            tracked.wait_for(lambda n=enough: asked(tracked.exchange, CHARTS) >= n)
            tracked.forgive()
        assert len(before) > len(tracked.missing()) > 0  # the present minute was polled


@pytest.mark.parametrize("name", OURS)
def test_one_is_told_to_end_in_the_middle_of_polls(tracked: Tracked, name: str) -> None:
    """SIGTERM: it ends, is started again, and nothing is lost."""
    with tracked.chaos(SEED):
        tracked.mid_poll()
        tracked.end(name)
    assert f"{name} ended with exit code" in tracked.demo.output()


def test_no_connection_is_left(tracked: Tracked) -> None:
    """The API serves with those it has; the worker waits for one."""
    with tracked.chaos(SEED), ExitStack() as held:
        with suppress(psycopg.OperationalError):
            while True:
                held.enter_context(tracked.connected())
        tracked.tick()
        tracked.wait_for(lambda: "sorry, too many clients already" in tracked.demo.output())
        assert tracked.demo.asks("/prices/last?ticker=btc_usd")


def test_every_request_waits_for_a_lock(tracked: Tracked) -> None:
    """Each is told soon that it is in vain; the process itself is well."""
    with tracked.chaos(SEED), tracked.connected() as conn, ThreadPoolExecutor(60) as crowd:
        with conn.transaction():
            conn.execute("LOCK TABLE prices IN ACCESS EXCLUSIVE MODE")
            tracked.tick()
            answers = [crowd.submit(status, tracked) for _ in range(60)]
            told = {answer.result(10) for answer in answers}
            assert tracked.demo.asks("/health/live")
            time.sleep(6)  # longer than the worker's statement may take
        assert told == {(503, True)}


def status(tracked: Tracked) -> tuple[int, bool]:
    """What a request is told, and whether when to come back."""
    url = tracked.demo.api.base_url.join("prices?ticker=btc_usd")
    answer = httpx.get(url, timeout=8)
    return answer.status_code, "Retry-After" in answer.headers


@pytest.mark.parametrize("seed", range(SEED, SEED + 2))
def test_a_storm(tracked: Tracked, seed: int) -> None:
    """All kinds of faults at random for more than a minute, while the clock ticks."""
    with tracked.chaos(seed) as dice:
        until = time.monotonic() + 75
        while time.monotonic() < until:
            with suppress(redis.RedisError, psycopg.OperationalError):
                dice.choice([kill, pause, flush, trouble, crowd])(tracked, dice)
            time.sleep(dice.uniform(0.2, 3))


def kill(tracked: Tracked, dice: Random) -> None:
    tracked.kill(*dice.sample(ALL, dice.randint(1, 3)))


def pause(tracked: Tracked, dice: Random) -> None:
    with tracked.paused(dice.choice(ALL)):
        time.sleep(dice.uniform(0.5, 6))


def flush(tracked: Tracked, _: Random) -> None:
    with redis.from_url(tracked.settings.broker_url) as client:
        client.flushall()


def trouble(tracked: Tracked, dice: Random) -> None:
    kind = dice.choice(["timeout", "reset", "rate_limit", "maintenance", "html", "testnet"])
    tracked.trouble(kind, seconds=dice.uniform(1, 8), method=None)


def crowd(tracked: Tracked, dice: Random) -> None:
    for _ in range(dice.randint(1, 4)):
        tracked.ticked()


def test_the_clock_ticks_on(tracked: Tracked) -> None:
    """After all of that nobody hangs: the next minute comes without a hand."""
    with tracked.chaos(SEED):
        time.sleep(60.1 - time.time() % 60)
        minute = minute_of(datetime.now(UTC))
        tracked.wait_for(lambda: len(tracked.sources(minute)) == len(tracked.tickers))
        tracked.wait_for(lambda: not tracked.missing())


def test_all_of_it_is_told_to_end_and_starts_again(open_tmp: Path) -> None:
    """SIGTERM in the middle of polls; the next start finds the same rows and fills the rest."""
    home = open_tmp / "again-home"
    with tracking(home) as tracked:
        tracked.forget(range(5))
        tracked.mid_poll()
        assert tracked.demo.stop() == 0
    with tracking(home) as again, again.chaos(SEED):
        pass


def test_the_disk_is_full(open_tmp: Path) -> None:
    """Neither database nor queue can write; when there is room again, all is well."""
    with (
        small_disk(open_tmp / "small-disk", "250m") as disk,
        tracking(disk) as tracked,
        tracked.chaos(SEED),
    ):
        ballast = disk / "ballast"
        fill(ballast)
        tracked.ticked()
        with suppress(redis.RedisError), redis.from_url(tracked.settings.broker_url) as client:
            for _ in range(100):
                client.set("much", "x" * 100_000)
        with suppress(psycopg.Error), tracked.connected() as conn:
            for _ in range(100):
                conn.execute("SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000000))")
                conn.execute("SELECT pg_switch_wal()")
        for said in (r"MISCONF Errors writing", r"postgres .* PANIC: .*No space left on device"):
            tracked.wait_for(lambda said=said: re.search(said, tracked.demo.output()))
        time.sleep(5)
        ballast.unlink()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of that size, where the machine allows one."""
    folder.mkdir()
    options = ["-o", f"size={size},mode=755"]
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", *options, "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine allows no small tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(ballast: Path) -> None:
    """Write until nothing goes any more."""
    with ballast.open("wb", buffering=0) as stream:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while True:
                    os.write(stream.fileno(), b"\0" * size)
