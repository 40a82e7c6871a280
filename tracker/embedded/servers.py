"""The embedded servers of a home: started, stopped, and asked whether they run."""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tracker.embedded import programs
from tracker.embedded.account import PLAIN, Account, bound
from tracker.embedded.lock import only_one
from tracker.embedded.postgres import Postgres
from tracker.embedded.redis import Redis
from tracker.embedded.server import PAUSE, Server
from tracker.errors import EmbeddedError
from tracker.settings import Settings

_PATIENCE = 60.0  # seconds; a crashed database may have to recover first
_SHOWN = 8  # lines of a log


def servers(settings: Settings) -> list[Server]:
    """The servers that *settings* leaves to us; none where their hosts are named."""
    account = Account.of(settings.home)
    chosen: list[Server] = []
    if not settings.postgres_host:
        chosen.append(Postgres(settings, account))
    if not (settings.redis_host or settings.redis_sentinels):
        chosen.append(Redis(settings, account))
    return chosen


def running(settings: Settings) -> bool:
    """Whether all of them run and answer."""
    return all(server.running() for server in servers(settings))


def prepare(
    settings: Settings, chosen: Sequence[Server], *, durable: bool = True
) -> list[list[str]]:
    """Make everything ready to start *chosen*: their commands.

    Raises EmbeddedError if the programs cannot be had or the folders are no use.
    """
    account = Account.of(settings.home)
    account.settle(settings.home)
    found = programs.find(settings)
    account.reach(found.postgres)
    account.own(settings.sockets)
    for server in chosen:
        if not server.wait_gone():
            raise EmbeddedError(f"{server.name} (pid {server.pid()}) runs but does not answer")
    return [server.prepare(found, durable=durable) for server in chosen]


def start_background(settings: Settings) -> None:
    """Start what does not run yet, to outlive us. Raises EmbeddedError with the log's end."""
    if running(settings):
        return
    with only_one(settings):
        for process in _start(settings, durable=True, own=False):
            process.returncode = 0  # let go: Popen would warn about a child that it forgets


def stop_background(settings: Settings) -> None:
    """Stop whatever runs and wait until it is gone. Raises EmbeddedError if a tracker uses it."""
    with only_one(settings):
        _stop(settings)


@contextmanager
def started(settings: Settings, *, durable: bool = True) -> Iterator[None]:
    """Run them as long as the block, and no longer than this process."""
    processes = _start(settings, durable=durable, own=True)
    try:
        yield
    finally:
        _stop(settings)
        for process in processes:
            process.wait()


def _stop(settings: Settings) -> None:
    for server in reversed(servers(settings)):
        server.stop()


def _start(settings: Settings, *, durable: bool, own: bool) -> list[subprocess.Popen[bytes]]:
    chosen = [server for server in servers(settings) if not server.running()]
    if not chosen:
        return []
    commands = prepare(settings, chosen, durable=durable)
    logs = [_log(settings, server) for server in chosen]
    processes = [
        _launch(server, bound(command, server.sign) if own else command, log)
        for server, command, log in zip(chosen, commands, logs, strict=True)
    ]
    try:
        for server, process, log in zip(chosen, processes, logs, strict=True):
            _await(server, process, log)
    except BaseException:
        _abandon(chosen, processes)
        raise
    return processes


def _launch(server: Server, command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as stream:
        return subprocess.Popen(
            command,
            cwd="/",
            env=PLAIN,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            user=server.account.uid,
            group=server.account.gid,
            extra_groups=server.account.groups,
            start_new_session=True,
        )


def _await(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not server.ready():
        if process.poll() is not None:
            raise EmbeddedError(f"{server.name} does not start:\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise EmbeddedError(f"{server.name} does not answer:\n{_tail(log)}")
        time.sleep(PAUSE)


def _abandon(chosen: Sequence[Server], processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for server, process in zip(chosen, processes, strict=True):
        if process.poll() is None:
            process.send_signal(server.sign)
        process.wait()


def _log(settings: Settings, server: Server) -> Path:
    folder = settings.home / "log"
    server.account.own(folder)
    log = folder / f"{server.name}.log"
    log.touch()
    os.chown(log, server.account.uid, server.account.gid)
    return log


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-_SHOWN:])
