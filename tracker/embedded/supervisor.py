"""Starts processes in order, restarts those that end, and stops them in reverse order.

No library combines a log in the foreground, restarts with back-off and an ordered stop.
"""

import asyncio
import contextlib
import os
import re
import signal
import time
from asyncio.subprocess import DEVNULL
from asyncio.subprocess import Process as Handle
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from tracker.embedded.account import CHECK_INTERVAL, MINIMAL_ENVIRONMENT, Account, bind_to_parent

SUPERVISOR_NAME = "tracker"  # of the supervisor's own lines in the log
_MAX_LINE = 65536  # bytes; longer lines are split
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92)
_CANNOT_START = 127  # exit code
_DRAIN_TIMEOUT = 0.5  # seconds for the rest of a dead process's output
_DUPLICATE_INTERVAL = 0.5  # seconds: a parent may forward the Ctrl-C that we received too


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process to run.

    after: the names of processes that must be ready before it starts, and stop after it.
    once: it ends by itself, and is ready when it succeeds.
    ready: whether it is usable yet; None: as soon as it runs.
    stop_signal: asks it to stop; it is killed *stop_timeout* seconds later.
    account: the user it runs as, if not the current one.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=lambda: MINIMAL_ENVIRONMENT)
    cwd: Path = Path("/")
    after: tuple[str, ...] = ()
    once: bool = False
    ready: Callable[[], bool] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout: float = 8.0
    account: Account | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """When processes are restarted, in seconds.

    initial_delay, max_delay: bounds of the delay before a restart, which doubles each time.
    reset_after: a process that ran so long restarts after the initial delay.
    ready_timeout: how long a process may take until it is ready for the first time.
    """

    initial_delay: float = 1.0
    max_delay: float = 30.0
    reset_after: float = 60.0
    ready_timeout: float = 60.0


class Log:
    """One log of several processes: the time, the name and the line.

    on_closed: called once when the reader has closed the log; later lines are dropped.
    """

    def __init__(self, out: TextIO, names: Iterable[str]) -> None:
        """A log on *out* of the processes *names*, coloured on a terminal."""
        self.on_closed: Callable[[], object] = lambda: None
        self._closed = False
        self._out = out
        names = list(names)
        self._width = max(map(len, names))
        colours = zip(names, _COLOURS * len(names), strict=False)
        self._colours = dict(colours) if out.isatty() else {}

    def write(self, name: str, text: str) -> None:
        """Write *text*, one or several lines, under *name*."""
        if self._closed:
            return
        try:
            self._out.write("".join(self._format(name, line) for line in text.split("\n")))
            self._out.flush()
        except (OSError, ValueError):
            self._closed = True
            self.on_closed()

    def _format(self, name: str, line: str) -> str:
        head = f"{time.strftime('%H:%M:%S')} {name:<{self._width}} |"
        if name in self._colours:
            head = f"\x1b[{self._colours[name]}m{head}\x1b[0m"
        encoding = self._out.encoding or "utf-8"
        clean = _CONTROL_CHARACTERS.sub("\N{MIDDLE DOT}", line.rstrip("\r"))
        return f"{head} {clean}".encode(encoding, "replace").decode(encoding) + "\n"


