"""A server that is long in coming back: a crashed database may have much to recover."""

from pathlib import Path

import pytest

from tests.test_supervisor import Run, shell
from tracker.embedded.supervisor import US, Pace

pytestmark = pytest.mark.slow

SCRIPT = """
if [ -e {mark} ]; then echo recovering; sleep 1; echo recovered; sleep 60; fi
sleep 0.5; touch {mark}; exit 9
"""


def test_a_server_that_recovers_slowly_stops_nothing(tmp_path: Path) -> None:
    """Who was ready once is waited for: all would have to start anew, and recover again."""
    mark = tmp_path / "crashed"
    run = Run(
        shell("db", SCRIPT.format(mark=mark), ready=lambda: not mark.exists()),
        until=lambda text: "recovered" in text,
        pace=Pace(first=0.05, longest=0.2, steady=60, patience=0.3),
    )

    assert run.code == 0
    assert run.said("db") == ["recovering", "recovered"]
    assert "db does not answer; stopping" not in run.said(US)
