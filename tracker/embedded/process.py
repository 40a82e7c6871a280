"""A process under supervision: what it is, and one life of it."""

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL
from asyncio.subprocess import Process as Handle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tracker.embedded.account import PLAIN, Account, bound
from tracker.embedded.output import Lines, Log

_CHUNK = 65536
_LAST_WORDS = 0.5  # seconds for what is left in the pipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What to run.

    after: the names of those that have to be ready first, and that outlive it.
    once: it ends by itself, and counts as ready when it has.
    ready: asks whether it is of use yet; without it, it is as soon as it runs.
    sign: asks it to stop; after *grace* seconds it is killed.
    account: whom it runs as, if not as ourselves.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=lambda: PLAIN)
    cwd: Path = Path("/")
    after: tuple[str, ...] = ()
    once: bool = False
    ready: Callable[[], bool] | None = None
    sign: signal.Signals = signal.SIGTERM
    grace: float = 8.0
    account: Account | None = None


class Child:
    """One life of a process, in a session of its own: Ctrl-C in the terminal is for us alone."""

    def __init__(self, handle: Handle, pipe: int, say: Callable[[str], None]) -> None:
        """Pass on what *handle* writes into *pipe*."""
        self._handle = handle
        self._pipe = pipe
        self._say = say
        self._lines = Lines()
        self._drained = asyncio.Event()
        os.set_blocking(pipe, False)
        asyncio.get_running_loop().add_reader(pipe, self._read)

    @classmethod
    async def start(cls, process: Process, log: Log) -> Self:
        """Start *process*. Raises OSError if that is impossible."""
        pipe, end = os.pipe()
        try:
            handle = await _spawn(process, end)
        except OSError:
            os.close(pipe)
            raise
        finally:
            os.close(end)
        return cls(handle, pipe, lambda line: log.say(process.name, line))

    async def wait(self) -> int:
        """Wait for its end, and end what it left behind: its exit code, or minus the signal."""
        code = await self._handle.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._handle.pid, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drained.wait(), _LAST_WORDS)
        self._close()
        return code

    def send(self, sign: signal.Signals) -> None:
        """Signal the process itself, never its group: some hang when they are told twice."""
        with contextlib.suppress(ProcessLookupError):
            self._handle.send_signal(sign)

    def _read(self) -> None:
        try:
            chunk = os.read(self._pipe, _CHUNK)
        except BlockingIOError:
            return
        for line in self._lines.feed(chunk) if chunk else self._lines.flush():
            self._say(line)
        if not chunk:
            asyncio.get_running_loop().remove_reader(self._pipe)
            self._drained.set()

    def _close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pipe)
        for line in self._lines.flush():
            self._say(line)
        os.close(self._pipe)


async def _spawn(process: Process, output: int) -> Handle:
    account = process.account
    return await asyncio.create_subprocess_exec(
        *bound(process.command, process.sign),
        cwd=process.cwd,
        env=process.env,
        stdin=DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=account.groups if account else None,
    )


def fate(code: int) -> str:
    """How a process ended, in words."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
