"""What the tracker is compared with: one process each, on the same database, on the same core."""

import fcntl
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

from ops.bench.errors import BenchError
from tracker.settings import CHECKOUT, Settings

HERE = Path(__file__).parent
LOCK = CHECKOUT / "ops/lock/bench.txt"
VENV = CHECKOUT / ".local/bench"

USUAL: Final = "fastapi"  # the stack that such a service is usually built with
BARE: Final = "bare"  # Starlette alone: fixed bytes, and SELECT 1

READY: Final = {USUAL: "/openapi.json", BARE: "/bytes"}
_APPS = {USUAL: "usual:app", BARE: "bare:app"}


def words(name: str, settings: Settings) -> list[str]:
    """The command that serves it, with uvicorn's settings as ours. Raises BenchError."""
    python = _python() if name == USUAL else sys.executable
    return [
        *(python, "-m", "uvicorn", _APPS[name], "--app-dir", str(HERE)),
        *("--host", "127.0.0.1", "--port", str(settings.web_port)),
        *("--loop", "uvloop", "--http", "httptools", "--ws", "none"),
        *("--no-access-log", "--no-server-header", "--log-level", "warning"),
    ]


def environment(settings: Settings) -> dict[str, str]:
    """Tells it where the database is."""
    return {
        **os.environ,
        "PGHOST": str(settings.sockets),
        "PGUSER": settings.postgres_user,
        "PGDATABASE": settings.postgres_db,
    }


@cache
def _python() -> str:
    """The Python of the benchmark's own venv, made if its lock has changed. Raises BenchError."""
    try:
        VENV.parent.mkdir(exist_ok=True)
        with VENV.with_suffix(".lock").open("w") as alone:
            fcntl.flock(alone, fcntl.LOCK_EX)
            installed = VENV / "installed.txt"
            if not installed.exists() or installed.read_bytes() != LOCK.read_bytes():
                _install(installed)
    except OSError as error:
        raise BenchError(f"{VENV} cannot be made: {error}") from error
    return str(VENV / "bin/python")


def _install(installed: Path) -> None:
    _run([sys.executable, "-m", "venv", "--clear", str(VENV)])
    pip = [str(VENV / "bin/python"), "-m", "pip", "--disable-pip-version-check"]
    _run([*pip, "install", "--quiet", "--require-hashes", "--requirement", str(LOCK)])
    installed.write_bytes(LOCK.read_bytes())


def _run(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise BenchError(f"{VENV} cannot be made: {lines[-1] if lines else 'without a word'}")
