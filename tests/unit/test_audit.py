"""The audit says what it looked at: stand-ins for its programs know what the test wants."""

import os
import subprocess
from pathlib import Path

import pytest

from tracker.settings import CHECKOUT

LOCKS = sorted((CHECKOUT / "ops/lock").glob("*.txt"))

BANDIT = '#!/bin/sh\nexit "${BANDIT:-0}"\n'
# Knows of the bad one if there is a source; of the locks it says what the test wants.
PIP_AUDIT = """#!/bin/sh
printf '%s\\n' "$*" >>"$CALLS"
[ "$2" = "${SOURCE:-}" ] || { echo '{}'; exit 1; }
case $* in *bad.txt) echo '["CVE-1"]'; exit 1 ;; esac
exit "${HOLES:-0}"
"""
NPM = '#!/bin/sh\nprintf %s "${NPM_SAYS:-}"\nexit "${NPM_ENDS:-1}"\n'


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the audit has its programs, as if it had installed them."""
    (tmp_path / "bin").mkdir()
    for name, script in {"bandit": BANDIT, "pip-audit": PIP_AUDIT, "npm": NPM}.items():
        program = tmp_path / "bin" / name
        program.write_text(script)
        program.chmod(0o755)
    (tmp_path / "installed.txt").write_text((CHECKOUT / "ops/lock/audit.txt").read_text())
    (tmp_path / "calls").touch()
    return tmp_path


def audit(place: Path, **said: str) -> tuple[int, str, list[str]]:
    """Its exit status, all it said, and the locks that pip-audit was given."""
    env = {
        "PATH": f"{place}/bin:{os.environ['PATH']}",
        "AUDIT": str(place),
        "CALLS": str(place / "calls"),
        **said,
    }
    done = subprocess.run(
        [CHECKOUT / "ops/audit"], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    calls = (place / "calls").read_text().splitlines()
    return done.returncode, done.stdout + done.stderr, [c for c in calls if "bad.txt" not in c]


def test_without_a_source_it_says_so(place: Path) -> None:
    """A line for each, and no lock is taken for audited."""
    code, said, locks = audit(place)
    assert (code, locks) == (0, [])
    assert said.count("No source of advisories") == 2


@pytest.mark.parametrize("source", ["pypi", "osv"])
def test_with_a_source_it_asks_about_every_lock(place: Path, source: str) -> None:
    """The first source that answers is enough."""
    code, said, calls = audit(place, SOURCE=source, NPM_ENDS="0")
    assert code == 0
    assert "No source" not in said
    assert [call.split()[-1] for call in calls] == [str(lock) for lock in LOCKS]
    assert all(f"--vulnerability-service {source} " in call for call in calls)


@pytest.mark.parametrize(
    "found",
    [
        {"BANDIT": "1"},
        {"SOURCE": "pypi", "HOLES": "1"},
        {"NPM_SAYS": '{"auditReportVersion": 2}'},
    ],
    ids=["code", "python", "npm"],
)
def test_what_it_finds_is_a_failure(place: Path, found: dict[str, str]) -> None:
    """Wherever it is."""
    code, said, _ = audit(place, **found)
    assert code == 1
    assert "Nothing found" not in said
