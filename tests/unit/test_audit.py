"""The audit names its sources: stand-ins replace its programs."""

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
def fake_programs(tmp_path: Path) -> Path:
    """The audit's folder of programs, as if installed."""
    (tmp_path / "bin").mkdir()
    for name, script in {"bandit": BANDIT, "pip-audit": PIP_AUDIT, "npm": NPM}.items():
        program = tmp_path / "bin" / name
        program.write_text(script)
        program.chmod(0o755)
    (tmp_path / "installed.txt").write_text((CHECKOUT / "ops/lock/audit.txt").read_text())
    (tmp_path / "calls").touch()
    return tmp_path


def run_audit(fake_programs: Path, **said: str) -> tuple[int, str, list[str]]:
    """Its exit status, its output, and the locks that pip-audit was given."""
    env = {
        "PATH": f"{fake_programs}/bin:{os.environ['PATH']}",
        "AUDIT": str(fake_programs),
        "CALLS": str(fake_programs / "calls"),
        **said,
    }
    done = subprocess.run(
        [CHECKOUT / "ops/audit"], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    calls = (fake_programs / "calls").read_text().splitlines()
    return done.returncode, done.stdout + done.stderr, [c for c in calls if "bad.txt" not in c]


def test_audit_without_source_fails(fake_programs: Path) -> None:
    """It writes a line for each, and regards no lock as audited."""
    code, said, locks = run_audit(fake_programs)
    assert (code, locks) == (0, [])
    assert said.count("No source of advisories") == 2


@pytest.mark.parametrize("source", ["pypi", "osv"])
def test_audit_checks_every_lock(fake_programs: Path, source: str) -> None:
    """The first available source is enough."""
    code, said, calls = run_audit(fake_programs, SOURCE=source, NPM_ENDS="0")
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
def test_vulnerability_fails_audit(fake_programs: Path, found: dict[str, str]) -> None:
    code, said, _ = run_audit(fake_programs, **found)
    assert code == 1
    assert "Nothing found" not in said
