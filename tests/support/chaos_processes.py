"""The processes of a running demo: ended, killed, paused, waited for."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from tests.support.processes import paused, state
from tests.support.running import Running
from tracker.embedded.home import home_servers
from tracker.settings import CHECKOUT, Settings

OURS = ("web", "worker", "scheduler")
ALL = (*OURS, "redis", "postgres")

_PATIENCE = 150.0  # seconds; the longest pause before a restart is 30, and machines are shared
_SHOWN = 80  # lines of the supervisor's log


class Processes:
    """What can be done to a demo's processes."""

    def __init__(self, demo: Running, settings: Settings) -> None:
        """Those of the tracker that *demo* runs."""
        self.demo = demo
        self.settings = settings

    def pid(self, name: str) -> int | None:
        """The process of that name."""
        for server in home_servers(self.settings):
            if server.name == name:
                return server.pid()
        with suppress(ProcessLookupError):
            return self.demo.pid(name)
        return None

    def alive(self) -> bool:
        """Whether every process is there, and none is stopped or dead."""
        pids = [self.pid(name) for name in (*ALL, "simulate")]
        return all(pid and state(pid) in {"R", "S", "D"} for pid in pids)

    def end(self, name: str) -> None:
        """Ask the process of that name to end, and wait until it has: the web still serves then."""
        self.wait_for(lambda: self.pid(name))
        pid = self.pid(name) or 0
        os.kill(pid, signal.SIGTERM)
        self.wait_for(lambda: self.pid(name) != pid)

    def kill(self, *names: str) -> None:
        """End those as a crash would, at once; whoever is down already stays so."""
        for pid in [self.pid(name) for name in names]:
            if pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def was_killed(self, name: str) -> bool:
        """Whether the supervisor said so."""
        return f"{name} was killed by SIGKILL" in self.demo.output()

    def paused(self, name: str) -> AbstractContextManager[None]:
        """Stop all processes of *name* for a while: they neither answer nor hang up.

        A part that waits for its restart is waited for.
        """
        self.wait_for(lambda: self.pid(name))
        return paused(self.pid(name))

    def wait_for(self, what: Callable[[], object]) -> None:
        """Wait until *what* is true."""
        deadline = time.monotonic() + _PATIENCE
        while not what():
            assert self.demo.process.poll() is None, f"it ended:\n{self.tail()}"
            assert time.monotonic() < deadline, f"still waiting:\n{self.tail()}"
            time.sleep(0.1)

    def tail(self) -> str:
        """The end of the supervisor's log."""
        return "\n".join(self.demo.output().splitlines()[-_SHOWN:])


@contextmanager
def another(
    settings: Settings, *words: str, log: Path = Path(os.devnull)
) -> Iterator[subprocess.Popen[bytes]]:
    """One more process of ours, `tracker` *words*, killed at the end; it must not end before."""
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
