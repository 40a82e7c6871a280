"""`tracker` as a user runs it: in a pipe, and at a terminal of a certain width."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from tracker.settings import CHECKOUT

PATIENCE = 30.0  # seconds; machines are shared
COLOUR = re.compile(r"\x1b\[(?:[0-9]+;)*3[0-9]m")
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@contextmanager
def started(
    *words: str,
    env: dict[str, str] | None = None,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
) -> Iterator[subprocess.Popen[str]]:
    """`tracker` with these *words*, ended with the block."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tracker", *words],
        cwd=CHECKOUT,
        env={"PATH": os.environ["PATH"], **(env or {})},
        text=True,
        stdout=stdout,
        stderr=stderr,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class Terminal:
    """A terminal that programs may write to, and what it has been told."""

    def __init__(self, columns: int) -> None:
        """An open one, that many *columns* wide."""
        self._ours, self.theirs = pty.openpty()
        size = struct.pack("HHHH", 50, columns, 0, 0)
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, size)
        self._read = b""

    def read_until(self, text: str) -> str:
        """All so far, without colours, once it has *text* in it."""
        while text not in self.shown:
            assert select.select([self._ours], [], [], PATIENCE)[0], f"no {text!r}: {self.shown}"
            self._read += os.read(self._ours, 65536)
        return self.shown

    def read_all(self) -> str:
        """All of it, once nobody writes any more."""
        os.close(self.theirs)
        self.theirs = -1
        try:
            while piece := os.read(self._ours, 65536):
                self._read += piece
        except OSError:  # Linux says so at the end
            pass
        return self.shown

    @property
    def raw(self) -> str:
        """What has been read, with its colours."""
        return self._read.decode(errors="replace")

    @property
    def shown(self) -> str:
        """What has been read, as it looks, without colours."""
        return _ESCAPE.sub("", self.raw).replace("\r\n", "\n")

    def close(self) -> None:
        """Take it away."""
        for end in (self._ours, self.theirs):
            if end >= 0:
                os.close(end)


@contextmanager
def terminal(columns: int = 100) -> Iterator[Terminal]:
    """A terminal, as long as the block."""
    opened = Terminal(columns)
    try:
        yield opened
    finally:
        opened.close()


def at_terminal(*words: str, columns: int = 100, **env: str) -> tuple[int, Terminal]:
    """The exit status of `tracker` with these *words* at a terminal, and what that shows."""
    with terminal(columns) as screen:
        variables = {"TERM": "xterm-256color", **env}
        with started(*words, env=variables, stdout=screen.theirs) as process:
            screen.read_all()
            return process.wait(PATIENCE), screen


def line(stream: IO[str] | None) -> str:
    """The next line of *stream*."""
    assert stream
    read = b""
    while not read.endswith(b"\n"):
        assert select.select([stream], [], [], PATIENCE)[0], f"nothing comes after {read!r}"
        piece = os.read(stream.fileno(), 1)
        assert piece, f"it ended after {read!r}"
        read += piece
    return read.decode()