class Supervisor:
    """Runs processes until it is stopped, or one that must succeed fails."""

    def __init__(
        self, processes: Iterable[Process], log: Log, policy: RestartPolicy | None = None
    ) -> None:
        """Nothing is started yet."""
        self._processes = {process.name: process for process in processes}
        self._log = log
        self._policy = policy or RestartPolicy()
        self._ready = {name: asyncio.Event() for name in self._processes}
        self._ended = {name: asyncio.Event() for name in self._processes}
        self._handles: dict[str, Handle] = {}
        self._stopping = asyncio.Event()
        self._stopped_at = 0.0
        self._exit_code = 0

    async def run(self) -> int:
        """Run all processes: 0 after `stop` or a signal, 1 after a failure."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self.stop)
        self._log.on_closed = lambda: loop.call_soon_threadsafe(self.stop)
        async with asyncio.TaskGroup() as tasks:
            for process in self._processes.values():
                tasks.create_task(self._supervise(process))
        return self._exit_code

    def stop(self) -> None:
        """Stop all processes in order; a second call kills them."""
        now = time.monotonic()
        if not self._stopping.is_set():
            self._log.write(SUPERVISOR_NAME, "stopping (Ctrl-C again kills)")
            self._stopped_at = now
            self._stopping.set()
        elif now - self._stopped_at > _DUPLICATE_INTERVAL:
            for handle in self._handles.values():
                _send_signal(handle, signal.SIGKILL)

    def _fail(self, reason: str) -> None:
        self._log.write(SUPERVISOR_NAME, f"{reason}; stopping")
        self._exit_code = 1
        self._stopping.set()

    async def _supervise(self, process: Process) -> None:
        """Run *process* after those it needs, and again whenever it ends."""
        try:
            for name in process.after:
                await self._wait_unless_stopping(self._ready[name].wait())
            delay = self._policy.initial_delay
            while not self._stopping.is_set():
                started_at = time.monotonic()
                code = await self._run_once(process)
                if self._stopping.is_set() or self._is_final(process, code):
                    return
                if time.monotonic() - started_at >= self._policy.reset_after:
                    delay = self._policy.initial_delay
                end = f"{process.name} {_describe_end(code)}"
                self._log.write(SUPERVISOR_NAME, f"{end}; restarting it in {delay:g} s")
                await self._wait_unless_stopping(asyncio.sleep(delay))
                delay = min(2 * delay, self._policy.max_delay)
        finally:
            self._ended[process.name].set()

    def _is_final(self, process: Process, code: int) -> bool:
        """Whether *process* is not restarted: it has succeeded, or its start fails."""
        if process.once and code == 0:
            self._ready[process.name].set()
            return True
        if process.once or not self._ready[process.name].is_set():
            self._fail(f"{process.name} {_describe_end(code)}")
            return True
        return False

    async def _run_once(self, process: Process) -> int:
        """Run *process* and what it starts to the end: its exit code, or minus the signal."""
        reading, writing = os.pipe()
        try:
            handle = await _start_process(process, writing)
        except OSError as error:
            os.close(reading)
            self._log.write(SUPERVISOR_NAME, f"{process.name} cannot be started: {error}")
            return _CANNOT_START
        finally:
            os.close(writing)
        self._handles[process.name] = handle
        # Not asyncio's own pipe: before Python 3.13 its wait() also waits for all that hold it.
        output = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(output), os.fdopen(reading, "rb", 0)
        )
        copying = asyncio.create_task(self._copy_output(process.name, output))
        watching = asyncio.create_task(self._watch_readiness(process))
        stopping = asyncio.create_task(self._stop_in_order(process, handle))
        try:
            code = await handle.wait()
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(handle.pid, signal.SIGKILL)
            await asyncio.wait([copying], timeout=_DRAIN_TIMEOUT)
            return code
        finally:
            transport.close()
            await copying
            del self._handles[process.name]
            watching.cancel()
            stopping.cancel()

    async def _copy_output(self, name: str, output: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await output.read(_MAX_LINE):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _MAX_LINE:
                lines.append(rest)
                rest = b""
            for line in lines:
                self._log.write(name, line.decode(errors="replace"))
        if rest:
            self._log.write(name, rest.decode(errors="replace"))

    async def _watch_readiness(self, process: Process) -> None:
        """Wait until *process* is ready; only its first start has a time limit."""
        if process.once:
            return
        deadline = time.monotonic() + self._policy.ready_timeout
        while process.ready and not await asyncio.to_thread(process.ready):
            if time.monotonic() > deadline and not self._ready[process.name].is_set():
                self._fail(f"{process.name} does not become ready")
                return
            await asyncio.sleep(CHECK_INTERVAL)
        self._ready[process.name].set()

    async def _stop_in_order(self, process: Process, handle: Handle) -> None:
        """Once the supervisor stops, end *process* after all that need it."""
        await self._stopping.wait()
        for name in self._dependents(process.name):
            await self._ended[name].wait()
        _send_signal(handle, process.stop_signal)
        await asyncio.sleep(process.stop_timeout)
        timeout = f"{process.stop_timeout:g} s"
        self._log.write(
            SUPERVISOR_NAME, f"{process.name} does not stop within {timeout}; killing it"
        )
        _send_signal(handle, signal.SIGKILL)

    def _dependents(self, name: str) -> set[str]:
        direct = {other.name for other in self._processes.values() if name in other.after}
        return direct.union(*map(self._dependents, direct))

    async def _wait_unless_stopping(self, work: Coroutine[Any, Any, object]) -> None:
        """Wait for *work*, or until the supervisor stops."""
        tasks = {asyncio.create_task(work), asyncio.create_task(self._stopping.wait())}
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


async def _start_process(process: Process, output: int) -> Handle:
    """Start *process* in a session of its own: the terminal's Ctrl-C must not reach it."""
    return await asyncio.create_subprocess_exec(
        *bind_to_parent(process.command, process.stop_signal),
        cwd=process.cwd,
        env=process.env,
        stdin=DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        **(process.account.popen_options if process.account else {}),
    )


def _send_signal(handle: Handle, number: signal.Signals) -> None:
    """Signal the process, not its group: dramatiq hangs if its workers get the signal too."""
    with contextlib.suppress(ProcessLookupError):
        handle.send_signal(number)


def _describe_end(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
