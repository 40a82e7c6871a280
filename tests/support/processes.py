"""Processes by their numbers: what runs below one, how it is, and a pause for it."""

import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def members(root: int) -> list[int]:
    """*root* and every process below it."""
    try:
        below = Path(f"/proc/{root}/task/{root}/children").read_text().split()
    except OSError:  # it ended meanwhile
        return []
    return [root, *(pid for child in below for pid in members(int(child)))]


def command(pid: int) -> list[str]:
    """The words that *pid* was started with; none if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
    except OSError:
        return []


def state(pid: int) -> str:
    """R, S or D for a process that lives, T if it is stopped, Z if it is dead; else nothing."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def is_alive(pid: int) -> bool:
    """Not so for one that is dead and only waits for its parent."""
    return state(pid) not in {"", "Z"}


def wait_gone(pids: Iterable[int], seconds: float = 10) -> None:
    """Wait until none of *pids* is alive."""
    deadline = time.monotonic() + seconds
    while alive := [pid for pid in pids if is_alive(pid)]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.02)


@contextmanager
def paused(root: int | None) -> Iterator[None]:
    """Stop *root* and all below it for a while: they neither answer nor hang up."""
    pids = members(root or 0)
    assert pids
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
