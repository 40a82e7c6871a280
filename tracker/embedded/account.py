"""The account that the servers run as, and child processes that end with their parent."""

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tracker.errors import EmbeddedError

MINIMAL_ENVIRONMENT = {"PATH": os.defpath, "TZ": "UTC", "LC_ALL": "C"}
CHECK_INTERVAL = 0.02  # seconds between checks of a process
_NOBODY = 65534


def bind_to_parent(command: Sequence[str], stop_signal: signal.Signals) -> list[str]:
    """*command*, to which the kernel sends *stop_signal* when its parent dies, even by SIGKILL.

    Start it from the main thread: the kernel watches the thread that forked, see prctl(2),
    PR_SET_PDEATHSIG. A machine without setpriv runs the bare command.
    """
    setpriv = shutil.which("setpriv")
    name = stop_signal.name.removeprefix("SIG")
    return [*([setpriv, "--pdeathsig", name, "--"] if setpriv else []), *command]


@dataclass(frozen=True, slots=True)
class Account:
    """The user that runs a server, which is never root: PostgreSQL refuses that."""

    uid: int
    gid: int

    @classmethod
    def of(cls, home: Path) -> Self:
        """The current user; for root the owner of *home*, `postgres` or `nobody`."""
        if os.getuid() != 0:
            return cls(os.getuid(), os.getgid())
        existing = next(path for path in (home, *home.parents) if path.exists()).stat()
        if existing.st_uid != 0:
            return cls(existing.st_uid, existing.st_gid)
        for name in ("postgres", "nobody"):
            with suppress(KeyError):
                entry = pwd.getpwnam(name)
                return cls(entry.pw_uid, entry.pw_gid)
        return cls(_NOBODY, _NOBODY)

    @property
    def popen_options(self) -> dict[str, Any]:
        """Keyword arguments that start a subprocess as this account."""
        groups: list[int] | None = [] if os.getuid() == 0 else None
        return {"user": self.uid, "group": self.gid, "extra_groups": groups}

    def make_private(self, folder: Path) -> None:
        """Make *folder* accessible to this account alone.

        Raises EmbeddedError if another user owns it: in /tmp any user may create it first.
        """
        folder.mkdir(0o700, exist_ok=True)
        owner = folder.lstat().st_uid
        if folder.is_symlink() or owner not in {self.uid, os.getuid()}:
            raise EmbeddedError(f"{folder} belongs to uid {owner}, not to {self.uid}")
        folder.chmod(0o700)
        os.chown(folder, self.uid, self.gid)

    def make_home(self, home: Path) -> None:
        """Create *home* if it is missing. Raises EmbeddedError if this account cannot enter it."""
        try:
            for folder in reversed([home, *home.parents]):
                if not folder.exists():
                    folder.mkdir(0o755)
                    os.chown(folder, self.uid, self.gid)
        except OSError as error:
            raise EmbeddedError(f"TRACKER_HOME: cannot create {home}: {error.strerror}") from error
        self.check_access(home)

    def check_access(self, folder: Path) -> None:
        """Raises EmbeddedError if this account may not enter *folder*."""
        try:
            run_command(["test", "-x", str(folder)], self)
        except EmbeddedError:
            raise EmbeddedError(
                f"uid {self.uid}, which runs the servers, may not enter {folder}:"
                " set TRACKER_HOME and TRACKER_CACHE to folders it may enter"
            ) from None


def run_command(command: Sequence[str], account: Account | None = None) -> str:
    """Run *command*, as *account* if given, and return its output.

    Raises EmbeddedError with its error output if it fails.
    """
    completed: subprocess.CompletedProcess[str] = subprocess.run(
        bind_to_parent(command, signal.SIGKILL),
        check=False,
        cwd="/",
        env=MINIMAL_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        umask=0o022,
        **(account.popen_options if account else {}),
    )
    if completed.returncode:
        message = " ".join((completed.stderr or completed.stdout).split())
        raise EmbeddedError(f"{Path(command[0]).name} failed: {message}")
    return completed.stdout
