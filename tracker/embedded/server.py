"""What PostgreSQL and Redis have in common: a home, a socket, a pid, a way to stop."""

import os
import signal
import socket
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from tracker.embedded.account import Account
from tracker.embedded.programs import Programs
from tracker.errors import EmbeddedError, describe
from tracker.settings import Settings

PAUSE = 0.02  # seconds between two looks
_CONNECT_TIMEOUT = 2.0  # seconds
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


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

    @property
    @abstractmethod
    def socket(self) -> Path:
        """Where it listens."""

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
        return self.owner_of(self.pidfile)

    def owner_of(self, pidfile: Path) -> int | None:
        """The process that wrote *pidfile*, if it is still the server of this home.

        Raises EmbeddedError if the file cannot be read: the server may be running then.
        """
        try:
            pid = int(pidfile.read_text().split("\n", 1)[0])
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        except OSError as error:
            raise EmbeddedError(f"cannot read {pidfile}: {error.strerror}") from error
        return pid if self._is_server(pid) else None

    def _is_server(self, pid: int) -> bool:
        """Whether *pid* works in this home; after a kill -9 the number may be another's.

        Root without CAP_SYS_PTRACE cannot read the working folder of another user's process, and
        where /proc is mounted with hidepid it does not even exist: the socket's peer decides then.
        """
        try:
            return Path(f"/proc/{pid}/cwd").readlink().parent == self.settings.home
        except OSError:
            return _listens(pid, self.socket)

    def running(self) -> bool:
        """Whether it runs and answers."""
        return self.pid() is not None and self.ready()

    def stop(self, seconds: float = 10.0) -> None:
        """Ask it to stop, wait, and kill it if it takes longer than *seconds*."""
        for sign in (self.sign, signal.SIGKILL):
            pid = self.pid()
            if pid is None:
                return
            send_signal(pid, sign)
            if self.wait_gone(seconds):
                return
        raise EmbeddedError(f"{self.name} (pid {self.pid()}) does not stop")

    def wait_gone(self, seconds: float = 10.0) -> bool:
        """Wait until it runs no more: whether that came in time."""
        return _in_time(lambda: self.pid() is None, seconds)


def _listens(pid: int, path: Path) -> bool:
    """Whether *pid* listens on the socket at *path*, also while it is stopped or busy.

    Source: unix(7), SO_PEERCRED
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_CONNECT_TIMEOUT)
        try:
            connection.connect(str(path))
        except (BlockingIOError, TimeoutError):  # its queue is full
            return True
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            return False
        except OSError as error:
            raise EmbeddedError(f"cannot connect to {path}: {describe(error)}") from error
        found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(found)[0] == pid)


def _in_time(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE)
    return True


def send_signal(pid: int, sign: signal.Signals) -> None:
    """Send *sign* to *pid*, if that still exists. Raises EmbeddedError if it is not ours."""
    try:
        os.kill(pid, sign)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise EmbeddedError(f"cannot stop pid {pid}: it belongs to another user") from error
