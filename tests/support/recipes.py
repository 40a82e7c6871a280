"""The tracker as a user runs it: `ops/just`, its processes and its output."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from ops.bench.processes import free_ports
from tests.support.processes import command_line, process_tree
from tracker.settings import CHECKOUT, Settings

TIMEOUT = 60.0  # seconds


class RunningRecipe:
    """A recipe that runs until it is stopped."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, env: dict[str, str]) -> None:
        """The recipe of *process*, whose output goes to *log*."""
        self.process = process
        self.env = env
        self._log = log
        self.api = httpx.Client(base_url=f"http://127.0.0.1:{env['WEB_PORT']}/v1", timeout=10)

    def output(self) -> str:
        """Everything that it has printed."""
        return self._log.read_text(errors="replace")

    def wait_until(self, condition: Callable[[], object], timeout: float = TIMEOUT) -> None:
        """Wait until *condition* is true; fails with the output, at once if the recipe ends."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert self.process.poll() is None, f"it ended:\n{self.output()}"
            assert time.monotonic() < deadline, f"still waiting:\n{self.output()}"
            time.sleep(0.05)

    def responds(self, path: str, status: int = 200) -> bool:
        """Whether the API responds to *path* with *status*."""
        try:
            return self.api.get(path).status_code == status
        except httpx.TransportError:
            return False

    def pid(self, name: str) -> int | None:
        """The process id of `tracker` *name*."""
        for pid in process_tree(self.process.pid):
            if command_line(pid)[1:4] == ["-m", "tracker", name]:
                return pid
        return None

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> int:
        """Send *signum*, and return the exit code; no process may remain."""
        pids = process_tree(self.process.pid)
        self.process.send_signal(signum)
        code = self.process.wait(TIMEOUT)
        deadline = time.monotonic() + 15  # seconds; just itself does not wait for its recipe
        while remaining := [words for pid in pids if (words := command_line(pid))]:
            assert time.monotonic() < deadline, f"still running: {remaining}"
            time.sleep(0.05)
        return code

    def just(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another recipe in the same environment."""
        return run_recipe(*words, env=self.env)


def run_recipe(
    *words: str, env: dict[str, str], **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a recipe to its end."""
    options = {"capture_output": True, "timeout": TIMEOUT, **options}
    command = [str(CHECKOUT / "ops/just"), *words]
    return subprocess.run(command, check=False, env=env, text=True, **options)


@contextmanager
def start_recipe(recipe: str, home: Path, **variables: str) -> Iterator[RunningRecipe]:
    """Run *recipe* in *home* on free ports; asserts that no process remains."""
    env = recipe_environment(home, **variables)
    log = home.parent / f"{recipe}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [CHECKOUT / "ops/just", recipe], env=env, cwd="/", stdout=stream, stderr=stream
        )
    running = RunningRecipe(process, log, env)
    try:
        yield running
    finally:
        if process.poll() is None:
            running.stop()
        running.api.close()


def recipe_environment(home: Path, **variables: str) -> dict[str, str]:
    """A minimal environment with free ports and its own home."""
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
