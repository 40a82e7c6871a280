"""The profile `monitoring`, as far as there are stand-ins; and more of each than one."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.compose.stack import STEADY, TICKERS, WATCHERS, Stack
from tracker.times import MINUTE, minute_of

pytestmark = [pytest.mark.slow, pytest.mark.compose]

EVERY = {("web", 1), ("worker", 1), ("postgres", 1), ("redis", 1), ("prometheus", 1)}


@pytest.fixture(scope="module")
def watched(stack: Stack) -> Iterator[Stack]:
    """The stack with Prometheus, Alertmanager and the exporters, which go again."""
    stack.compose("build", *WATCHERS)
    stack.up(*STEADY, *WATCHERS)
    yield stack
    stack.compose("rm", "--stop", "--force", *WATCHERS, "monitoring_roles")


@pytest.fixture
def scaled(watched: Stack) -> Iterator[Stack]:
    """Two webs on a port each, three workers and two schedulers; each has an address of its own."""
    scale = ("--scale", "web=2", "--scale", "worker=3", "--scale", "scheduler=2")
    watched.compose("up", "--detach", "--wait", "--no-recreate", *scale, *STEADY)
    yield watched
    watched.up(*STEADY)


def answering(stack: Stack) -> set[tuple[str, int]]:
    """The jobs of Prometheus that answer it, and how many of each."""
    jobs = [series["job"] for series in stack.series("up == 1")]
    return {(job, jobs.count(job)) for job in jobs}


def test_all_but_the_machine_is_watched(watched: Stack) -> None:
    """Alloy would bring the job `host`."""
    watched.wait_for(lambda: answering(watched) == EVERY)
    for name in ("prometheus", "alertmanager"):
        assert watched.state(name) == "healthy"
    assert watched.state("monitoring_roles") == "exited 0"


def test_price_reaches_prometheus(watched: Stack) -> None:
    """It sees the polls succeed, and prices grow no older than polls allow."""
    fresh = (
        'tracker_price_age_seconds < 130 and on (ticker) tracker_polls_total{outcome="stored"} > 0'
    )
    watched.wait_for(lambda: {each["ticker"] for each in watched.series(fresh)} == set(TICKERS))
    assert watched.series("pg_up == 1")
    assert watched.series("redis_up == 1")


def test_two_webs_three_workers_and_two_schedulers(scaled: Stack) -> None:
    """Each is healthy, both webs answer alike, Prometheus finds them all, minutes go on."""
    states = scaled.states()
    names = [scaled.name("web", 2), *(scaled.name("worker", number) for number in (2, 3))]
    names.append(scaled.name("scheduler", 2))
    assert [states[name] for name in names] == ["healthy"] * 4
    minute = minute_of(datetime.now(UTC)) + MINUTE
    scaled.docker("kill", scaled.name("worker", 3))
    scaled.wait_for(lambda: scaled.polled(minute))
    pages = [scaled.api("/v1/prices", number, ticker=TICKERS[0]) for number in (1, 2)]
    assert pages[0] == pages[1] != []
    scaled.wait_for(lambda: {("web", 2), ("worker", 2)} <= answering(scaled))
