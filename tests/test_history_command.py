"""`tracker import` and `tracker export` as a user runs them: pipes, signals, errors."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tracker.settings import CHECKOUT, Settings

HEADER = "ticker,created_at,price,observed_at,source\n"
LINE = "btc_usd,2024-01-15T12:00:00Z,68241.50,2024-01-15T12:00:07.25Z,poll\n"
PATIENCE = 30.0  # seconds; machines are shared


@contextmanager
def started(
    database: Settings, *words: str, stderr: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    """`tracker` with these *words*, ended with the block."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tracker", *words],
        cwd=CHECKOUT,
        env=database.environment(),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def run(database: Settings, *words: str, given: str = "") -> tuple[int, str, str]:
    """Exit status, output and complaints of `tracker` with these *words*."""
    with started(database, *words) as process:
        output, complaints = process.communicate(given, timeout=PATIENCE)
    return process.returncode, output, complaints


def test_in_and_out_through_pipes(database: Settings) -> None:
    """What export prints is what import took, and nothing else is said."""
    assert run(database, "import", "-", "--dry-run", given=HEADER + LINE) == (
        0,
        "btc_usd: would add 1, 0 are there already\n",
        "",
    )
    added = run(database, "import", "-", given=HEADER + LINE)
    assert added == (0, "btc_usd: added 1, 0 were there already\n", "")
    again = run(database, "import", "-", given=HEADER + LINE)
    assert again == (0, "btc_usd: added 0, 1 were there already\n", "")

    assert run(database, "export") == (0, HEADER + LINE, "")
    assert run(database, "export", "--end-date", "2024-01-15T12:00Z") == (0, HEADER, "")


def test_out_to_a_file_and_in_again(database: Settings, tmp_path: Path) -> None:
    """The file is whole, and alone in its folder."""
    name = tmp_path / "prices.csv"
    run(database, "import", "-", given=HEADER + LINE)

    written = run(database, "export", "--ticker", "btc_usd", str(name))

    assert written == (0, f"wrote 1 prices to {name}\n", "")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "prices.csv": HEADER + LINE
    }
    known = run(database, "import", str(name))
    assert known == (0, "btc_usd: added 0, 1 were there already\n", "")
    assert run(database, "export", "/dev/null")[0] == 0
    assert not Path("/dev/null").is_file()


@pytest.mark.parametrize(
    ("words", "given", "complaint"),
    [
        (["import", "/nowhere.csv"], "", "/nowhere.csv: No such file or directory"),
        (["import", "-"], "a,b\n", "stdin: header: the first line must name the columns: "),
        (["import", "-"], HEADER + "x,,,,\n", "stdin: 1 bad line, nothing is imported\n  line 2: "),
        (["export", "--ticker", "doge_usd"], "", "--ticker: doge_usd was never tracked"),
        (["export", "--start-date", "soon"], "", "--start-date: is neither RFC 3339"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    database: Settings, words: list[str], given: str, complaint: str
) -> None:
    """Exit status 1, no traceback, nothing on standard output."""
    code, output, complaints = run(database, *words, given=given)

    assert (code, output) == (1, "")
    assert complaints.startswith(f"tracker: {complaint}")
    assert complaints.count("\n") == complaint.count("\n") + 1


def test_a_reader_that_stops_ends_an_export(conn: psycopg.Connection, database: Settings) -> None:
    """`| head` hears no complaint."""
    conn.execute(
        "INSERT INTO prices (ticker, created_at, price) SELECT 'btc_usd', at, 1.25 FROM"
        " generate_series('2024-01-01Z'::timestamptz, '2024-01-31Z', INTERVAL '1 min') AS at"
    )
    with started(database, "export") as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == HEADER
        process.stdout.close()

        assert process.stderr.read() == ""
        assert process.wait(PATIENCE) == -signal.SIGPIPE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_import_that_is_stopped_leaves_nothing(
    conn: psycopg.Connection, database: Settings, number: signal.Signals
) -> None:
    """Whatever has arrived by then is gone, and so is its session."""
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tracker-transfer'"

    def count() -> int:
        found = conn.execute(sessions).fetchone()
        return int(found[0]) if found else 0

    with started(database, "import", "-") as process:
        assert process.stdin
        process.stdin.write(HEADER + LINE)
        process.stdin.flush()
        wait_until(lambda: count() == 1)
        process.send_signal(number)
        assert process.wait(PATIENCE) == (130 if number == signal.SIGINT else -number)

    wait_until(lambda: count() == 0)
    assert conn.execute("SELECT count(*) FROM prices").fetchone() == (0,)


def test_a_terminal_sees_how_far_it_is(database: Settings, tmp_path: Path) -> None:
    """A bar on standard error; standard output stays what a program reads."""
    file = tmp_path / "prices.csv"
    file.write_text(HEADER + LINE)
    ours, theirs = pty.openpty()
    try:
        with started(database, "import", str(file), stderr=theirs) as process:
            output, _ = process.communicate(timeout=PATIENCE)
        assert output == "btc_usd: added 1, 0 were there already\n"
        assert b"storing" in os.read(ours, 100_000)
    finally:
        os.close(ours)
        os.close(theirs)


def wait_until(done: Callable[[], bool]) -> None:
    """Wait until *done* says so."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)
