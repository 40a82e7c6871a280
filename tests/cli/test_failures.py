"""Whatever fails: one line on standard error, the exit status, no traceback, no half file."""

import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from ops.bench.processes import free_ports
from tests.support.api import serve_api
from tests.support.commands import TIMEOUT, read_line, run_command, start_command
from tests.support.database import create_database, insert_prices
from tests.support.reference import random_walk
from tests.support.waiting import wait_until
from tracker import migrations
from tracker.settings import Settings
from tracker.simulator import running_simulator
from tracker.transfer.backup import backup

pytestmark = pytest.mark.slow

PARALLEL = 3
NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
HEADER = "ticker,created_at,price\n"

Result = tuple[int, str, str]


@pytest.fixture(scope="module")
def filled(base: Settings) -> Settings:
    """A database with an hour of prices."""
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        insert_prices(conn, "btc_usd", random_walk(1, NOON, 60, 60_000))
    return base


@pytest.fixture(scope="module")
def url(filled: Settings) -> Iterator[str]:
    """Its API."""
    with serve_api(filled) as client:
        yield str(client.base_url)


@pytest.fixture(scope="module")
def saved(filled: Settings, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A backup of it."""
    file = tmp_path_factory.mktemp("saved") / "saved.zip"
    backup(filled, str(file), "csv")
    return str(file)


@pytest.fixture(scope="module")
def exchange() -> Iterator[str]:
    """The address of a simulated exchange."""
    with running_simulator() as simulator:
        yield simulator.url


def run_all(settings: Settings, commands: Iterable[str], **streams: int) -> dict[str, Result]:
    """The result of each of *commands*, which do not depend on each other."""

    def run(words: str) -> Result:
        with start_command(settings, *words.split(), **streams) as process:
            output, errors = process.communicate(HEADER, timeout=TIMEOUT)
        return process.returncode, output, errors

    names = list(commands)
    with ThreadPoolExecutor(PARALLEL) as pool:
        return dict(zip(names, pool.map(run, names), strict=True))


def assert_one_line(results: Mapping[str, Result], status: int = 1) -> None:
    """Each failed with that *status*, one line of error, and no output."""
    for words, (code, output, errors) in results.items():
        assert (words, code, output) == (words, status, "")
        assert errors.startswith("tracker: "), (words, errors)
        assert errors.count("\n") == 1, (words, errors)


def database_commands(folder: Path, saved: str) -> list[str]:
    """Commands that need a database, with a schema."""
    words = ["export", f"export {folder}/x.csv", "import -", "backfill --range 1h"]
    return [*words, f"backup {folder}/x.zip", f"backup --csv {folder}/y.zip", f"restore {saved}"]


def test_unavailable_database(filled: Settings, tmp_path: Path, saved: str, exchange: str) -> None:
    """Of POSTGRES_HOST, or embedded and not running; no file is left."""
    words = [*database_commands(tmp_path, saved), "migrate", "rollback 0", "timescale-upgrade"]
    away = filled.changed(postgres_host="/nowhere", client_base_url=exchange)
    assert_one_line(run_all(away, words))
    alone = filled.changed(tracker_home=tmp_path / "home", client_base_url=exchange)
    assert_one_line(run_all(alone, ["export", "dsn", "psql -c table", f"restore {saved}"]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("level", ["none", "0", "3"])
def test_missing_or_old_schema(
    servers: Settings, tmp_path: Path, exchange: str, level: str
) -> None:
    """Never migrated, or rolled back; commands that the older tables suffice for still work."""
    with create_database(servers) as fresh:
        settings = fresh.changed(client_base_url=exchange)
        if level != "none":
            migrations.apply(fresh.database_dsn)
            migrations.rollback(fresh.database_dsn, level)
        words = ["import -", "backfill --range 1h"]
        if level == "none":
            words += ["export", f"export {tmp_path}/x.csv"]
            words += [f"backup {tmp_path}/x.zip", f"backup --csv {tmp_path}/y.zip"]
        results = run_all(settings, words)
        assert_one_line(results)
        assert "run `tracker migrate`" in results["import -"][2]
        assert not list(tmp_path.iterdir())
        if level == "3":
            code, output, errors = run_command(settings, "backup", f"{tmp_path}/x.zip")
            assert (code, output[:5], errors.count("\n")) == (0, "wrote", 1)
            assert errors.startswith(
                "tracker: the backup is complete, but its time is not recorded: "
            )


def test_missing_schema_behind_the_api(servers: Settings) -> None:
    """The error names the address; only a read of several pages is retried."""
    with create_database(servers) as fresh, serve_api(fresh) as client:
        address = str(client.base_url)
        reads = ("last", "prices btc_usd", "watch btc_usd")
        results = run_all(fresh, [f"{words} --url {address}" for words in reads])
        assert_one_line(results)
        assert all(address in errors for *_, errors in results.values())
        with start_command(fresh, "prices", "btc_usd", "--all", "--url", address) as process:
            assert read_line(process.stderr).startswith(f"tracker: {address}: ")
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=TIMEOUT) == ("", "")
    assert process.returncode == 130


def test_unknown_index(filled: Settings, url: str, exchange: str) -> None:
    """Refused by the API, the database or the command line itself."""
    reads = [f"{name} doge_usd --url {url}" for name in ("last", "prices", "watch", "gaps")]
    assert_one_line(run_all(filled, reads), 2)
    words = ["export --ticker doge_usd", "export --ticker DOGE"]
    assert_one_line(run_all(filled, words))
    code, output, errors = run_command(filled, "backfill", "--ticker", "DOGE")
    assert (code, output) == (2, "")
    assert errors.splitlines()[-1].startswith("tracker backfill: error: argument --ticker: ")
    unknown = filled.changed(client_base_url=exchange)
    code, output, errors = run_command(unknown, "backfill", "--ticker=nope_usd", "--range=1h")
    assert (code, errors.count("\n"), "Traceback" in errors) == (1, 1, False)
    idle = filled.changed(client_base_url=exchange, tickers="nope*")
    code, output, errors = run_command(idle, "backfill")
    assert (code, output, errors) == (
        1,
        "",
        "tracker: TICKERS: the exchange lists no index that nope* selects\n",
    )


def output_commands(url: str) -> list[str]:
    """Commands that write to standard output."""
    reads = ("last", "json"), ("prices", "csv"), ("prices", "table"), ("watch", "table")
    words = [f"{name} btc_usd --url {url} --format {form}" for name, form in reads]
    return [*words, "dsn", "export", "backup -", "completion bash"]


def test_full_disk(filled: Settings, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the output reaches it only at the end, because it is buffered."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    with Path("/dev/full").open("wb") as full:
        results = run_all(filled, [*output_commands(url), "--help"], stdout=full.fileno())
    for words, (code, _, errors) in results.items():
        error = "tracker: standard output: No space left on device\n"
        assert (words, code, errors) == (words, 1, error)
    files = ["export /dev/full", "backup /dev/full", "backup --csv /dev/full"]
    results = run_all(filled, files)
    assert_one_line(results)
    assert {errors for *_, errors in results.values()} == {
        "tracker: /dev/full: No space left on device\n"
    }


def test_full_disk_leaves_no_file(filled: Settings, tmp_path: Path) -> None:
    """A file that cannot grow any more, by the limit of the process."""
    for words in ("export", "backup", "backup --csv"):
        command = f'ulimit -f 1; exec .venv/bin/tracker {words} "$0"'
        done = subprocess.run(
            ["sh", "-c", command, tmp_path / "x"],
            env=filled.environment(),
            check=False,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        assert done.stderr == f"tracker: {tmp_path}/x: File too large\n"
        assert not list(tmp_path.iterdir())


def test_closed_pipe(filled: Settings, url: str) -> None:
    """`| head` ends each command by SIGPIPE, without a word."""

    def run(command: str) -> tuple[str, int, str]:
        with start_command(filled, *command.split()) as process:
            assert process.stdout
            assert process.stderr
            process.stdout.close()
            return command, process.wait(TIMEOUT), process.stderr.read()

    with ThreadPoolExecutor(PARALLEL) as pool:
        results = list(pool.map(run, output_commands(url)))
    assert results == [(each, -signal.SIGPIPE, "") for each in output_commands(url)]


def test_ctrl_c(filled: Settings, tmp_path: Path) -> None:
    """Of commands that wait for a lock: status 130, no word, no file, nothing changed."""
    words = ["export", f"export {tmp_path}/x.csv", f"backup {tmp_path}/x.zip", "rollback --force 0"]
    with (
        psycopg.connect(filled.database_dsn) as blocker,
        psycopg.connect(filled.database_dsn, autocommit=True) as conn,
    ):
        blocker.execute("LOCK TABLE prices, _yoyo_migration IN ACCESS EXCLUSIVE MODE")
        for command in words:
            with start_command(filled, *command.split()) as process:
                wait_until(lambda: count_lock_waits(conn), 90)
                process.send_signal(signal.SIGINT)
                output, errors = process.communicate(timeout=TIMEOUT)
            assert (command, process.returncode, output, errors) == (command, 130, "", "")
            wait_until(lambda: not count_lock_waits(conn), 90)
    assert not list(tmp_path.iterdir())


def count_lock_waits(conn: psycopg.Connection) -> int:
    """How many sessions of this database wait for a lock."""
    query = (
        "SELECT FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    return conn.execute(query).rowcount


def test_unavailable_api(filled: Settings) -> None:
    """Reading commands say where nothing listens."""
    address = f"http://127.0.0.1:{free_ports(1)[0]}"
    names = ["last", "watch", "prices btc_usd"]
    results = run_all(filled, [f"{name} --url {address}" for name in names])
    assert_one_line(results)
    assert all(f"tracker: {address} is unavailable" in each for *_, each in results.values())
