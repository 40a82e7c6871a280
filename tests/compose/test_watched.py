"""The profile `monitoring` with stand-ins, and several instances of each service."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.support.compose.stack import EMPTY, MONITORS, STEADY, TICKERS, Stack
from tracker.times import MINUTE, minute_of

pytestmark = [pytest.mark.slow, pytest.mark.compose]

JOBS = {("web", 1), ("worker", 1), ("postgres", 1), ("redis", 1), ("prometheus", 1)}


@pytest.fixture(scope="module")
def monitored(stack: Stack) -> Iterator[Stack]:
    """The stack with Prometheus, Alertmanager and the exporters."""
    stack.compose("build", *MONITORS)
    stack.just("monitoring")
    stack.up(*STEADY, *MONITORS)
    yield stack
    stack.compose("rm", "--stop", "--force", *MONITORS, *EMPTY, "monitoring_roles")


@pytest.fixture
def scaled(monitored: Stack) -> Iterator[Stack]:
    """Two webs, three workers and two schedulers."""
    scale = ("--scale", "web=2", "--scale", "worker=3", "--scale", "scheduler=2")
    monitored.compose("up", "--detach", "--wait", "--no-recreate", *scale, *STEADY)
    yield monitored
    monitored.up(*STEADY)


def jobs_up(stack: Stack) -> set[tuple[str, int]]:
    """Each of Prometheus' jobs that is up, with its number of targets."""
    jobs = [series["job"] for series in stack.series("up == 1")]
    return {(job, jobs.count(job)) for job in jobs}


def test_every_job_but_the_host_is_up(monitored: Stack) -> None:
    """Alloy provides the job `host`."""
    monitored.wait_until(lambda: jobs_up(monitored) == JOBS)
    for name in ("prometheus", "alertmanager", "postgres_exporter"):
        assert monitored.state(name) == "healthy"
    assert monitored.state("monitoring_roles") == "exited 0"


def test_price_metrics_reach_prometheus(monitored: Stack) -> None:
    fresh = (
        'tracker_price_age_seconds < 130 and on (ticker) tracker_polls_total{outcome="stored"} > 0'
    )
    monitored.wait_until(
        lambda: {each["ticker"] for each in monitored.series(fresh)} == set(TICKERS)
    )
    assert monitored.series("pg_up == 1")
    assert monitored.series("redis_up == 1")


def test_scaled_services_record_and_serve(scaled: Stack) -> None:
    states = scaled.states()
    names = [scaled.name("web", 2), *(scaled.name("worker", number) for number in (2, 3))]
    names.append(scaled.name("scheduler", 2))
    assert [states[name] for name in names] == ["healthy"] * 4
    minute = minute_of(datetime.now(UTC)) + MINUTE
    scaled.docker("kill", scaled.name("worker", 3))
    scaled.wait_until(lambda: scaled.is_polled(minute))
    pages = [scaled.api("/v1/prices", number, ticker=TICKERS[0]) for number in (1, 2)]
    assert pages[0] == pages[1] != []
    scaled.wait_until(lambda: {("web", 2), ("worker", 2)} <= jobs_up(scaled))
