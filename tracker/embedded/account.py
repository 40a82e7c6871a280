"""The account that servers and our processes run as, and children that end with their parent."""

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, Self

from tracker.errors import EmbeddedError

MINIMAL_ENVIRONMENT = {"PATH": os.defpath, "TZ": "UTC", "LC_ALL": "C"}
CHECK_INTERVAL = 0.02  # seconds between checks of a process
_NOBODY = 65534
_CAPABILITIES = {  # capability.h
    "dac_override": 1, "dac_read_search": 2, "setgid": 6, "setuid": 7, "net_bind_service": 10,
}  # fmt: skip
_READING = ("dac_read_search", "dac_override")  # either suffices; containers often have the second
_FIRST_UNPRIVILEGED_PORT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


@dataclass(frozen=True, slots=True)
class Account:
    """The user that runs servers and our processes; never root, which PostgreSQL refuses to be.

    capabilities: what its processes keep of root's privileges.
    """

    uid: int
    gid: int
    capabilities: tuple[str, ...] = ()

    @classmethod
    def of(cls, home: Path) -> Self:
        """The current user; for root the owner of *home*, `postgres` or `nobody`.

        Raises EmbeddedError if root, without its capabilities, may not enter *home*.
        """
        if os.getuid() != 0:
            return cls(os.getuid(), os.getgid())
        try:
            existing = next(path for path in (home, *home.parents) if path.exists()).stat()
        except OSError as error:
            raise EmbeddedError(f"TRACKER_HOME: cannot enter {home}: {error.strerror}") from error
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
        if self.capabilities:  # setpriv changes the user, in `bind_to_parent`
            return {}
        groups: list[int] | None = [] if os.getuid() == 0 else None
        return {"user": self.uid, "group": self.gid, "extra_groups": groups}

    @property
    def setpriv_options(self) -> list[str]:
        """Options of setpriv that start a program as this account."""
        options = [f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"]
        if self.capabilities:
            kept = ",".join(f"+{name}" for name in self.capabilities)
            options += [f"--inh-caps={kept}", f"--ambient-caps={kept}"]
        return options

    @property
    def reads_all_files(self) -> bool:
        """Whether `able_to_read` had to give it a capability for that."""
        return any(name in self.capabilities for name in _READING)

    def able_to_read(self, files: Iterable[str]) -> Self:
        """This account, if it can read *files*; else with a capability for it.

        Raises EmbeddedError naming a file, if root itself has no such capability.
        """
        try:
            run_command(["head", "-c0", "--", os.devnull, *files], self)
        except EmbeddedError as error:
            name = next(filter(_is_permitted, _READING), None)
            if name is None:
                raise EmbeddedError(
                    f"uid {self.uid}, which runs the tracker, cannot read its files: {error};"
                    " make them readable, or set TRACKER_HOME to a folder of a user who can"
                ) from None
            return replace(self, capabilities=(*self.capabilities, name))
        return self

    def able_to_listen(self, ports: Iterable[int]) -> Self:
        """This account, with the capability for privileged ports if one of *ports* is such."""
        if min(ports) < _first_unprivileged_port() and _is_permitted("net_bind_service"):
            return replace(self, capabilities=(*self.capabilities, "net_bind_service"))
        return self

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


def may_change_user() -> bool:
    """Whether this process may run another one as any user."""
    return _has_capability("setuid") and _has_capability("setgid")


def _is_permitted(capability: str) -> bool:
    """Whether this process may pass *capability* on."""
    return bool(_has_capability(capability) and shutil.which("setpriv"))


def _has_capability(capability: str) -> bool:
    """Whether this process may use *capability*.

    Source: capabilities(7), proc(5)
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    permitted = next(int(line.split()[1], 16) for line in lines if line.startswith("CapPrm"))
    return bool(permitted >> _CAPABILITIES[capability] & 1)


def _first_unprivileged_port() -> int:
    try:
        return int(_FIRST_UNPRIVILEGED_PORT.read_text())
    except (OSError, ValueError):
        return 1024


def bind_to_parent(
    command: Sequence[str], stop_signal: signal.Signals, account: Account | None = None
) -> list[str]:
    """*command*, to which the kernel sends *stop_signal* when its parent dies, even by SIGKILL.

    account: keeps its capabilities, with `popen_options`.
    Start it from the main thread: the kernel watches the thread that forked, see prctl(2),
    PR_SET_PDEATHSIG. A machine without setpriv runs the bare command.
    """
    setpriv = shutil.which("setpriv")
    if not setpriv:
        return list(command)
    words = [setpriv, "--pdeathsig", stop_signal.name.removeprefix("SIG")]
    if account and account.capabilities:
        words += account.setpriv_options
    return [*words, "--", *command]


def become(account: Account, command: list[str], env: Mapping[str, str]) -> NoReturn:
    """Replace this process of root by *command*, run as *account*; its parent does not notice.

    Raises OSError if this user namespace does not have the account.
    """
    if setpriv := shutil.which("setpriv"):
        options = ["--pdeathsig", "keep", *account.setpriv_options]
        command = [setpriv, *options, "--", *command]
    else:
        os.setgroups([])
        os.setgid(account.gid)
        os.setuid(account.uid)
    os.execve(command[0], command, env)  # noqa: S606 -- our own program


def run_command(command: Sequence[str], account: Account | None = None) -> str:
    """Run *command*, as *account* if given, and return its output.

    Raises EmbeddedError with its error output if it fails.
    """
    completed: subprocess.CompletedProcess[str] = subprocess.run(
        bind_to_parent(command, signal.SIGKILL, account),
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


def send_signal(pid: int, number: signal.Signals) -> None:
    """Send a signal to *pid*, if it still exists. Raises EmbeddedError if that is forbidden."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise EmbeddedError(f"cannot stop pid {pid}: it belongs to another user") from error
