"""The machine: its cores, processes on them, and what those use."""

import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

_CORES = sorted(os.sched_getaffinity(0))
SERVER, LOAD = _CORES[0], _CORES[-1]  # the server under test has one core, its clients another

_START_TIMEOUT = 60.0  # seconds; machines are shared
_STOP_TIMEOUT = 20.0  # seconds
_LOG_LINES = 5


class BenchError(Exception):
    """A line cannot be measured here; the others can."""


@contextmanager
def running(
    command: Sequence[str],
    env: Mapping[str, str],
    log: Path,
    *,
    ready: str = "",
    core: int | None = None,
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process for the duration of the block, which ends with its parent.

    ready: the URL that has to respond with 200 before the block begins. Raises BenchError with
    the end of *log* if the process ends before.
    """
    pin = [] if core is None else ["taskset", "--cpu-list", str(core)]
    bound = ["setpriv", "--pdeathsig", "TERM", "--", *pin, *command]
    with log.open("ab") as stream:
        process = subprocess.Popen(
            bound, env=env, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
        )
    try:
        deadline = time.monotonic() + _START_TIMEOUT
        while ready and not _responds(ready):
            if process.poll() is not None or time.monotonic() > deadline:
                lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
                raise BenchError("\n".join([f"{log.stem} does not become ready:", *lines]))
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _responds(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def run_command(command: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """The output of a command. Raises BenchError with its error message."""
    done = subprocess.run(command, env=env, check=False, capture_output=True, text=True)
    if done.returncode:
        message = " ".join((done.stderr or done.stdout).split())
        raise BenchError(f"{Path(command[0]).name}: {message}")
    return done.stdout


def free_ports(count: int) -> list[int]:
    """Ports on which no process listens now, below those that the kernel gives to connections."""
    ports: set[int] = set()
    while len(ports) < count:
        port = 10_000 + secrets.randbelow(22_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.add(port)
    return list(ports)


def resident_memory(pid: int) -> float:
    """The resident memory of *pid* and its descendants, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    own = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own / 1024 + sum(resident_memory(int(child)) for child in children)


def cpu_seconds(pid: int) -> float:
    """The CPU time of *pid*, on all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
