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

from tests.support.commands import (
    TIMEOUT,
    assert_only_force_overwrites,
    run_command,
    start_command,
)
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


def test_backup_overwrites_only_by_force(source: Settings, tmp_path: Path) -> None:
    """The new file replaces the old one when it is complete."""
    file = tmp_path / "all.zip"
    assert_only_force_overwrites(source, "backup", file)
    assert file.read_bytes().startswith(b"PK")
    assert list(tmp_path.iterdir()) == [file]


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
    """An environment whose `docker` logs its arguments; `run` prints BACKUP or exits with FAILS.

    CONTAINER is that of the database, PORT its published port.
    """
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "docker").write_text(
        f'#!/bin/sh\necho "$@" >>{tmp_path}/log\n'
        'case " $* " in\n'
        '*" run "*) printf BACKUP; exit ${FAILS:-0} ;;\n'
        '*" ps --quiet db "*) echo $CONTAINER ;;\n'
        '*" port db 5432 "*) [ -n "$PORT" ] && echo $PORT ;;\n'
        '*" inspect "*) echo "172.20.0.3 172.21.0.5 " ;;\n'
        "esac\n"
    )
    (folder / "docker").chmod(0o755)
    return {
        "PATH": f"{folder}:{CHECKOUT}/.venv/bin:{os.environ['PATH']}",
        "TRACKER_HOME": str(tmp_path / "home"),
    }


def run_script(env: dict[str, str], cwd: Path, *words: str) -> tuple[int, str, str]:
    """The result of ops/database."""
    done = subprocess.run(
        [CHECKOUT / "ops/database", *words], env=env, cwd=cwd, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def logged(tmp_path: Path, word: str) -> list[str]:
    """The arguments of each call of `docker` with that *word*, without those of each."""
    base = f"compose --project-directory {CHECKOUT} "
    lines = (tmp_path / "log").read_text().splitlines()
    return [line.removeprefix(base) for line in lines if f" {word} " in line]


def test_backup_runs_in_a_container_with_compose(docker: dict[str, str], tmp_path: Path) -> None:
    """As the owner; the file is complete or absent, and replaces another only with --force."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    assert run_script(docker, folder, "backup", "x.zip", "--csv") == (0, "wrote x.zip\n", "")
    assert run_script(docker, folder, "backup", "-") == (0, "BACKUP", "")
    assert run_script(docker | {"FAILS": "3"}, folder, "backup", "y.zip")[0] == 3
    exists = "tracker: x.zip: exists already, with 6 bytes; --force overwrites it\n"
    assert run_script(docker, folder, "backup", "x.zip") == (1, "", exists)
    assert run_script(docker, folder, "backup", "x.zip", "--force")[0] == 0
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"x.zip": "BACKUP"}
    assert run_script(docker, folder, "restore", "x.zip")[0] == 0
    volume = f"--volume {folder}/x.zip:/backup.zip:ro"
    assert logged(tmp_path, "run") == [
        "run --rm --no-TTY migrate backup --csv -",
        "run --rm --no-TTY migrate backup -",
        "run --rm --no-TTY migrate backup -",
        "run --rm --no-TTY migrate backup -",
        f"run --rm --no-TTY {volume} migrate restore /backup.zip",
    ]
    for words in (["backup", "--nonsense"], ["backup", "a", "b"], ["restore"]):
        code, _, error = run_script(docker, folder, *words)
        assert (code, error[:6]) == (2, "usage:")


def test_every_database_recipe_finds_compose(docker: dict[str, str], tmp_path: Path) -> None:
    """Migrations, psql, and connection strings, with the published or the container's port."""
    runs = docker | {"CONTAINER": "abc"}
    published = runs | {"PORT": "0.0.0.0:5439"}
    for env, *words in (
        (docker, "migrate"),
        (docker, "timescale-upgrade"),
        (docker, "rollback", "2", "--force"),
        (runs, "dsn"),
        (published, "dsn", "--url"),
        (published, "analyst-password", "ann"),
    ):
        code, _, errors = run_script(env, tmp_path, *words)
        assert (words, code, errors) == (words, 0, "")
    assert run_script(runs, tmp_path, "psql", "-c", "SELECT 1")[0] == 0
    dsn = "run --rm --no-TTY --no-deps --env DIRECT_POSTGRES_HOST= --env POSTGRES_HOST="
    assert logged(tmp_path, "run") == [
        "run --rm --build migrate",
        "run --rm --build migrate timescale-upgrade",
        "run --rm --no-TTY migrate rollback 2 --force",
        f"{dsn}172.20.0.3 --env POSTGRES_PORT=5432 migrate dsn",
        f"{dsn}127.0.0.1 --env POSTGRES_PORT=5439 migrate dsn --url",
        f"{dsn}127.0.0.1 --env POSTGRES_PORT=5439 migrate analyst-password ann",
    ]
    [psql] = logged(tmp_path, "exec")
    assert psql.startswith("exec --no-TTY db sh -c exec psql --username ")
    assert psql.endswith(" psql -c SELECT 1")


@pytest.mark.parametrize("command", ["psql", "dsn"])
def test_nothing_that_runs_is_an_error(
    docker: dict[str, str], tmp_path: Path, command: str
) -> None:
    """With Docker Compose and without."""
    code, output, errors = run_script(docker, tmp_path, command)
    assert (code, output) == (1, "")
    assert errors.startswith("tracker: nothing runs: neither an embedded database nor Compose's;")
    without = docker | {"PATH": f"{CHECKOUT}/.venv/bin:{os.environ['PATH']}"}
    hidden = tmp_path / "bin" / "docker"
    hidden.unlink()
    code, output, errors = run_script(without, tmp_path, command)
    assert (code, output) == (1, "")
    assert errors.startswith(f"tracker: no database runs in {tmp_path}/home")
    assert errors.count("\n") == 1


def test_embedded_database_that_runs_precedes_compose(
    docker: dict[str, str], source: Settings, tmp_path: Path
) -> None:
    """Also the server that POSTGRES_HOST names."""
    home = docker | {"TRACKER_HOME": str(source.home), "POSTGRES_DB": source.postgres_db}
    assert (
        run_script(home, tmp_path, "dsn")[1]
        == f"{source.changed(postgres_password='').direct_dsn}\n"
    )
    named = docker | {"POSTGRES_HOST": "db.example.org"}
    code, output, _ = run_script(named, tmp_path, "dsn")
    assert (code, output.split()[0]) == (0, "host=db.example.org")
    assert not logged(tmp_path, "run")
