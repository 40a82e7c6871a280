"""The recipes that drive Compose, run by `ops/just` where the stack is: each does what it says."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.compose.stack import EMPTY, PATIENCE, STEADY, TRACKER, WATCHERS, Stack, aside
from tracker import migrations
from tracker.times import MINUTE, minute_of

pytestmark = [pytest.mark.slow, pytest.mark.compose]

SERVERS = ("db", "redis")
MONITORING = (*WATCHERS, *EMPTY)
SECRETS = ["exporter_db_password", "grafana_admin_password", "grafana_db_password"]
PUBLISHED = (("grafana", "3000"), ("loki", "3100"))
JOBS = {"web", "worker", "postgres", "redis", "prometheus"}


@pytest.fixture
def restored(stack: Stack) -> Iterator[Stack]:
    """The stack, which is well again afterwards."""
    yield stack
    stack.up(*STEADY)


@pytest.fixture
def unwatched(restored: Stack) -> Iterator[Stack]:
    """The stack without monitoring, and without passwords for it."""
    shutil.rmtree(restored.folder / ".local")
    yield restored
    restored.compose("rm", "--stop", "--force", *MONITORING, "monitoring_roles")


@contextmanager
def terminal(stack: Stack, recipe: str, log: Path) -> Iterator[None]:
    """*recipe* runs in the foreground and writes to *log*, until Ctrl-C ends it as it should."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["ops/just", recipe], cwd=stack.folder, env=stack.engine.env,
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    try:
        yield
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE) == 130, log.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def changed(stack: Stack, recipe: str) -> dict[str, str]:
    """The containers whose state *recipe* changes, with the new one."""
    before = stack.states()
    stack.just(recipe)
    return {name: state for name, state in stack.states().items() if before.get(name) != state}


def all_of(stack: Stack, services: Iterable[str], state: str) -> dict[str, str]:
    """The containers of *services*, each in *state*."""
    return dict.fromkeys(map(stack.name, services), state)


def complaint(stack: Stack, *words: str, **variables: str) -> str:
    """The last line of a recipe that fails; there is neither a traceback nor a word of just's."""
    done = subprocess.run(
        ["ops/just", *words], cwd=stack.folder, env={**stack.engine.env, **variables},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "recipe" not in done.stderr
    return done.stderr.splitlines()[-1]


def test_down_stops_the_tracker(restored: Stack) -> None:
    """And nothing else; twice is once."""
    assert changed(restored, "down") == all_of(restored, TRACKER, "exited 0")
    assert restored.api("/health/live") is None
    assert changed(restored, "down") == {}


def test_infra_starts_the_servers(restored: Stack) -> None:
    """They are well when it ends, and alone; `down-infra` stops them. Twice is once."""
    restored.compose("stop", *STEADY)
    assert changed(restored, "infra") == all_of(restored, SERVERS, "healthy")
    assert changed(restored, "infra") == {}
    assert changed(restored, "down-infra") == all_of(restored, SERVERS, "exited 0")
    assert changed(restored, "down-infra") == {}
    assert changed(restored, "upgrade") == all_of(restored, ["db"], "healthy")  # all that it needs


def test_upgrade_applies_the_migrations(stack: Stack) -> None:
    """All of them to a new database, none the second time."""
    with aside(stack):
        stack.psql("CREATE DATABASE tracker")
        printed = stack.just("upgrade")
        assert [line for line in printed.splitlines() if line.startswith("applied ")] == [
            f"applied {name}" for name in migrations.names()
        ]
        assert stack.just("upgrade").endswith("\nthe database is up to date")


def test_upgrade_that_cannot_be_says_why(stack: Stack) -> None:
    """In one line, be it a setting, the server or the database that is at fault."""
    assert complaint(stack, "upgrade", LOG_LEVEL="loud").startswith("tracker: LOG_LEVEL: ")
    stack.docker("pause", stack.name("db"))
    try:
        assert complaint(stack, "upgrade").startswith("Error response from daemon: ")
    finally:
        stack.docker("unpause", stack.name("db"))
        stack.wait_for(lambda: stack.state("db") == "healthy")
    with aside(stack):
        line = complaint(stack, "upgrade")
        assert line.startswith("tracker: ")
        assert line.endswith('database "tracker" does not exist')


def test_two_terminals_serve_and_record(restored: Stack, tmp_path: Path) -> None:
    """`dev-web` and `dev-worker`, from nothing; Ctrl-C in each stops what it began, and no more."""
    restored.compose("stop", *STEADY)
    web = tmp_path / "web.log"
    with terminal(restored, "dev-web", web):
        restored.wait_for(lambda: restored.api("/health/live"))
        restored.wait_for(lambda: restored.state("web") == "healthy")
        assert {restored.state(name) for name in ("worker", "scheduler")} == {"exited 0"}
        with terminal(restored, "dev-worker", tmp_path / "worker.log"):
            restored.wait_for(lambda: restored.state("worker") == "healthy")
            restored.wait_for(lambda: restored.state("scheduler") == "healthy")
            minute = minute_of(datetime.now(UTC)) + MINUTE
            restored.wait_for(lambda: restored.polled(minute))
        states = {name: restored.state(name) for name in ("web", "worker", "scheduler")}
        assert states == {"web": "healthy", "worker": "exited 0", "scheduler": "exited 0"}
    assert restored.state("web") == "exited 0"
    assert {restored.state(name) for name in SERVERS} == {"healthy"}
    assert "Application startup complete" in web.read_text()


def test_monitoring_says_where_it_is(unwatched: Stack) -> None:
    """The addresses are so; its passwords are made once, and lie in a folder for the owner only."""
    last = unwatched.just("monitoring").splitlines()[-2:]
    folder = unwatched.folder / ".local/secrets"
    made = {path.name: path.read_text() for path in folder.iterdir()}

    printed = dict(line.split(maxsplit=1) for line in last)
    grafana, loki = (unwatched.compose("port", *each) for each in PUBLISHED)
    assert printed["Grafana"].startswith(f"http://{grafana} ")
    assert printed["Grafana"].endswith(" .local/secrets/grafana_admin_password")
    assert printed["Loki"] == f"http://{loki}"
    assert sorted(made) == SECRETS
    assert {len(password.strip()) for password in set(made.values())} == {24}
    assert len(set(made.values())) == len(SECRETS)
    modes = [path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())]
    assert modes == [0o700, *[0o644] * len(SECRETS)]
    unwatched.just("monitoring")
    assert {path.name: path.read_text() for path in folder.iterdir()} == made


def test_monitoring_watches_until_it_is_stopped(unwatched: Stack) -> None:
    """Prometheus, Alertmanager and the exporters answer; `down-monitoring` stops them."""
    unwatched.just("monitoring")
    unwatched.wait_for(lambda: {each["job"] for each in unwatched.series("up == 1")} == JOBS)
    unwatched.wait_for(lambda: unwatched.series("pg_up == 1") and unwatched.series("redis_up == 1"))
    for name in ("prometheus", "alertmanager"):
        unwatched.wait_for(lambda name=name: unwatched.state(name) == "healthy")
    assert {unwatched.state(name) for name in (*EMPTY, *WATCHERS[2:])} == {"running"}

    assert changed(unwatched, "monitoring") == {}
    stopped = changed(unwatched, "down-monitoring")
    assert set(stopped) == set(map(unwatched.name, MONITORING))
    assert set(stopped.values()) <= {"exited 0", "exited 2"}  # 2: an exporter's, for any signal
