"""Load from wrk, Debian's: on a core of its own, and what it found."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path

from ops.bench.errors import BenchError
from ops.bench.machine import LOAD
from ops.bench.processes import cpu
from ops.debian import linked

_SCRIPT = Path(__file__).with_name("wrk.lua")
_PACKAGES = ("wrk", "libluajit-5.1-2", "libluajit-5.1-common", "libssl3t64")
_SEEDS = count(1)  # no shot asks for the same as another


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to ask a server for, and how.

    url: of the path to ask for; wrk.lua tells what is drawn anew in it.
    first, last: the moments to draw from, in Unix seconds.
    names: the indexes to draw from.
    clients: how many connections there are, each with one request at a time.
    pid: the server's process.
    """

    url: str
    first: int = 0
    last: int = 0
    names: Sequence[str] = ("btc_usd",)
    clients: int = 32
    pid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """What came of it.

    rate: requests a second.
    p50, p99: seconds until the middle of them was answered, and the slowest hundredth.
    cpu: seconds of a core that the server spent on each; 0 if it is not known.
    """

    rate: float
    cpu: float
    p50: float
    p99: float
    errors: int


def shoot(asked: Asked, seconds: float, *, strict: bool = True) -> Shot:
    """Ask for some *seconds*. Raises BenchError if it cannot; if *strict*, for any error too."""
    host, path = _split(asked.url)
    words = [
        *("taskset", "--cpu-list", str(LOAD), *_wrk(), "--threads", "1", "--timeout", "10s"),
        *("--connections", str(asked.clients), "--duration", f"{max(1, round(seconds))}s"),
        *("--script", str(_SCRIPT), f"{host}{path}" if "{" not in path else host, "--"),
        *(path, str(asked.first), str(asked.last), ",".join(asked.names), str(next(_SEEDS))),
    ]
    before = cpu(asked.pid) if asked.pid else 0.0
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"wrk: {' '.join((done.stderr or done.stdout).split())}")
    spent = cpu(asked.pid) - before if asked.pid else 0.0
    return _read(done.stdout, asked.url, spent, strict=strict)


def _read(output: str, url: str, spent: float, *, strict: bool) -> Shot:
    found = json.loads(output.strip().splitlines()[-1])
    if not found["requests"] or (strict and found["errors"]):
        raise BenchError(f"{url}: {found['errors']} errors in {found['requests']} requests")
    return Shot(
        rate=found["requests"] / found["duration"] * 1e6,
        cpu=spent / found["requests"],
        p50=found["p50"] / 1e6,
        p99=found["p99"] / 1e6,
        errors=found["errors"],
    )


def _split(url: str) -> tuple[str, str]:
    host, slash, path = url.removeprefix("http://").partition("/")
    return f"http://{host}", f"{slash}{path}"


@cache
def _wrk() -> list[str]:
    """The machine's own; else the one that Debian's packages have."""
    own = shutil.which("wrk")
    return [own] if own else linked("wrk-13", _PACKAGES, "bin/wrk")
