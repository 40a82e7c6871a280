"""The tracker as a user runs it: `ops/just`, its processes, and what it prints."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from ops.bench.processes import free_ports
from tests.support.processes import command, members
from tracker.settings import CHECKOUT, Settings

PATIENCE = 60.0  # seconds; machines are shared


class Running:
    """A recipe that runs until it is stopped."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, env: dict[str, str]) -> None:
        """Follow *process*, whose output goes to *log*."""
        self.process = process
        self.env = env
        self._log = log
        self.api = httpx.Client(base_url=f"http://127.0.0.1:{env['WEB_PORT']}/v1", timeout=10)

    def output(self) -> str:
        """All it has printed."""
        return self._log.read_text(errors="replace")

    def wait_for(self, what: Callable[[], object]) -> None:
        """Wait until *what* is true; fails with the output if it takes too long."""
        deadline = time.monotonic() + PATIENCE
        while not what():
            assert self.process.poll() is None, f"it ended:\n{self.output()}"
            assert time.monotonic() < deadline, f"still waiting:\n{self.output()}"
            time.sleep(0.05)

    def asks(self, path: str, status: int = 200) -> bool:
        """Whether the API answers *path* with *status*."""
        try:
            return self.api.get(path).status_code == status
        except httpx.TransportError:
            return False

    def pid(self, name: str) -> int | None:
        """The process that runs `tracker` *name*."""
        for pid in members(self.process.pid):
            if command(pid)[1:4] == ["-m", "tracker", name]:
                return pid
        return None

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code, once *sign* has ended it; nothing may be left of it."""
        everyone = members(self.process.pid)
        self.process.send_signal(sign)
        code = self.process.wait(PATIENCE)
        deadline = time.monotonic() + 15  # seconds; just itself does not wait for its recipe
        while left := [words for pid in everyone if (words := command(pid))]:
            assert time.monotonic() < deadline, f"left behind: {left}"
            time.sleep(0.05)
        return code

    def just(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another recipe in the same environment."""
        return just(*words, env=self.env)


def just(*words: str, env: dict[str, str], **options: object) -> subprocess.CompletedProcess[str]:
    """Run a recipe to its end."""
    return subprocess.run(
        [CHECKOUT / "ops/just", *words],
        check=False,
        **{"env": env, "capture_output": True, "text": True, "timeout": PATIENCE, **options},
    )


@contextmanager
def running(recipe: str, home: Path, **variables: str) -> Iterator[Running]:
    """Run *recipe* in *home* on free ports, and see that it leaves nothing behind."""
    env = environment(home, **variables)
    log = home.parent / f"{recipe}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [CHECKOUT / "ops/just", recipe], env=env, cwd="/", stdout=stream, stderr=stream
        )
    started = Running(process, log, env)
    try:
        yield started
    finally:
        if process.poll() is None:
            started.stop()
        started.api.close()


def environment(home: Path, **variables: str) -> dict[str, str]:
    """A plain environment, with free ports and a state of its own."""
    ports = iter(free_ports(2))
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home.parent),
        "TRACKER_HOME": str(home),
        "TRACKER_CACHE": str(Settings.load().cache),
        "WEB_PORT": str(next(ports)),
        "SIMULATOR_PORT": str(next(ports)),
        **variables,
    }
