"""A private Docker engine that undoes every change it makes to the machine.

Without iptables: containers use their bridge, loopback uses docker's proxy, and builds use the
host's network. `python -m tests.support.compose.engine` prints in one line why it cannot run.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.support.compose import programs
from tracker.embedded.account import bind_to_parent

NOT_AVAILABLE = 77  # the exit status of a test that does not apply, as automake has it
_PREFIX = "tracker-engine-"
_TIMEOUT = 60.0  # seconds


class EngineUnavailable(Exception):
    """The engine ended at its start."""


@dataclass(frozen=True)
class Engine:
    """A running engine, with all its files in *folder*."""

    folder: Path
    env: Mapping[str, str]

    def run(
        self,
        *words: str,
        timeout: float = 600,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        **options: Any,
    ) -> str:
        """The output of a program in the engine's environment.

        Raises AssertionError if it fails.
        """
        done: subprocess.CompletedProcess[str] = subprocess.run(
            words, check=False, env=self.env, capture_output=True, text=True, timeout=timeout,
            stdin=stdin, **options,
        )  # fmt: skip
        shown = f"{' '.join(words)}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        assert done.returncode == 0, shown
        return done.stdout.strip()

    def docker(self, *words: str) -> str:
        """The output of `docker`."""
        return self.run("docker", *words)


def find_obstacle() -> str:
    """Why no engine can run on this machine, in a few words; empty if one can."""
    if os.getuid() != 0:
        return "only root can start one"
    if programs.release() not in programs.RELEASES:
        return f"its packages are known for Debian {' and '.join(programs.RELEASES)} only"
    if missing := [name for name in ("wget", "gpgv", "unshare") if not shutil.which(name)]:
        return f"no {missing[0]}"
    if not any(map(Path("/sys/fs/cgroup").glob, ("cgroup.controllers", "memory/tasks"))):
        return "no cgroups"
    command = ["unshare", "--mount", "--net", "true"]
    confined = subprocess.run(command, check=False, capture_output=True).returncode
    return "root may not make namespaces here" if confined else ""


@contextmanager
def start_engine() -> Iterator[Engine]:
    """Start an engine, one at a time, and remove it at the end. Raises EngineUnavailable."""
    place = programs.prefix()
    with (place.parent / "engine.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        remove_stale_engines()
        with _start_locked(place) as engine:
            yield engine


@contextmanager
def _start_locked(place: Path) -> Iterator[Engine]:
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    folder.chmod(0o755)
    env = {
        **programs.environment(place),
        "HOME": str(folder),
        "DOCKER_HOST": f"unix://{folder}/docker.sock",
        "DOCKER_CONFIG": str(place / "config"),
    }
    process = _start_dockerd(folder, place, env)
    try:
        _wait_for_socket(process, folder)
        yield Engine(folder, env)
    finally:
        remove_engine(folder)
        process.wait()


def remove_stale_engines() -> None:
    """Remove what a killed run left behind."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if not _is_dockerd(_read_pid(folder)):
            remove_engine(folder)


def remove_engine(folder: Path) -> None:
    """Stop the engine of *folder* and remove it; signals are blocked meanwhile."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        _stop_dockerd(_read_pid(folder))
        for mount in reversed(_list_mounts(folder)):
            subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(folder)
        for group in sorted(Path("/sys/fs/cgroup").glob(f"**/{folder.name}/**/"), reverse=True):
            with suppress(OSError):  # seen by another name already
                group.rmdir()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _start_dockerd(folder: Path, place: Path, env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    command = [
        *(f"{place}/usr/sbin/dockerd", "--host", f"unix://{folder}/docker.sock"),
        *("--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"),
        *("--pidfile", f"{folder}/pid", "--config-file", f"{folder}/none.json"),
        *("--init-path", f"{place}/usr/bin/tini-static"),
        *("--userland-proxy-path", f"{place}/usr/sbin/docker-proxy"),
        *("--bridge", "none", "--iptables=false", "--ip-masq=false", "--ip-forward=false"),
        *("--cgroup-parent", f"/{folder.name}", "--shutdown-timeout", "5"),
    ]
    (folder / "none.json").write_text("{}")
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            bind_to_parent(command, signal.SIGTERM), env=env, stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, start_new_session=True,
        )  # fmt: skip


def _wait_for_socket(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while not (folder / "docker.sock").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            last = (folder / "log").read_text(errors="replace").strip().splitlines()[-1:]
            raise EngineUnavailable(*last)
        time.sleep(0.1)


def _read_pid(folder: Path) -> int:
    try:
        return int((folder / "pid").read_text())
    except (OSError, ValueError):
        return 0


def _is_dockerd(pid: int) -> bool:
    try:
        return b"dockerd" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _stop_dockerd(pid: int) -> None:
    if not _is_dockerd(pid):
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _TIMEOUT
    while _is_dockerd(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    if _is_dockerd(pid):
        os.kill(pid, signal.SIGKILL)


def _list_mounts(folder: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [place for line in lines if (place := line.split()[1]).startswith(f"{folder}/")]


if __name__ == "__main__":
    if reason := find_obstacle():
        sys.stdout.write(f"Compose is not tested here: no Docker engine can run, {reason}\n")
        sys.exit(NOT_AVAILABLE)
