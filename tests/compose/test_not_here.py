"""Without a Docker engine the tests of Compose are skipped with a reason."""

import os
import subprocess
import sys

from tests.support.compose.engine import NOT_AVAILABLE
from tracker.settings import CHECKOUT


def test_engine_without_its_programs_reports_the_reason() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.compose.engine"],
        env={**os.environ, "PATH": "/nonexistent"},
        cwd=CHECKOUT,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (NOT_AVAILABLE, "")
    assert done.stdout.startswith("Compose is not tested here: no Docker engine can run, ")
    assert done.stdout.count("\n") == 1
