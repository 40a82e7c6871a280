"""The recipes that drive Compose, run by `ops/just` in the stack's folder."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from tests.support.compose.stack import (
    EMPTY,
    MONITORS,
    STEADY,
    TIMEOUT,
    TRACKER,
    Stack,
    renamed_database,
)
from tracker import migrations
from tracker.times import MINUTE, minute_of

pytestmark = [pytest.mark.slow, pytest.mark.compose]

SERVERS = ("db", "redis")
MONITORING = (*MONITORS, *EMPTY)
SECRETS = ["exporter_db_password", "grafana_admin_password", "grafana_db_password"]
PUBLISHED = (("grafana", "3000"), ("loki", "3100"))
JOBS = {"web", "worker", "postgres", "redis", "prometheus"}


@pytest.fixture
def restored(stack: Stack) -> Iterator[Stack]:
    """The stack, healthy again afterwards."""
    yield stack
    stack.up(*STEADY)


@pytest.fixture
def unmonitored(restored: Stack) -> Iterator[Stack]:
    """The stack without monitoring, and without passwords for it."""
    shutil.rmtree(restored.folder / ".local")
    yield restored
    restored.compose("rm", "--stop", "--force", *MONITORING, "monitoring_roles")


@contextmanager
def foreground(stack: Stack, recipe: str, log: Path) -> Iterator[None]:
    """Run *recipe* in the foreground with output to *log*; Ctrl-C ends it as expected."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["ops/just", recipe], cwd=stack.folder, env=stack.engine.env,
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    try:
        yield
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(TIMEOUT) == 130, log.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def changed_states(stack: Stack, recipe: str) -> dict[str, str]:
    """The containers whose state *recipe* changes, with the new state."""
    before = stack.states()
    stack.just(recipe)
    return {name: state for name, state in stack.states().items() if before.get(name) != state}


def expected_states(stack: Stack, services: Iterable[str], state: str) -> dict[str, str]:
    """The containers of *services*, each in *state*."""
    return dict.fromkeys(map(stack.name, services), state)


