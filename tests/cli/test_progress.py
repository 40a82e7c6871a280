"""Long work at a terminal shows its progress on standard error; its output stays the same."""

from pathlib import Path

import psycopg
import pytest

from tests.support.api import serve_api
from tests.support.commands import TIMEOUT, open_terminal, start_tracker
from tracker.progress import track_percentage
from tracker.settings import Settings
from tracker.simulator import running_simulator

pytestmark = pytest.mark.slow

INSERT = (
    "INSERT INTO prices (ticker, created_at, price) SELECT 'btc_usd', at, 1.25"
    " FROM generate_series('2024-01-01Z'::timestamptz, '2024-01-02Z', INTERVAL '1 min') AS at"
)
MINUTES = 1441


def test_export_to_file_shows_progress(
    database: Settings, conn: psycopg.Connection, tmp_path: Path
) -> None:
    """Opened by the export or the shell; not in a pipe, whose reader may use the terminal."""
    conn.execute(INSERT)
    name, redirected = tmp_path / "prices.csv", tmp_path / "redirected.csv"

    status, seen = run_with_terminal(database, "export", str(name))
    with redirected.open("w") as stream:
        status_too, seen_too = run_with_terminal(database, "export", stdout=stream.fileno())
    _, nothing = run_with_terminal(database, "export")

    assert (status, status_too, nothing) == (0, 0, "")
    assert ("writing" in seen, "writing" in seen_too) == (True, True)
    assert "100%" in seen
    assert name.read_text() == redirected.read_text()
    assert name.read_text().count("\n") == MINUTES + 1


def test_pages_to_file_show_progress(
    database: Settings, conn: psycopg.Connection, tmp_path: Path
) -> None:
    """The bar counts them, and leaves the file alone."""
    conn.execute(INSERT)
    name = tmp_path / "prices.csv"
    words = ("prices", "btc_usd", "--all", "--format=csv")
    with serve_api(database) as client, name.open("w") as stream:
        url = str(client.base_url)
        status, seen = run_with_terminal(database, *words, "--url", url, stdout=stream.fileno())

    assert (status, "reading" in seen) == (0, True)
    assert len(name.read_text().splitlines()) == MINUTES + 1


def test_backfill_in_pipe_shows_progress(database: Settings) -> None:
    """The bar is on standard error, the result on standard output."""
    with running_simulator() as exchange, open_terminal() as screen:
        settings = database.changed(client_base_url=exchange.url)
        words = ("backfill", "--ticker", "btc_usd", "--range", "2d")
        env = settings.environment() | {"TERM": "xterm"}
        with start_tracker(*words, env=env, stderr=screen.theirs) as process:
            output, _ = process.communicate(timeout=TIMEOUT)
        seen = screen.read_all()

    assert output == "btc_usd 2d: added 576, 0 were there already\n"
    assert "charts" in seen
    assert "added" not in seen


def test_percentage_without_terminal_is_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with track_percentage("Downloading") as report:
        for percent in (10, 30, 80, 100):
            report(percent)

    assert capsys.readouterr().err == "Downloading …\n  25 %\n  50 %\n  75 %\n"


def run_with_terminal(
    database: Settings, *words: str, stdout: int | None = None
) -> tuple[int, str]:
    """The exit status of `tracker`, and its standard error on a terminal."""
    env = database.environment() | {"TERM": "xterm"}
    pipe = {} if stdout is None else {"stdout": stdout}
    with open_terminal() as screen:
        with start_tracker(*words, env=env, stderr=screen.theirs, **pipe) as process:
            process.communicate(timeout=TIMEOUT)
        return process.returncode, screen.read_all()
