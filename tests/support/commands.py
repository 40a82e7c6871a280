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
from pathlib import Path
from typing import IO

from tests.support.waiting import wait_until
from tracker.embedded.home import psql_command, psql_environment
from tracker.settings import CHECKOUT, Settings

TIMEOUT = 90.0  # seconds
STYLE = re.compile(r"\x1b\[[0-9;]*m")  # colours, bold, and their end
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@contextmanager
def start_tracker(
    *words: str,
    env: dict[str, str] | None = None,
    stdin: int | None = None,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
) -> Iterator[subprocess.Popen[str]]:
    """A process of `tracker` with these *words*; it is killed at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tracker", *words],
        cwd=CHECKOUT,
        env={"PATH": os.environ["PATH"], **(env or {})},
        text=True,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def start_command(
    settings: Settings, *words: str, **streams: int
) -> Iterator[subprocess.Popen[str]]:
    """The same with *settings* in its environment, and a pipe as its standard input."""
    env = settings.environment()
    with start_tracker(*words, env=env, stdin=subprocess.PIPE, **streams) as process:
        yield process


def run_command(settings: Settings, *words: str, stdin: str = "") -> tuple[int, str, str]:
    """Exit status, standard output and standard error of `tracker` with these *words*."""
    with start_command(settings, *words) as process:
        output, errors = process.communicate(stdin, timeout=TIMEOUT)
    return process.returncode, output, errors


def assert_only_force_overwrites(settings: Settings, command: str, file: Path) -> None:
    """A refusal leaves *file* as it is; --force replaces it."""
    file.write_text("old")
    refused = run_command(settings, command, str(file))
    reason = "exists already, with 3 bytes; --force overwrites it"
    assert refused == (1, "", f"tracker: {file}: {reason}\n")
    assert file.read_text() == "old"
    assert run_command(settings, command, "--force", str(file))[0] == 0


def run_psql(settings: Settings, *words: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of psql, as `tracker psql` runs it."""
    done = subprocess.run(
        psql_command(settings, [*words]),
        env=psql_environment(settings),
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    return done.returncode, done.stdout, done.stderr


class Terminal:
    """A pseudo-terminal, and the output that a program wrote to it."""

    def __init__(self, columns: int) -> None:
        """A terminal that is *columns* wide."""
        self._ours, self.theirs = pty.openpty()
        size = struct.pack("HHHH", 50, columns, 0, 0)
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, size)
        self._read = b""

    def read_until(self, text: str) -> str:
        """The output so far, without colours, as soon as it contains *text*."""
        while text not in self.text:
            assert select.select([self._ours], [], [], TIMEOUT)[0], f"no {text!r}: {self.text}"
            self._read += os.read(self._ours, 65536)
        return self.text

    def read_all(self) -> str:
        """The whole output, after the program has closed the terminal."""
        os.close(self.theirs)
        self.theirs = -1
        try:
            while piece := os.read(self._ours, 65536):
                self._read += piece
        except OSError:  # how Linux reports the end
            pass
        return self.text

    @property
    def raw(self) -> str:
        """The output with its colours."""
        return self._read.decode(errors="replace")

    @property
    def text(self) -> str:
        """The output without colours."""
        return _ESCAPE.sub("", self.raw).replace("\r\n", "\n")

    def close(self) -> None:
        """Close both ends."""
        for end in (self._ours, self.theirs):
            if end >= 0:
                os.close(end)


@contextmanager
def open_terminal(columns: int = 100) -> Iterator[Terminal]:
    """A terminal that is closed at the end of the block."""
    opened = Terminal(columns)
    try:
        yield opened
    finally:
        opened.close()


def run_at_terminal(*words: str, columns: int = 100, **env: str) -> tuple[int, Terminal]:
    """The exit status of `tracker` with these *words*, and the terminal with its output."""
    with open_terminal(columns) as screen:
        variables = {"TERM": "xterm-256color", **env}
        with start_tracker(*words, env=variables, stdout=screen.theirs) as process:
            screen.read_all()
            return process.wait(TIMEOUT), screen


def read_line(stream: IO[str] | None) -> str:
    """The next line of *stream*, read without buffering."""
    assert stream
    read = b""
    while not read.endswith(b"\n"):
        assert select.select([stream], [], [], TIMEOUT)[0], f"no line after {read!r}"
        piece = os.read(stream.fileno(), 1)
        assert piece, f"it ended after {read!r}"
        read += piece
    return read.decode()


def wait_until_full(pipe: IO[str] | None) -> None:
    """Wait until *pipe* holds as much as it can, so that its writer is blocked or will be."""
    assert pipe
    descriptor = pipe.fileno()
    capacity = fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ)

    def is_full() -> bool:
        queued = fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4))
        return int.from_bytes(queued, sys.byteorder) > capacity - select.PIPE_BUF

    wait_until(is_full)
