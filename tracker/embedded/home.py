"""The servers of a home, started and stopped together, and the database that runs."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tracker.embedded.account import CHECK_INTERVAL, MINIMAL_ENVIRONMENT, Account, bind_to_parent
from tracker.embedded.lock import demo_settings, lock_home
from tracker.embedded.packages import find_programs
from tracker.embedded.servers import Postgres, Redis, Server
from tracker.errors import DatabaseDown, EmbeddedError
from tracker.settings import Settings

_START_TIMEOUT = 60.0  # seconds; a crashed database may have to recover first
_LOG_LINES = 8  # of a server that does not start


def home_servers(settings: Settings) -> list[Server]:
    """The embedded servers of *settings*: those for which it names no host."""
    servers: list[Server] = []
    if not settings.postgres_host:
        servers.append(Postgres(settings))
    if not (settings.redis_host or settings.redis_sentinels):
        servers.append(Redis(settings))
    return servers


def servers_are_ready(settings: Settings) -> bool:
    """Whether all embedded servers run and are ready; creates a missing database."""
    return all(server.is_running() for server in home_servers(settings))


def prepare_servers(
    settings: Settings, servers: Sequence[Server], *, durable: bool = True
) -> list[list[str]]:
    """Prepare the start of *servers* and return their commands.

    Raises EmbeddedError if the programs are unavailable or a folder is unusable.
    """
    account = Account.of(settings.home)
    account.make_home(settings.home)
    programs = find_programs(settings)
    account.check_access(programs.postgres)
    account.make_private(settings.sockets)
    for server in servers:
        if not server.wait_stopped():
            raise EmbeddedError(f"{server.name} (pid {server.pid()}) runs but does not respond")
    return [server.prepare(programs, durable=durable) for server in servers]


def start_background(settings: Settings) -> None:
    """Start the servers that do not run yet; they outlive this process.

    Raises EmbeddedError with the end of a server's log.
    """
    if servers_are_ready(settings):
        return
    with lock_home(settings):
        for process in _start(settings, durable=True, bound=False):
            process.returncode = 0  # prevents Popen's warning about a running child


def stop_background(settings: Settings) -> None:
    """Stop the servers and wait for their end. Raises EmbeddedError if a tracker uses them."""
    with lock_home(settings):
        _stop(settings)


@contextmanager
def running_servers(settings: Settings, *, durable: bool = True) -> Iterator[None]:
    """Run the servers during the block, and no longer than this process."""
    processes = _start(settings, durable=durable, bound=True)
    try:
        yield
    finally:
        _stop(settings)
        for process in processes:
            process.wait()


def _stop(settings: Settings) -> None:
    for server in reversed(home_servers(settings)):
        server.stop()


def _start(settings: Settings, *, durable: bool, bound: bool) -> list["subprocess.Popen[bytes]"]:
    """Start the servers that do not run, and wait until they are ready.

    bound: whether they end with this process.
    """
    servers = [server for server in home_servers(settings) if not server.is_running()]
    if not servers:
        return []
    commands = prepare_servers(settings, servers, durable=durable)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for server, command in zip(servers, commands, strict=True):
            words = bind_to_parent(command, server.stop_signal) if bound else command
            processes.append(_launch(server, words))
        for server, process in zip(servers, processes, strict=True):
            _wait_ready(server, process)
    except BaseException:
        for server, process in zip(servers, processes, strict=False):
            if process.poll() is None:
                process.send_signal(server.stop_signal)
            process.wait()
        raise
    return processes


def _launch(server: Server, command: Sequence[str]) -> "subprocess.Popen[bytes]":
    server.account.make_private(server.log.parent)
    with server.log.open("ab") as stream:
        os.chown(server.log, server.account.uid, server.account.gid)
        return subprocess.Popen(
            command,
            cwd="/",
            env=MINIMAL_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            **server.account.popen_options,
        )


def _wait_ready(server: Server, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while not server.is_ready():
        ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            lines = server.log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
            failure = "does not start" if ended else "does not become ready"
            raise EmbeddedError("\n  ".join([f"{server.name} {failure}:", *lines]))
        time.sleep(CHECK_INTERVAL)


def running_settings(settings: Settings) -> Settings:
    """The settings of the database that runs: the demo's, with a notice, if only the demo runs.

    A server that runs but does not respond yet is not replaced by the demo's. Raises DatabaseDown
    if neither runs here, and POSTGRES_HOST names no server.
    """
    postgres = Postgres(settings)
    if settings.postgres_host or postgres.is_running() or postgres.pid() is not None:
        return settings
    demo = demo_settings(settings)
    if not Postgres(demo).is_running():
        raise DatabaseDown(f"no database runs in {settings.home}")
    sys.stderr.write("this is the demo's database: its prices are synthetic\n")
    return demo


def psql_command(settings: Settings, arguments: Sequence[str]) -> list[str]:
    """psql on the database with *arguments*; run it in `psql_environment`, with the password.

    Raises EmbeddedError if psql is neither installed nor can be fetched.
    """
    psql = shutil.which("psql") if settings.postgres_host else None
    public = settings.changed(postgres_password="", postgres_password_file=None)
    psql = psql or str(find_programs(settings).postgres / "psql")
    return [psql, "--dbname", public.direct_dsn, *arguments]


def psql_environment(settings: Settings) -> dict[str, str]:
    """The environment for `psql_command`: the password, and a pager only if it exists."""
    variables = settings.environment()
    if password := settings.postgres_password.get_secret_value():
        variables["PGPASSWORD"] = password
    if not {"PSQL_PAGER", "PAGER"} & variables.keys():
        variables["PSQL_PAGER"] = "less -SFX" if shutil.which("less") else ""
    return variables
