"""A server that is slow to restart: a crashed database may have much to recover."""

from pathlib import Path

import pytest

from tests.support.supervisor import SupervisorRun, shell
from tracker.embedded.log import SUPERVISOR_NAME
from tracker.embedded.supervisor import RestartPolicy

pytestmark = pytest.mark.slow

SCRIPT = """
if [ -e {mark} ]; then echo recovering; sleep 1; echo recovered; sleep 60; fi
sleep 0.5; touch {mark}; exit 9
"""


def test_slowly_recovering_server_does_not_stop_the_tracker(tmp_path: Path) -> None:
    """A restart of the tracker would have to recover again."""
    mark = tmp_path / "crashed"
    run = SupervisorRun(
        shell("db", SCRIPT.format(mark=mark), ready=lambda: not mark.exists()),
        until=lambda text: "recovered" in text,
        policy=RestartPolicy(initial_delay=0.05, max_delay=0.2, ready_timeout=0.3),
    )

    assert run.code == 0
    assert run.lines_of("db") == ["recovering", "recovered"]
    assert "db does not become ready; stopping" not in run.lines_of(SUPERVISOR_NAME)
