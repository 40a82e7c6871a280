"""Where no engine can be started, that is said; such a machine fails no check."""

import os
import subprocess
import sys

from tests.compose.engine import NOT_HERE
from tracker.settings import CHECKOUT


def test_without_what_it_needs() -> None:
    """One line with the reason, and a status that no failure has."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.compose.engine"],
        env={**os.environ, "PATH": "/nonexistent"},
        cwd=CHECKOUT,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (NOT_HERE, "")
    assert done.stdout.startswith("Compose is not tested here: no Docker engine can run, ")
    assert done.stdout.count("\n") == 1
