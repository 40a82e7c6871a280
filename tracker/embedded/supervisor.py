"""Starts processes in order, restarts those that end or hang, and stops them in reverse order.

No library combines a log in the foreground, restarts with back-off and an ordered stop.
"""

import asyncio
import contextlib
import errno
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

from tracker.embedded.account import CHECK_INTERVAL, MINIMAL_ENVIRONMENT, Account, bind_to_parent
from tracker.embedded.log import SUPERVISOR_NAME, Log
from tracker.watchdog import (
    HEARTBEAT_TIMEOUT,
    START_TIMEOUT,
    WATCHDOG_INTERVAL,
    HeartbeatReceiver,
    Watchdog,
    process_state,
)

_MAX_LINE = 65536  # bytes; longer lines are split
_DRAIN_TIMEOUT = 0.5  # seconds for the rest of a dead process's output
_DUPLICATE_INTERVAL = 0.5  # seconds: a parent may forward the Ctrl-C that we received too
_TEMPORARY = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}  # errors of fork and pipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process to run.

    after: the names of processes that must be ready before it starts, and stop after it.
    once: it ends by itself, and is ready when it succeeds.
    ready: whether it is usable yet; None: as soon as it runs.
    watched: it sends heartbeats, and is killed when they stop.
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
    watched: bool = False
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout: float = 8.0
    account: Account | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """When processes are restarted, in seconds.

    initial_delay, max_delay: bounds of the delay before a restart, which doubles each time.
    reset_after: a process that ran so long restarts after the initial delay.
    ready_timeout: how long a process may take until it is ready, or until its first heartbeat.
    heartbeat_timeout: how long a process may be without a heartbeat after that.
    """

    initial_delay: float = 1.0
    max_delay: float = 30.0
    reset_after: float = 60.0
    ready_timeout: float = START_TIMEOUT
    heartbeat_timeout: float = HEARTBEAT_TIMEOUT


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
        self._handles: dict[str, Popen[bytes]] = {}
        self._hung: set[str] = set()
        self._child_ended = asyncio.Event()
        self._stopping = asyncio.Event()
        self._stopped_at = 0.0
        self._exit_code = 0

    async def run(self) -> int:
        """Run all processes: 0 after `stop` or a signal, 1 after a failure."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self.stop)
        # asyncio's own subprocesses need a thread or a file descriptor each, which may be used up.
        loop.add_signal_handler(signal.SIGCHLD, self._child_ended.set)
        self._log.on_closed = lambda: loop.call_soon_threadsafe(self.stop)
        heartbeats = asyncio.create_task(_send_heartbeats())
        async with asyncio.TaskGroup() as tasks:
            for process in self._processes.values():
                tasks.create_task(self._supervise(process))
        heartbeats.cancel()
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
                handle.kill()

    def _warn(self, text: str) -> None:
        self._log.write(SUPERVISOR_NAME, text, "WARNING")

    async def _supervise(self, process: Process) -> None:
        """Run *process* after those it needs, and again whenever it ends."""
        ready = self._ready[process.name]
        try:
            for name in process.after:
                await self._wait_unless_stopping(self._ready[name].wait())
            delay = self._policy.initial_delay
            while not self._stopping.is_set():
                started_at = time.monotonic()
                is_temporary = False
                try:
                    code = await self._run_once(process)
                    end = f"{process.name} {_describe_end(code)}"
                except OSError as error:
                    code, is_temporary = None, error.errno in _TEMPORARY
                    end = f"{process.name} cannot be started: {error}"
                if process.once and code == 0:
                    ready.set()
                    return
                if self._stopping.is_set():
                    return
                if (process.once or not ready.is_set()) and not is_temporary:
                    self._fail(end)
                    return
                if time.monotonic() - started_at >= self._policy.reset_after:
                    delay = self._policy.initial_delay
                if process.name in self._hung:  # which has taken long enough
                    self._hung.discard(process.name)
                    continue
                self._warn(f"{end}; restarting it in {delay:g} s")
                await self._wait_unless_stopping(asyncio.sleep(delay))
                delay = min(2 * delay, self._policy.max_delay)
        finally:
            self._ended[process.name].set()

    def _fail(self, reason: str) -> None:
        self._warn(f"{reason}; stopping")
        self._exit_code = 1
        self._stopping.set()

    async def _run_once(self, process: Process) -> int:
        """Run *process* and what it starts to the end: its exit code, or minus the signal.

        Raises OSError if it cannot be started.
        """
        with contextlib.ExitStack() as stack:
            reading, writing = os.pipe()
            reader = stack.enter_context(FileIO(reading))
            with FileIO(writing, "w") as writer:
                receiver = HeartbeatReceiver(self._policy.heartbeat_timeout)
                heartbeats = stack.enter_context(receiver)
                handle = _start_process(process, writer, heartbeats)
            self._handles[process.name] = handle
            output = asyncio.StreamReader()
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(output), reader
            )
            copying = asyncio.create_task(self._copy_output(process.name, output))
            watching = [
                asyncio.create_task(work)
                for work in (
                    self._watch_readiness(process),
                    self._watch_heartbeats(process, handle, heartbeats),
                    self._stop_in_order(process, handle),
                )
            ]
            try:
                code = await self._wait_for_end(handle)
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(handle.pid, signal.SIGKILL)
                await asyncio.wait([copying], timeout=_DRAIN_TIMEOUT)
                return code
            finally:
                transport.close()
                await copying
                del self._handles[process.name]
                for task in watching:
                    task.cancel()

    async def _wait_for_end(self, handle: Popen[bytes]) -> int:
        while (code := handle.poll()) is None:
            await self._child_ended.wait()
            self._child_ended.clear()
        return code

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
        while process.ready and not await _is_ready(process.ready):
            if time.monotonic() > deadline and not self._ready[process.name].is_set():
                self._fail(f"{process.name} does not become ready")
                return
            await asyncio.sleep(CHECK_INTERVAL)
        self._ready[process.name].set()

    async def _watch_heartbeats(
        self, process: Process, handle: Popen[bytes], heartbeats: HeartbeatReceiver
    ) -> None:
        """Kill *process* when its heartbeats stop.

        Intervals are counted, not time: what stops or slows the whole machine delays the
        supervisor too, and must not end healthy processes.
        """
        left = self._policy.ready_timeout
        while process.watched and not self._stopping.is_set():
            await asyncio.sleep(WATCHDOG_INTERVAL)
            if states := heartbeats.receive_states():
                is_ending = b"STOPPING=1" in states
                left = process.stop_timeout if is_ending else self._policy.heartbeat_timeout
                continue
            state = process_state(handle.pid)
            if state.startswith("T"):  # stopped, perhaps before its first heartbeat
                left = min(left, self._policy.heartbeat_timeout)
            left -= WATCHDOG_INTERVAL
            if left <= 0:
                self._warn(f"{process.name} sends no heartbeat, and is {state}; restarting it")
                self._hung.add(process.name)
                handle.kill()
                return

    async def _stop_in_order(self, process: Process, handle: Popen[bytes]) -> None:
        """Once the supervisor stops, end *process* after all that need it.

        The signal goes to the process, not to its group: dramatiq hangs if its workers get it too.
        """
        await self._stopping.wait()
        for name in self._dependents(process.name):
            await self._ended[name].wait()
        handle.send_signal(process.stop_signal)
        await asyncio.sleep(process.stop_timeout)
        self._warn(f"{process.name} does not stop within {process.stop_timeout:g} s; killing it")
        handle.kill()

    def _dependents(self, name: str) -> set[str]:
        direct = {other.name for other in self._processes.values() if name in other.after}
        return direct.union(*map(self._dependents, direct))

    async def _wait_unless_stopping(self, work: Coroutine[Any, Any, object]) -> None:
        """Wait for *work*, or until the supervisor stops."""
        tasks = {asyncio.create_task(work), asyncio.create_task(self._stopping.wait())}
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


async def _send_heartbeats() -> None:
    """For a supervisor of the supervisor: systemd."""
    watchdog = Watchdog()
    while True:
        watchdog.send_heartbeat()
        await asyncio.sleep(WATCHDOG_INTERVAL)


def _start_process(process: Process, output: FileIO, heartbeats: HeartbeatReceiver) -> Popen[bytes]:
    """Start *process* in a session of its own: the terminal's Ctrl-C must not reach it."""
    watching = heartbeats.variables if process.watched else {}
    return Popen(
        bind_to_parent(process.command, process.stop_signal, process.account),
        cwd=process.cwd,
        env={**process.env, **watching},
        stdin=DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        **(process.account.popen_options if process.account else {}),
    )


async def _is_ready(check: Callable[[], bool]) -> bool:
    try:
        return await asyncio.to_thread(check)
    except RuntimeError:  # no thread can be started
        return False


def _describe_end(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
