"""Keeps processes running: in order, again when they die, and down in reverse order.

Own code, as no library gives a foreground log, restarts with back-off and a clean end at once.
"""

import asyncio
import signal
import time
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from tracker.embedded.output import Log
from tracker.embedded.process import Child, Process, fate

US = "tracker"  # the name under which we speak ourselves
_NOT_STARTED = 127
_LOOK = 0.02  # seconds between two looks
_ECHO = 0.5  # seconds in which a second signal is taken for the same Ctrl-C, passed on by a parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How restarts are spaced, in seconds.

    first, longest: the pause after the first death; it doubles up to the longest.
    steady: who lived that long starts again at the first.
    patience: how long one may take to be ready.
    """

    first: float = 1.0
    longest: float = 30.0
    steady: float = 60.0
    patience: float = 60.0


class Supervisor:
    """Runs processes until it is asked to stop, or one that must succeed fails."""

    def __init__(self, processes: Iterable[Process], log: Log, pace: Pace | None = None) -> None:
        """Nothing is started yet."""
        self._processes = {process.name: process for process in processes}
        self._log = log
        self._pace = pace or Pace()
        self._ready = {name: asyncio.Event() for name in self._processes}
        self._gone = {name: asyncio.Event() for name in self._processes}
        self._children: dict[str, Child] = {}
        self._stopping = asyncio.Event()
        self._asked = 0.0
        self._code = 0

    async def run(self) -> int:
        """Run them all: 0 after a stop that was asked for, 1 after a failure."""
        self._listen()
        async with asyncio.TaskGroup() as tasks:
            for process in self._processes.values():
                tasks.create_task(self._keep(process))
        return self._code

    def stop(self) -> None:
        """End all of them in order; asked a second time, kill them."""
        now = time.monotonic()
        if not self._stopping.is_set():
            self._log.say(US, "stopping (Ctrl-C again kills)")
            self._asked = now
            self._stopping.set()
        elif now - self._asked > _ECHO:
            for child in self._children.values():
                child.send(signal.SIGKILL)

    def _fail(self, text: str) -> None:
        self._log.say(US, f"{text}; stopping")
        self._code = 1
        self._stopping.set()

    def _listen(self) -> None:
        """Stop on a signal, and when nobody is left to read the log."""
        loop = asyncio.get_running_loop()
        for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if sign is not signal.SIGHUP or signal.getsignal(sign) is not signal.SIG_IGN:
                loop.add_signal_handler(sign, self.stop)
        self._log.when_closed = lambda: loop.call_soon_threadsafe(self.stop)

    async def _keep(self, process: Process) -> None:
        """Run *process* when its time has come, again and again."""
        try:
            if await self._unless_stopped(self._all_ready(process.after)):
                await self._repeat(process)
        finally:
            self._gone[process.name].set()

    async def _repeat(self, process: Process) -> None:
        pause = self._pace.first
        while not self._stopping.is_set():
            began = time.monotonic()
            code = await self._live(process)
            if self._stopping.is_set() or self._is_settled(process, code):
                return
            if time.monotonic() - began >= self._pace.steady:
                pause = self._pace.first
            self._log.say(US, f"{process.name} {fate(code)}; starting it again in {pause:g} s")
            await self._unless_stopped(asyncio.sleep(pause))
            pause = min(2 * pause, self._pace.longest)

    def _is_settled(self, process: Process, code: int) -> bool:
        """Whether the end of *process* was the last one: it is done, or nothing can be done."""
        if process.once and code == 0:
            self._ready[process.name].set()
            return True
        if process.once or not self._ready[process.name].is_set():
            self._fail(f"{process.name} {fate(code)}")
            return True
        return False

    async def _live(self, process: Process) -> int:
        """One life of *process*: how it ended."""
        try:
            child = await Child.start(process, self._log)
        except OSError as error:
            self._log.say(US, f"{process.name} cannot be started: {error}")
            return _NOT_STARTED
        self._children[process.name] = child
        guards = [asyncio.create_task(self._end(process, child))]
        if not process.once:
            guards.append(asyncio.create_task(self._look(process)))
        try:
            return await child.wait()
        finally:
            del self._children[process.name]
            for guard in guards:
                guard.cancel()

    async def _look(self, process: Process) -> None:
        """Watch *process* until it is ready; again, it may take as long as it needs to recover."""
        deadline = time.monotonic() + self._pace.patience
        while process.ready and not await asyncio.to_thread(process.ready):
            if time.monotonic() > deadline and not self._ready[process.name].is_set():
                self._fail(f"{process.name} does not answer")
                return
            await asyncio.sleep(_LOOK)
        self._ready[process.name].set()

    async def _end(self, process: Process, child: Child) -> None:
        """When it is time to stop, and those that need *process* are gone, end it."""
        await self._stopping.wait()
        for name in self._dependents(process.name):
            await self._gone[name].wait()
        child.send(process.sign)
        await asyncio.sleep(process.grace)
        self._log.say(US, f"{process.name} does not stop within {process.grace:g} s; killing it")
        child.send(signal.SIGKILL)

    def _dependents(self, name: str) -> set[str]:
        direct = {other.name for other in self._processes.values() if name in other.after}
        return direct.union(*(self._dependents(other) for other in direct))

    async def _all_ready(self, names: Iterable[str]) -> None:
        for name in names:
            await self._ready[name].wait()

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Whether *work* was done before the stop came."""
        tasks = {asyncio.create_task(work), asyncio.create_task(self._stopping.wait())}
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        return not self._stopping.is_set()
