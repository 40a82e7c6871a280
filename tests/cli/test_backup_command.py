"""`tracker backup` and `tracker restore` as a user runs them: files, signals, Docker Compose."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from tests.support.commands import TIMEOUT, run_command, start_command
from tests.support.database import create_database, insert_misses, insert_prices, list_databases
from tests.support.processes import command_line, process_tree
from tests.support.reference import random_walk
from tests.support.waiting import wait_until
from tracker import migrations
from tracker.settings import CHECKOUT, Settings

pytestmark = pytest.mark.slow

OLD = datetime(2023, 3, 1, tzinfo=UTC)
PRICES = random_walk(1, OLD, 200, 60_000)


@pytest.fixture(scope="module")
def source(servers: Settings) -> Iterator[Settings]:
    """A database with some hours of prices."""
    with create_database(servers) as settings:
        migrations.apply(settings.database_dsn)
        with psycopg.connect(settings.database_dsn, autocommit=True) as conn:
            insert_prices(conn, "btc_usd", PRICES)
            insert_misses(conn, "btc_usd", [OLD], "refused")
        yield settings.changed(postgres_password="very-secret")


def partial_databases(servers: Settings) -> set[str]:
    """Databases that an unfinished restore leaves."""
    return {
        name for name in list_databases(servers) if re.match("tracker_(restoring|empty)_", name)
    }


@pytest.fixture(scope="module")
def saved(source: Settings, open_tmp: Path) -> Path:
    """A file with the output of `backup -`, which prints nothing else."""
    file = open_tmp / "command.zip"
    words = [".venv/bin/tracker", "backup", "-"]
    done = subprocess.run(
        words, cwd=CHECKOUT, env=source.environment(), capture_output=True, check=True
    )
    assert done.stderr == b""
    file.write_bytes(done.stdout)
    return file


def test_unavailable_server_leaves_no_file(source: Settings, tmp_path: Path) -> None:
    """The password is not printed."""
    away = source.changed(postgres_host="/nowhere")
    for words in (["backup", str(tmp_path / "x.zip")], ["timescale-upgrade"]):
        code, output, error = run_command(away, *words)
        assert (code, output) == (1, "")
        assert error.startswith("tracker: connection ")
        assert "very-secret" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_backup_leaves_no_file(
    source: Settings, tmp_path: Path, number: signal.Signals
) -> None:
    """Nor pg_dump, which no other user could read the password from."""
    file = tmp_path / "all.zip"
    with (
        psycopg.connect(source.database_dsn) as blocker,
        psycopg.connect(source.database_dsn, autocommit=True) as conn,
    ):
        blocker.execute("LOCK TABLE _yoyo_log IN ACCESS EXCLUSIVE MODE")
        with start_command(source, "backup", str(file)) as process:
            wait_until(lambda: count_lock_waits(conn, source))
            [dump] = [
                pid for pid in process_tree(process.pid) if "--format=custom" in command_line(pid)
            ]
            assert not [word for word in command_line(dump) if "very-secret" in word]
            process.send_signal(number)
            assert process.wait(TIMEOUT) == (-9 if number == signal.SIGKILL else 130)
            wait_until(lambda: not command_line(dump))
    assert not file.exists()
    if number != signal.SIGKILL:
        assert list(tmp_path.iterdir()) == []


def count_lock_waits(conn: psycopg.Connection, settings: Settings) -> int:
    """How many sessions wait for a lock."""
    query = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
    return conn.execute(query, [settings.postgres_db]).rowcount


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_restore_leaves_nothing(
    fresh: Settings, saved: Path, number: signal.Signals
) -> None:
    """After a kill the next restore cleans up, and succeeds."""
    with start_command(fresh, "restore", str(saved)) as process:
        wait_until(lambda: partial_databases(fresh))
        process.send_signal(number)
        assert process.wait(TIMEOUT) == (-9 if number == signal.SIGKILL else 130)
    if number == signal.SIGTERM:
        assert not partial_databases(fresh)

    wait_until(lambda: run_command(fresh, "restore", str(saved))[0] == 0)
    assert not partial_databases(fresh)


@pytest.fixture
def docker(tmp_path: Path) -> dict[str, str]:
    """An environment whose `docker` logs its arguments; `run` prints BACKUP or exits with FAILS."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "docker").write_text(
        f'#!/bin/sh\necho "$@" >>{tmp_path}/log\n'
        'case " $* " in *" run "*) printf BACKUP; exit ${FAILS:-0} ;; esac\n'
    )
    (folder / "docker").chmod(0o755)
    return {"PATH": f"{folder}:{CHECKOUT}/.venv/bin:{os.environ['PATH']}"}


def recipe(env: dict[str, str], cwd: Path, *words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [CHECKOUT / "ops/backup", *words], env=env, cwd=cwd, capture_output=True, text=True,
        timeout=TIMEOUT, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_recipe_runs_in_a_container_with_compose(docker: dict[str, str], tmp_path: Path) -> None:
    """As the owner; the file is complete or absent."""
    base = f"compose --project-directory {CHECKOUT} run --rm --no-TTY"
    folder = tmp_path / "a folder"
    folder.mkdir()
    assert recipe(docker, folder, "backup", "x.zip", "--csv") == (0, "wrote x.zip\n", "")
    assert recipe(docker, folder, "backup", "-") == (0, "BACKUP", "")
    assert recipe(docker | {"FAILS": "3"}, folder, "backup", "y.zip")[0] == 3
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"x.zip": "BACKUP"}
    assert recipe(docker, folder, "restore", "x.zip")[0] == 0
    runs = [line for line in (tmp_path / "log").read_text().splitlines() if " run " in line]
    assert runs == [
        f"{base} migrate backup --csv -",
        f"{base} migrate backup -",
        f"{base} migrate backup -",
        f"{base} --volume {folder}/x.zip:/backup.zip:ro migrate restore /backup.zip",
    ]
    for words in (["backup", "--nonsense"], ["backup", "a", "b"], ["restore"]):
        code, _, error = recipe(docker, folder, *words)
        assert (code, error[:6]) == (2, "usage:")
