"""The machine that is measured on, and which of its cores are for whom."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from platform import python_version

import psycopg

from tracker.settings import CHECKOUT, Settings

_CORES = sorted(os.sched_getaffinity(0))
SERVER, LOAD = _CORES[0], _CORES[-1]  # the server under test has one core, its clients another

_PACKAGES = ("starlette", "uvicorn", "uvloop", "httptools", "psycopg", "psycopg-pool", "orjson")


def facts() -> dict[str, str]:
    """What a figure depends on besides the code; to be asked before anything runs."""
    load = " ".join(f"{each:.2f}" for each in os.getloadavg())
    return {
        "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": _commit(),
        "cpu": f"{_model()}, {len(_CORES)} cores",
        "load average at the start": load,
        "cores": f"server {SERVER}, load {LOAD}; PostgreSQL and Redis on any",
        "python": python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def servers(settings: Settings) -> dict[str, str]:
    """The versions of what runs in *settings*' database."""
    query = """
        SELECT current_setting('server_version'), extversion, current_setting('timescaledb.license')
          FROM pg_extension WHERE extname = 'timescaledb'
    """
    with psycopg.connect(settings.database_dsn) as conn:
        postgres, extension, license_ = conn.execute(query).fetchone() or ("?", "?", "?")
    return {"postgresql": postgres, "timescaledb": f"{extension} ({license_})"}


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """This process on one *core*, and what it starts meanwhile too."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _model() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else "unknown"


def _commit() -> str:
    words = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty"]
    asked = subprocess.run(words, check=False, capture_output=True, text=True)
    return asked.stdout.strip() or "unknown"
