"""`tracker import` and `tracker export` as a user runs them: pipes, signals, errors."""

import codecs
import gzip
import os
import pty
import re
import signal
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from tests.support.commands import (
    TIMEOUT,
    assert_only_force_overwrites,
    run_command,
    start_command,
)
from tests.support.waiting import wait_until
from tracker.settings import CHECKOUT, Settings

HEADER = "ticker,created_at,price,observed_at,source\n"
LINE = "btc_usd,2024-01-15T12:00:00Z,68241.50,2024-01-15T12:00:07.25Z,poll\n"


def test_exported_file_can_be_imported(database: Settings, tmp_path: Path) -> None:
    """The file is complete, and alone in its folder."""
    name = tmp_path / "prices.csv"
    run_command(database, "import", "-", stdin=HEADER + LINE)

    written = run_command(database, "export", "--ticker", "btc_usd", str(name))

    assert written == (0, f"wrote 1 prices to {name}\n", "")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "prices.csv": HEADER + LINE
    }
    known = run_command(database, "import", str(name))
    assert known == (0, "btc_usd: added 0, 1 were there already\n", "")
    assert run_command(database, "export", "/dev/null")[0] == 0
    assert not Path("/dev/null").is_file()


def test_readme_example_imports_chart(
    database: Settings, conn: psycopg.Connection, tmp_path: Path
) -> None:
    """Also from a pipe; stored minutes stay, and another price is counted."""
    readme = (CHECKOUT / "README.md").read_text()
    [words] = re.findall(r"^    tracker (import .*) chart\.csv\.gz$", readme, re.MULTILINE)
    file = tmp_path / "chart.csv.gz"
    rows = "time;open;high;low;close\r\n1705320000;1;4;1;2.5\r\n1705320060;2;4;1;3.5\r\n"
    file.write_bytes(gzip.compress(codecs.BOM_UTF8 + rows.encode()))

    done = run_command(database, *words.split(), str(file))
    assert done == (0, "btc_usd: added 2, 0 were there already\n", "")
    query = "SELECT created_at, price, source FROM prices ORDER BY 1"
    assert conn.execute(query).fetchall() == [
        (datetime(2024, 1, 15, 12, minute, tzinfo=UTC), Decimal(price), "import")
        for minute, price in enumerate(("2.50", "3.50"))
    ]
    done = run_command(database, *words.split(), "-", stdin=rows.replace("3.5", "4.5"))
    assert done == (0, "btc_usd: added 0, 2 were there already, 1 of them with another price\n", "")


def test_export_overwrites_only_by_force(database: Settings, tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    assert_only_force_overwrites(database, "export", file)
    assert file.read_text() == HEADER


@pytest.mark.parametrize(
    ("stdin", "error"),
    [
        ("a,b\n", "stdin: header: the first line must name the columns: "),
        (HEADER + "x,,,,\n", "stdin: 1 bad line, nothing is imported\n  line 2: "),
    ],
)
def test_bad_line_of_a_pipe_is_named(database: Settings, stdin: str, error: str) -> None:
    code, output, errors = run_command(database, "import", "-", stdin=stdin)

    assert (code, output) == (1, "")
    assert errors.startswith(f"tracker: {error}")
    assert errors.count("\n") == error.count("\n") + 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_import_leaves_nothing(
    conn: psycopg.Connection, database: Settings, number: signal.Signals
) -> None:
    """Neither rows nor a session. It is stopped while it waits for more lines."""
    sessions = "SELECT query FROM pg_stat_activity WHERE application_name = 'tracker-transfer'"

    def queries() -> list[str]:
        return [query for (query,) in conn.execute(sessions)]

    wait_until(lambda: not queries())  # another test's session may still end
    with start_command(database, "import", "-") as process:
        assert process.stdin
        process.stdin.write(HEADER + LINE)
        process.stdin.flush()
        wait_until(lambda: any("COPY incoming" in query for query in queries()))
        process.send_signal(number)
        assert process.wait(TIMEOUT) == (130 if number == signal.SIGINT else -number)

    wait_until(lambda: not queries())
    assert conn.execute("SELECT count(*) FROM prices").fetchone() == (0,)


def test_import_shows_progress_at_a_terminal(database: Settings, tmp_path: Path) -> None:
    """A bar on standard error; standard output stays what a program reads."""
    file = tmp_path / "prices.csv"
    file.write_text(HEADER + LINE)
    ours, theirs = pty.openpty()
    try:
        with start_command(database, "import", str(file), stderr=theirs) as process:
            output, _ = process.communicate(timeout=TIMEOUT)
        assert output == "btc_usd: added 1, 0 were there already\n"
        assert b"storing" in os.read(ours, 100_000)
    finally:
        os.close(ours)
        os.close(theirs)
