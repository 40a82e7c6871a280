"""Processes that are measured: started on a core of their own, waited for, stopped."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from ops.bench.errors import BenchError
from tracker.embedded.account import bind_to_parent

_PATIENCE = 60.0  # seconds; machines are shared
_SHOWN = 5  # lines of a log


@contextmanager
def running(
    words: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    core: int | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process for as long as the block lasts; on one *core*, if that is given.

    What it says goes to *log*. It dies with us, too.
    """
    pin = [] if core is None else ["taskset", "--cpu-list", str(core)]
    with log.open("ab") as stream:
        process = subprocess.Popen(
            bind_to_parent([*pin, *words], signal.SIGTERM),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(
    true: Callable[[], object], process: subprocess.Popen[bytes], log: Path, pause: float = 0.02
) -> None:
    """Wait until it is *true*. Raises BenchError with the end of *log* if *process* ends."""
    deadline = time.monotonic() + _PATIENCE
    while not true():
        if process.poll() is not None or time.monotonic() > deadline:
            lines = log.read_text(errors="replace").splitlines()[-_SHOWN:]
            raise BenchError("\n".join([f"{log.stem} does not get ready:", *lines]))
        time.sleep(pause)


def answers(url: str) -> bool:
    """Whether *url* is answered with 200."""
    try:
        return httpx.get(url, timeout=2).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def rss(pid: int) -> float:
    """The resident memory of *pid* and of all that it has started, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    own = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own / 1024 + sum(rss(int(child)) for child in children)


def cpu(pid: int) -> float:
    """Seconds of a core that *pid* has used, on all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
