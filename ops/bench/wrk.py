"""HTTP load by wrk, Debian's, on a core of its own."""

import json
import shutil
from collections.abc import Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from ops.bench.processes import LOAD, BenchError, cpu_seconds, run_command
from ops.debian import linked_command

_SCRIPT = Path(__file__).with_name("wrk.lua")
_PACKAGES = ("wrk", "libluajit-5.1-2", "libluajit-5.1-common", "libssl3t64")
_SEEDS = count(1)  # no two runs draw the same moments


class Load(NamedTuple):
    """What wrk measured.

    rate: requests a second.
    cpu: the server's CPU time for each request, in ms; 0 without its pid.
    p50, p99: percentiles of the response time, in ms.
    """

    rate: float
    cpu: float
    p50: float
    p99: float
    errors: int


def run_wrk(
    url: str,
    seconds: float,
    *,
    connections: int = 32,
    period: tuple[int, int] = (0, 0),
    names: Sequence[str] = ("btc_usd",),
    uncached: bool = False,
    pid: int = 0,
    strict: bool = True,
) -> Load:
    """Requests for *url*, one at a time on each connection.

    period, names: the Unix seconds and the indexes that the placeholders in the URL draw from.
    uncached: each request has an ETag of its own, so that no two share a response.
    pid: the server's process.
    Raises BenchError without any response, and, if *strict*, for a single failed request.
    """
    server = f"http://{urlsplit(url).netloc}"
    path = url.removeprefix(server)
    command = [
        *("taskset", "--cpu-list", str(LOAD), *_wrk_command(), "--threads", "1"),
        *("--connections", str(connections), "--duration", f"{seconds}s", "--timeout", "10s"),
        *("--script", str(_SCRIPT), server if "{" in path else url, "--"),
        *(path, *map(str, period), ",".join(names), str(next(_SEEDS))),
        *(["uncached"] if uncached else []),
    ]
    before = cpu_seconds(pid) if pid else 0.0
    output = run_command(command)
    spent = cpu_seconds(pid) - before if pid else 0.0
    result = json.loads(output.strip().splitlines()[-1])
    requests, errors = result["requests"], result["errors"]
    if not requests or (strict and errors):
        raise BenchError(f"{url}: {errors} errors in {requests} requests")
    return Load(
        rate=requests / result["duration"] * 1e6,
        cpu=1e3 * spent / requests,
        p50=result["p50"] / 1e3,
        p99=result["p99"] / 1e3,
        errors=errors,
    )


@cache
def _wrk_command() -> list[str]:
    installed = shutil.which("wrk")
    return [installed] if installed else linked_command("wrk-13", _PACKAGES, "bin/wrk")
