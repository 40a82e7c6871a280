"""The processes of a running demo: terminated, killed, paused."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from tests.support.processes import pause_process, process_state
from tests.support.recipes import RunningRecipe
from tracker.embedded.home import home_servers
from tracker.settings import CHECKOUT, Settings

OURS = ("web", "worker", "scheduler")
ALL = (*OURS, "redis", "postgres")

_TIMEOUT = 150.0  # seconds; the longest pause before a restart is 30
_LOG_LINES = 80


class ProcessControl:
    """Control of a demo's processes."""

    def __init__(self, recipe: RunningRecipe, settings: Settings) -> None:
        """Control those of the tracker that *recipe* runs."""
        self.recipe = recipe
        self.settings = settings

    def pid(self, name: str) -> int | None:
        """The process id of that part; None while it does not run."""
        for server in home_servers(self.settings):
            if server.name == name:
                return server.pid()
        with suppress(ProcessLookupError):
            return self.recipe.pid(name)
        return None

    def is_running(self) -> bool:
        """Whether every process runs, none of them stopped or dead."""
        pids = [self.pid(name) for name in (*ALL, "simulate")]
        return all(pid and process_state(pid) in {"R", "S", "D"} for pid in pids)

    def terminate(self, name: str) -> None:
        """Send SIGTERM to that process, and wait for its end: the web still serves requests."""
        self.wait_until(lambda: self.pid(name))
        pid = self.pid(name) or 0
        os.kill(pid, signal.SIGTERM)
        self.wait_until(lambda: self.pid(name) != pid)

    def kill(self, *names: str) -> None:
        """Send SIGKILL to those of the processes that run."""
        for pid in [self.pid(name) for name in names]:
            if pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def was_killed(self, name: str) -> bool:
        """Whether the supervisor has logged that."""
        return f"{name} was killed by SIGKILL" in self.recipe.output()

    def pause(self, name: str) -> AbstractContextManager[None]:
        """Stop all processes of *name* in the block, once they run."""
        self.wait_until(lambda: self.pid(name))
        return pause_process(self.pid(name))

    @contextmanager
    def pause_supervisor(self) -> Iterator[None]:
        """Stop the supervisor alone in the block."""
        self.recipe.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.recipe.process.send_signal(signal.SIGCONT)

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Wait until *condition* is true; fails with the end of the log."""
        self.recipe.wait_until(condition, _TIMEOUT)

    def log_tail(self) -> str:
        """The end of the supervisor's log."""
        return "\n".join(self.recipe.output().splitlines()[-_LOG_LINES:])


@contextmanager
def run_process(
    settings: Settings, *words: str, log: Path = Path(os.devnull)
) -> Iterator[subprocess.Popen[bytes]]:
    """Run one more `tracker` *words*, which must not end before the block does."""
    command = [sys.executable, "-m", "tracker", *words]
    environment = settings.environment()
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            command, cwd=CHECKOUT, env=environment, stdout=stream, stderr=stream
        ) as process,
    ):
        try:
            yield process
            assert process.poll() in {None, -signal.SIGKILL}
        finally:
            process.kill()
