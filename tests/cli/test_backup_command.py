"""`tracker backup` and `tracker restore` as a user runs them: files, signals, Docker Compose."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.cli.test_backup import OLD, databases
from tests.cli.test_import_and_export_commands import PATIENCE, run, started
from tests.support.archive import miss, store, walk
from tests.support.running import command, members
from tests.support.servers import fresh_database
from tests.support.working import wait_for
from tracker import migrations
from tracker.settings import CHECKOUT, Settings

pytestmark = pytest.mark.slow

PRICES = walk(1, OLD, 200, 60_000)
WORDS = f"{len(PRICES)} prices and 1 misses of 1 indexes"


@pytest.fixture(scope="module")
def source(servers: Settings) -> Iterator[Settings]:
    """A database with some hours of prices."""
    with fresh_database(servers) as settings:
        migrations.apply(settings.database_dsn)
        with psycopg.connect(settings.database_dsn, autocommit=True) as conn:
            store(conn, "btc_usd", PRICES)
            miss(conn, "btc_usd", [OLD], "refused")
        yield settings.changed(postgres_password="very-secret")


@pytest.fixture
def target(servers: Settings) -> Iterator[Settings]:
    """An empty database."""
    with fresh_database(servers) as settings:
        yield settings


def left(servers: Settings) -> set[str]:
    """Databases that only a restore makes."""
    return {name for name in databases(servers) if re.match("tracker_(restoring|empty)_", name)}


def test_backup_can_be_restored_once(source: Settings, target: Settings, tmp_path: Path) -> None:
    """Both print what they did; the file is alone in its folder. A second restore is refused."""
    file = tmp_path / "all.zip"
    wrote = run(source, "backup", "--csv", str(file))
    assert wrote == (0, f"wrote {WORDS} to {file}\n", "")
    assert list(tmp_path.iterdir()) == [file]

    back = run(target, "restore", str(file))
    assert back == (0, f"restored {WORDS}; all checksums match\n", "")
    code, said, complaint = run(target, "restore", str(file))
    assert (code, said) == (1, "")
    assert re.fullmatch(r"tracker: database \w+ holds rows already, in .*\n", complaint)


@pytest.fixture(scope="module")
def saved(source: Settings, open_tmp: Path) -> Path:
    """What `backup -` prints: the bytes of a dump, and not a word."""
    file = open_tmp / "command.zip"
    words = [".venv/bin/tracker", "backup", "-"]
    done = subprocess.run(
        words, cwd=CHECKOUT, env=source.environment(), capture_output=True, check=True
    )
    assert done.stderr == b""
    file.write_bytes(done.stdout)
    return file


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["restore", "/nowhere.zip"], "/nowhere.zip: No such file or directory"),
        (["restore", __file__], f"{__file__}: is not a backup, or an incomplete one"),
        (["backup", "/tmp"], "/tmp: Is a directory"),
    ],
)
def test_error_is_one_line(source: Settings, words: list[str], complaint: str) -> None:
    """Exit status 1, no traceback."""
    assert run(source, *words) == (1, "", f"tracker: {complaint}\n")


def test_unavailable_server_leaves_no_file(source: Settings, tmp_path: Path) -> None:
    """The password is not printed."""
    away = source.changed(postgres_host="/nowhere")
    for words in (["backup", str(tmp_path / "x.zip")], ["timescale-upgrade"]):
        code, said, complaint = run(away, *words)
        assert (code, said) == (1, "")
        assert complaint.startswith("tracker: connection ")
        assert "very-secret" not in complaint
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
        with started(source, "backup", str(file)) as process:
            wait_for(lambda: waits(conn, source))
            [dump] = [pid for pid in members(process.pid) if "--format=custom" in command(pid)]
            assert not [word for word in command(dump) if "very-secret" in word]
            process.send_signal(number)
            assert process.wait(PATIENCE) == (-9 if number == signal.SIGKILL else 130)
            wait_for(lambda: not command(dump))
    assert not file.exists()
    if number != signal.SIGKILL:
        assert list(tmp_path.iterdir()) == []


def waits(conn: psycopg.Connection, settings: Settings) -> int:
    """Whether pg_dump waits for a lock."""
    query = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
    return conn.execute(query, [settings.postgres_db]).rowcount


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_restore_leaves_nothing(
    target: Settings, saved: Path, number: signal.Signals
) -> None:
    """After a kill the next restore cleans up, and succeeds."""
    with started(target, "restore", str(saved)) as process:
        wait_for(lambda: left(target))
        process.send_signal(number)
        assert process.wait(PATIENCE) == (-9 if number == signal.SIGKILL else 130)
    if number == signal.SIGTERM:
        assert not left(target)

    wait_for(lambda: run(target, "restore", str(saved))[0] == 0)
    assert not left(target)


@pytest.fixture
def docker(tmp_path: Path) -> dict[str, str]:
    """An environment whose `docker` notes its words; run, it prints BACKUP or fails if told to."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "docker").write_text(
        f'#!/bin/sh\necho "$@" >>{tmp_path}/said\n'
        'case " $* " in *" run "*) printf BACKUP; exit ${FAILS:-0} ;; esac\n'
    )
    (folder / "docker").chmod(0o755)
    return {"PATH": f"{folder}:{CHECKOUT}/.venv/bin:{os.environ['PATH']}"}


def recipe(env: dict[str, str], cwd: Path, *words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [CHECKOUT / "ops/backup", *words], env=env, cwd=cwd, capture_output=True, text=True,
        timeout=PATIENCE, check=False,
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
    said = [line for line in (tmp_path / "said").read_text().splitlines() if " run " in line]
    assert said == [
        f"{base} migrate backup --csv -",
        f"{base} migrate backup -",
        f"{base} migrate backup -",
        f"{base} --volume {folder}/x.zip:/backup.zip:ro migrate restore /backup.zip",
    ]
    for words in (["backup", "--nonsense"], ["backup", "a", "b"], ["restore"]):
        code, _, complaint = recipe(docker, folder, *words)
        assert (code, complaint[:6]) == (2, "usage:")
