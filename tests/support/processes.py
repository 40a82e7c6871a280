"""Processes by id: their children, command lines and states; pausing and waiting for them.

And the prefix of a command that another user runs.
"""

import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.waiting import wait_until
from tracker.embedded.account import Account, run_command
from tracker.errors import EmbeddedError

NOBODY = 65534  # a user id


def as_nobody() -> list[str]:
    """Runs a command as `nobody`; allowed to read, where this Python lies in root's own home."""
    words = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    try:
        run_command([sys.executable, "-c", ""], Account(NOBODY, NOBODY))
    except EmbeddedError:
        words += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return [*words, "--"]


def process_tree(root: int) -> list[int]:
    """*root* and all its descendants."""
    try:
        children = Path(f"/proc/{root}/task/{root}/children").read_text().split()
    except OSError:  # it has ended
        return []
    return [root, *(pid for child in children for pid in process_tree(int(child)))]


def command_line(pid: int) -> list[str]:
    """The arguments of *pid*; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
    except OSError:
        return []


def process_state(pid: int) -> str:
    """R, S or D for a running process, T if it is stopped, Z for a zombie; else empty."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def memory_megabytes(pid: int, field: str = "VmRSS") -> float:
    """The resident memory of *pid*: VmRSS is the current one, VmHWM its maximum."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    return process_state(pid) not in {"", "Z"}


def wait_until_dead(pids: Iterable[int], timeout: float = 10) -> None:
    """Wait until none of *pids* is alive."""
    remaining = list(pids)
    wait_until(lambda: not any(map(is_alive, remaining)), timeout)


@contextmanager
def pause_process(root: int | None) -> Iterator[None]:
    """Stop *root* and its descendants in the block: they neither respond nor disconnect."""
    pids = process_tree(root or 0)
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