def error_line(stack: Stack, *words: str, **variables: str) -> str:
    """The last line of a failing recipe's output, without a traceback or a message of just."""
    done = subprocess.run(
        ["ops/just", *words], cwd=stack.folder, env={**stack.engine.env, **variables},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=TIMEOUT,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "recipe" not in done.stderr
    return done.stderr.splitlines()[-1]


def test_down_stops_only_the_tracker(restored: Stack) -> None:
    assert changed_states(restored, "down") == expected_states(restored, TRACKER, "exited 0")
    assert restored.api("/health/live") is None
    assert changed_states(restored, "down") == {}


def test_infra_starts_only_the_servers(restored: Stack) -> None:
    restored.compose("stop", *STEADY)
    assert changed_states(restored, "infra") == expected_states(restored, SERVERS, "healthy")
    assert changed_states(restored, "infra") == {}
    assert changed_states(restored, "down-infra") == expected_states(restored, SERVERS, "exited 0")
    assert changed_states(restored, "down-infra") == {}
    assert changed_states(restored, "upgrade") == expected_states(
        restored, ["db"], "healthy"
    )  # all that it needs


def test_upgrade_applies_each_migration_once(stack: Stack) -> None:
    with renamed_database(stack):
        stack.psql("CREATE DATABASE tracker")
        printed = stack.just("upgrade")
        assert [line for line in printed.splitlines() if line.startswith("applied ")] == [
            f"applied {name}" for name in migrations.names()
        ]
        assert stack.just("upgrade").endswith("\nthe database is up to date")


def test_database_recipes_use_the_stack(stack: Stack) -> None:
    """psql, the connection string, from this machine too, analysts, and a refused rollback."""
    assert stack.just("psql", "-AtXc", "SELECT current_database()") == "tracker"
    with psycopg.connect(stack.just("dsn").splitlines()[-1]) as conn:
        [(stored,)] = conn.execute("SELECT count(*) FROM prices").fetchall()
    assert stored
    query = ("psql", "-AtXc", "SELECT current_user")
    words = ("env", "POSTGRES_USER=analyst", "ops/just", *query)
    assert stack.engine.run(*words, cwd=stack.folder) == "analyst"
    for names, name in (((), "analyst"), (("ann",), "ann")):
        url = stack.just("analyst-password", *names).splitlines()[-1]
        with psycopg.connect(url) as conn:
            assert conn.execute("SELECT current_user").fetchone() == (name,)
    line = error_line(stack, "downgrade", "rev=0")
    assert line.startswith("tracker: rev: a rollback to 0 drops ")


def test_stopped_database_is_reported(restored: Stack) -> None:
    restored.compose("stop", *STEADY)
    for recipe in ("dsn", "psql", "analyst-password"):
        assert error_line(restored, recipe).startswith("tracker: nothing runs: ")


def test_failed_upgrade_reports_the_reason(stack: Stack) -> None:
    assert error_line(stack, "upgrade", LOG_LEVEL="loud").startswith("tracker: LOG_LEVEL: ")
    stack.docker("pause", stack.name("db"))
    try:
        assert error_line(stack, "upgrade").startswith("Error response from daemon: ")
    finally:
        stack.docker("unpause", stack.name("db"))
        stack.wait_until(lambda: stack.state("db") == "healthy")
    with renamed_database(stack):
        line = error_line(stack, "upgrade")
        assert line.startswith("tracker: ")
        assert line.endswith('database "tracker" does not exist')


def test_dev_recipes_start_and_stop_their_parts(restored: Stack, tmp_path: Path) -> None:
    """Ctrl-C stops what each recipe has started, and nothing else."""
    restored.compose("stop", *STEADY)
    web = tmp_path / "web.log"
    with foreground(restored, "dev-web", web):
        restored.wait_until(lambda: restored.api("/health/live"))
        restored.wait_until(lambda: restored.state("web") == "healthy")
        assert {restored.state(name) for name in ("worker", "scheduler")} == {"exited 0"}
        with foreground(restored, "dev-worker", tmp_path / "worker.log"):
            restored.wait_until(lambda: restored.state("worker") == "healthy")
            restored.wait_until(lambda: restored.state("scheduler") == "healthy")
            minute = minute_of(datetime.now(UTC)) + MINUTE
            restored.wait_until(lambda: restored.is_polled(minute))
        states = {name: restored.state(name) for name in ("web", "worker", "scheduler")}
        assert states == {"web": "healthy", "worker": "exited 0", "scheduler": "exited 0"}
    assert restored.state("web") == "exited 0"
    assert {restored.state(name) for name in SERVERS} == {"healthy"}
    assert "Application startup complete" in web.read_text()


def test_monitoring_prints_its_addresses_and_keeps_its_passwords(unmonitored: Stack) -> None:
    last = unmonitored.just("monitoring").splitlines()[-2:]
    folder = unmonitored.folder / ".local/secrets"
    passwords = {path.name: path.read_text() for path in folder.iterdir()}

    printed = dict(line.split(maxsplit=1) for line in last)
    grafana, loki = (unmonitored.compose("port", *each) for each in PUBLISHED)
    assert printed["Grafana"].startswith(f"http://{grafana} ")
    assert printed["Grafana"].endswith(" .local/secrets/grafana_admin_password")
    assert printed["Loki"] == f"http://{loki}"
    assert sorted(passwords) == SECRETS
    assert {len(password.strip()) for password in set(passwords.values())} == {24}
    assert len(set(passwords.values())) == len(SECRETS)
    modes = [path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())]
    assert modes == [0o700, *[0o644] * len(SECRETS)]
    unmonitored.just("monitoring")
    assert {path.name: path.read_text() for path in folder.iterdir()} == passwords


def test_monitoring_runs_until_it_is_stopped(unmonitored: Stack) -> None:
    unmonitored.just("monitoring")
    unmonitored.wait_until(lambda: {each["job"] for each in unmonitored.series("up == 1")} == JOBS)
    unmonitored.wait_until(
        lambda: unmonitored.series("pg_up == 1") and unmonitored.series("redis_up == 1")
    )
    for name in ("prometheus", "alertmanager", "postgres_exporter"):
        unmonitored.wait_until(lambda name=name: unmonitored.state(name) == "healthy")
    assert {unmonitored.state(name) for name in (*EMPTY, "redis_exporter")} == {"running"}

    assert changed_states(unmonitored, "monitoring") == {}
    stopped = changed_states(unmonitored, "down-monitoring")
    assert set(stopped) == set(map(unmonitored.name, MONITORING))
    assert set(stopped.values()) <= {"exited 0", "exited 2"}  # 2: an exporter's, for any signal
