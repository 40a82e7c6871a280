"""A Docker engine of its own, which touches nothing of the machine's that it does not put back.

No iptables: containers reach each other by their bridge, loopback by docker's proxy, and builds
use the host's network. `python -m tests.compose.engine` says in one line why there can be none.
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

from tests.compose import programs
from tracker.embedded.account import bind_to_parent

NOT_HERE = 77  # the exit status of a test that does not apply, as automake has it
_NAME = "tracker-engine-"
_PATIENCE = 60.0  # seconds


class Unstartable(Exception):
    """The engine ended at once."""


@dataclass(frozen=True)
class Engine:
    """A running engine; all of it is in *folder*."""

    folder: Path
    env: Mapping[str, str]

    def run(self, *words: str, timeout: float = 600, **options: object) -> str:
        """What a program of the engine's environment prints. Raises AssertionError if it fails."""
        done = subprocess.run(
            words, check=False, env=self.env, capture_output=True, text=True, timeout=timeout,
            **{"stdin": subprocess.DEVNULL, **options},
        )  # fmt: skip
        shown = f"{' '.join(words)}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        assert done.returncode == 0, shown
        return done.stdout.strip()

    def docker(self, *words: str) -> str:
        """What `docker` prints."""
        return self.run("docker", *words)


def why_not() -> str:
    """Why no engine can be started on this machine, in a few words; empty if it may."""
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
def running() -> Iterator[Engine]:
    """An engine, and nothing of it afterwards; one at a time. Raises Unstartable."""
    place = programs.prefix()
    with (place.parent / "engine.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sweep()
        with _running(place) as engine:
            yield engine


@contextmanager
def _running(place: Path) -> Iterator[Engine]:
    folder = Path(tempfile.mkdtemp(prefix=_NAME))
    folder.chmod(0o755)
    env = {
        **programs.environment(place),
        "HOME": str(folder),
        "DOCKER_HOST": f"unix://{folder}/docker.sock",
        "DOCKER_CONFIG": str(place / "config"),
    }
    process = _start(folder, place, env)
    try:
        _wait_for(process, folder)
        yield Engine(folder, env)
    finally:
        clean(folder)
        process.wait()


def sweep() -> None:
    """Put away what a run left that was killed with -9."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_NAME}*"):
        if not _alive(_pid(folder)):
            clean(folder)


def clean(folder: Path) -> None:
    """End the engine of *folder* and remove all of it; no signal disturbs that."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        _stop(_pid(folder))
        for mount in reversed(_mounts(folder)):
            subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(folder)
        for group in sorted(Path("/sys/fs/cgroup").glob(f"**/{folder.name}/**/"), reverse=True):
            with suppress(OSError):  # seen by another name already
                group.rmdir()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _start(folder: Path, place: Path, env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
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


def _wait_for(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not (folder / "docker.sock").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            last = (folder / "log").read_text(errors="replace").strip().splitlines()[-1:]
            raise Unstartable(*last)
        time.sleep(0.1)


def _pid(folder: Path) -> int:
    try:
        return int((folder / "pid").read_text())
    except (OSError, ValueError):
        return 0


def _alive(pid: int) -> bool:
    try:
        return b"dockerd" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _stop(pid: int) -> None:
    if not _alive(pid):
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _PATIENCE
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    if _alive(pid):
        os.kill(pid, signal.SIGKILL)


def _mounts(folder: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [place for line in lines if (place := line.split()[1]).startswith(f"{folder}/")]


if __name__ == "__main__":
    if reason := why_not():
        sys.stdout.write(f"Compose is not tested here: no Docker engine can run, {reason}\n")
        sys.exit(NOT_HERE)
