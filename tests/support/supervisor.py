"""One run of the supervisor with real processes."""

import asyncio
import io
import re
import time
from collections.abc import Callable
from typing import BinaryIO

from tracker.embedded.log import SUPERVISOR_NAME, Log
from tracker.embedded.supervisor import Process, RestartPolicy, Supervisor

QUICK = RestartPolicy(initial_delay=0.05, max_delay=0.2, ready_timeout=5)


def shell(name: str, script: str, **more: object) -> Process:
    return Process(name=name, command=["sh", "-c", script], **more)  # type: ignore[arg-type]


class SupervisorRun:
    """One run of the supervisor: its exit code, its log and its duration."""

    def __init__(
        self,
        *processes: Process,
        until: Callable[[str], bool] = lambda _: False,
        stop: Callable[[Supervisor], None] = Supervisor.stop,
        policy: RestartPolicy = QUICK,
        out: BinaryIO | None = None,
    ) -> None:
        self.out = out or io.BytesIO()
        log = Log(self.out, [SUPERVISOR_NAME, *(process.name for process in processes)])
        self.supervisor = Supervisor(processes, log, policy)
        started_at = time.monotonic()
        self.code = asyncio.run(asyncio.wait_for(self._run(until, stop), 20))
        self.seconds = time.monotonic() - started_at

    async def _run(self, until: Callable[[str], bool], stop: Callable[[Supervisor], None]) -> int:
        running = asyncio.create_task(self.supervisor.run())
        while not running.done():
            if until(self.text):
                stop(self.supervisor)
                break
            await asyncio.sleep(0.01)
        return await running

    @property
    def text(self) -> str:
        return self.out.getvalue().decode() if isinstance(self.out, io.BytesIO) else ""

    @property
    def lines(self) -> list[tuple[str, str]]:
        """The process and the text of each line."""
        shown = re.findall(r"^\d\d:\d\d:\d\d (\S+) +\| (.*)$", self.text, re.MULTILINE)
        assert len(shown) == self.text.count("\n")
        return shown

    def lines_of(self, name: str) -> list[str]:
        return [text for source, text in self.lines if source == name]
