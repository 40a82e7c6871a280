"""What PostgreSQL and Redis have in common: a home, a socket, a pid, a way to stop."""

import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from tracker.embedded.account import Account
from tracker.embedded.programs import Programs
from tracker.errors import EmbeddedError
from tracker.settings import Settings

PAUSE = 0.02  # seconds between two looks


class Server(ABC):
    """A server of one home. It may be running already, started by whomever."""

    name: ClassVar[str]
    sign: ClassVar[signal.Signals]  # asks it to stop without delay, losing nothing

    def __init__(self, settings: Settings, account: Account) -> None:
        """The server of the home in *settings*; nothing happens yet."""
        self.settings = settings
        self.account = account

    @property
    @abstractmethod
    def pidfile(self) -> Path:
        """The file whose first line is the server's pid, beside its socket."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether it answers, and all that the tracker expects of it is there."""

    @abstractmethod
    def prepare(self, programs: Programs, *, durable: bool = True) -> list[str]:
        """Make its folder what it should be: the command that runs the server.

        durable: without it a crash of the machine may lose data; for tests.
        Raises EmbeddedError if the folder is no use.
        """

    def pid(self) -> int | None:
        """The server's process, if it runs."""
        return owner_of(self.pidfile, self.settings.home)

    def running(self) -> bool:
        """Whether it runs and answers."""
        return self.pid() is not None and self.ready()

    def stop(self, seconds: float = 10.0) -> None:
        """Ask it to stop, wait, and kill it if it takes longer than *seconds*."""
        for sign in (self.sign, signal.SIGKILL):
            pid = self.pid()
            if pid is None:
                return
            _signal(pid, sign)
            if self.wait_gone(seconds):
                return
        raise EmbeddedError(f"{self.name} (pid {self.pid()}) does not stop")

    def wait_gone(self, seconds: float = 10.0) -> bool:
        """Wait until it runs no more: whether that came in time."""
        return _in_time(lambda: self.pid() is None, seconds)

    def _is_gone(self, pid: int, seconds: float) -> bool:
        """The same of process *pid*: a server may take its pidfile away before it is gone."""
        home = self.settings.home
        return _in_time(lambda: self.pid() is None and not _works_in(pid, home), seconds)


def owner_of(pidfile: Path, home: Path) -> int | None:
    """The process that wrote *pidfile*, if it still works in a folder of *home*."""
    try:
        pid = int(pidfile.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None
    return pid if _works_in(pid, home) else None


def _works_in(pid: int, home: Path) -> bool:
    """Not so after a kill -9 or a restart of the machine: then the number may be another's."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink().parent == home
    except OSError:
        return False


def _in_time(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE)
    return True


def _signal(pid: int, sign: signal.Signals) -> None:
    try:
        os.kill(pid, sign)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise EmbeddedError(f"cannot stop pid {pid}: it belongs to another user") from error
