"""Whom the servers run as, what they own, and that they die with their parent."""

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tracker.errors import EmbeddedError

# All that a server gets to see of our environment.
PLAIN = {"PATH": os.defpath, "TZ": "UTC", "LC_ALL": "C"}


def bound(command: Iterable[str], sign: signal.Signals) -> list[str]:
    """*command*, to be sent *sign* when its parent dies, be it by kill -9.

    The kernel means the parent's thread: start it from the main one.
    """
    setpriv = shutil.which("setpriv")
    prefix = [setpriv, "--pdeathsig", sign.name.removeprefix("SIG"), "--"] if setpriv else []
    return [*prefix, *command]


@dataclass(frozen=True, slots=True)
class Account:
    """The user a server runs as: PostgreSQL refuses to be root."""

    uid: int
    gid: int

    @classmethod
    def of(cls, home: Path) -> Self:
        """Ourselves; as root whoever owns *home*, else `postgres`, else `nobody`."""
        if os.getuid() != 0:
            return cls(os.getuid(), os.getgid())
        existing = next(step for step in (home, *home.parents) if step.exists()).stat()
        if existing.st_uid != 0:
            return cls(existing.st_uid, existing.st_gid)
        entry = _entry("postgres") or _entry("nobody")
        return cls(entry.pw_uid, entry.pw_gid) if entry else cls(65534, 65534)

    @property
    def groups(self) -> list[int] | None:
        """The further groups of a process to start: none, where that is ours to say."""
        return [] if os.getuid() == 0 else None

    def own(self, folder: Path) -> None:
        """Make *folder*, for this account alone. Raises EmbeddedError if it is another's."""
        folder.mkdir(0o700, exist_ok=True)
        facts = folder.lstat()
        if folder.is_symlink() or facts.st_uid not in {self.uid, os.getuid()}:
            raise EmbeddedError(f"{folder} belongs to uid {facts.st_uid}, not to {self.uid}")
        folder.chmod(0o700)
        os.chown(folder, self.uid, self.gid)

    def settle(self, home: Path) -> None:
        """Make *home*, this account's if it is new. Raises EmbeddedError if it cannot go there."""
        try:
            missing = [step for step in (home, *home.parents) if not step.exists()]
            for step in reversed(missing):
                step.mkdir(0o755)
                os.chown(step, self.uid, self.gid)
        except OSError as error:
            raise EmbeddedError(f"TRACKER_HOME: cannot make {home}: {error.strerror}") from error
        self.reach(home)

    def reach(self, folder: Path) -> None:
        """Check that this account may enter *folder*. Raises EmbeddedError if not."""
        if self.run(["test", "-x", str(folder)]).returncode:
            raise EmbeddedError(
                f"uid {self.uid}, which runs the servers, may not enter {folder}:"
                " set TRACKER_HOME and TRACKER_CACHE to folders it may"
            )

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run *command* as this account to its end, and keep what it says."""
        return subprocess.run(
            bound(command, signal.SIGKILL),
            check=False,
            cwd="/",
            env=PLAIN,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            user=self.uid,
            group=self.gid,
            extra_groups=self.groups,
        )


def _entry(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None
