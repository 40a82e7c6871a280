"""The whole tracker in one terminal: servers, migrations, then its processes."""

import asyncio
import compileall
import dataclasses
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from io import FileIO
from pathlib import Path
from threading import Thread
from typing import Any

import pydantic

from tracker.embedded.account import Account, become, may_change_user
from tracker.embedded.home import home_servers, prepare_servers
from tracker.embedded.lock import demo_settings, lock_home
from tracker.embedded.log import SUPERVISOR_NAME, Log
from tracker.embedded.servers import check_port
from tracker.embedded.supervisor import Process, Supervisor
from tracker.errors import EmbeddedError, SettingsError, TrackerError, describe
from tracker.models import select_tickers
from tracker.proxies import find_proxy, make_transports
from tracker.settings import CHECKOUT, ENVIRONMENT_ONLY, INSTALLED, ROLES, Settings, user_command

_NAMES = (
    "postgres",
    "redis",
    "migrate",
    "simulator",
    "web",
    "worker",
    "scheduler",
    SUPERVISOR_NAME,
)
# Seconds. The worker takes up to 8, then the simulator stops, then the servers: 15 are enough.
_SIMULATOR_STOP_TIMEOUT = 4.0
_SERVER_STOP_TIMEOUT = 5.0
_EXCHANGE_TIMEOUT = 5.0
_KNOWN_INDEX = "btc_usd"  # of the exchange, for an example of an address
_SECRETS = "_password_file"  # the end of a setting's name


def run_tracker(settings: Settings) -> int:
    """Run the tracker until it is stopped: the exit status."""
    return _run(settings, simulated=False)


def run_demo(settings: Settings) -> int:
    """Run it with the simulator, in a home and a database of its own: the exit status."""
    return _run(demo_settings(settings), simulated=True)


def run_dev_worker(settings: Settings) -> int:
    """Run the worker and its scheduler beside servers that run already: the exit status."""
    log = _open_log(settings)
    if port := settings.worker_metrics_port:
        check_port("WORKER_METRICS_PORT", settings.web_host, port)
    processes = [
        dataclasses.replace(process, after=())
        for process in app_processes(settings, log)
        if process.name in {"worker", "scheduler"}
    ]
    return asyncio.run(Supervisor(processes, log).run())


def _run(settings: Settings, *, simulated: bool) -> int:
    log = _open_log(settings)
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the supervisor handles it
        with lock_home(settings, settings.web_url):
            _check_ports(settings, simulated=simulated)
            _log_urls(settings, log, simulated=simulated)
            servers = _server_processes(settings, log)
            names = [server.name for server in servers]
            apps = app_processes(settings, log, names, simulated=simulated)
            return asyncio.run(Supervisor([*servers, *apps], log).run())
    except KeyboardInterrupt:
        return 0
    except TrackerError as error:
        sys.stderr.write(f"tracker: {error}\n")
        return 1


def _open_log(settings: Settings) -> Log:
    """The log on standard output; on nothing if that is closed."""
    terminal = sys.__stdout__
    out = FileIO(os.devnull if terminal is None else 1, "w", closefd=terminal is None)
    encoding = terminal.encoding if terminal else "utf-8"
    return Log(out, _NAMES, as_json=settings.log_format == "json", encoding=encoding)


def _check_ports(settings: Settings, *, simulated: bool) -> None:
    """Raises EmbeddedError naming the variable of a port that cannot be used."""
    ports = {"WEB_PORT": (settings.web_host, settings.web_port)}
    if settings.worker_metrics_port:
        ports["WORKER_METRICS_PORT"] = (settings.web_host, settings.worker_metrics_port)
    if simulated:
        ports["SIMULATOR_PORT"] = ("127.0.0.1", settings.simulator_port)
    numbers = {variable: port for variable, (_, port) in ports.items()}
    if settings.embedded_postgres_port and not settings.postgres_host:  # checked at its start
        numbers["EMBEDDED_POSTGRES_PORT"] = settings.embedded_postgres_port
    variables: dict[int, str] = {}
    for variable, port in numbers.items():
        if (other := variables.setdefault(port, variable)) != variable:
            raise EmbeddedError(f"{other} and {variable} are both {port}: set another port")
    for variable, (host, port) in ports.items():
        check_port(variable, host, port)


def _log_urls(settings: Settings, log: Log, *, simulated: bool) -> None:
    root = settings.web_url
    log.write(SUPERVISOR_NAME, f"page    {root}/")
    names = select_tickers(settings.tickers, [_KNOWN_INDEX])
    path = f"prices?ticker={names[0]}" if names else "tickers"
    log.write(SUPERVISOR_NAME, f"prices  {root}/{settings.api_version}/{path}")
    log.write(SUPERVISOR_NAME, f"docs    {root}/docs")
    log.write(SUPERVISOR_NAME, f"health  {root}/health/ready")
    if INSTALLED:
        log.write(SUPERVISOR_NAME, f"data    {settings.home}")
    if simulated:
        log.write(SUPERVISOR_NAME, "synthetic prices from the simulator, in a separate database")
    else:
        check_exchange(settings.client_base_url, lambda text: log.write(SUPERVISOR_NAME, text))


def check_exchange(
    base_url: str, warn: Callable[[str], None], timeout: float = _EXCHANGE_TIMEOUT
) -> None:
    """Return at once; *warn* within *timeout* seconds if no HTTP response comes from *base_url*.

    The request runs on a thread of its own, because looking up a name has no time-out. Raises
    SettingsError for an invalid proxy.
    """
    problem: Future[str] = Future()
    proxy = find_proxy(base_url)
    through = f" through {proxy.variable}" if proxy else ""

    def request() -> None:
        import httpx  # noqa: PLC0415 -- a slow import, which this thread hides

        try:
            transports = make_transports(httpx.HTTPTransport, base_url)
            with httpx.Client(timeout=timeout, **transports) as client:
                client.get(f"{base_url}/public/test")
            problem.set_result("")
        except SettingsError as error:
            problem.set_result(str(error))
        except (httpx.HTTPError, OSError) as error:
            problem.set_result(describe(error))

    def report() -> None:
        try:
            why = problem.result(timeout)
        except TimeoutError:
            why = f"no response within {timeout:g} s"
        if why:
            warn(
                f"cannot reach the exchange at {base_url}{through} ({why}): no prices are stored"
                " until it responds; the tracker retries each minute."
                f" `{user_command('demo')}` needs no exchange"
            )

    for work in (request, report):
        Thread(target=work, daemon=True).start()


def _server_processes(settings: Settings, log: Log) -> list[Process]:
    """The embedded servers, except those that `tracker infra` runs."""
    servers = home_servers(settings)
    missing = [server for server in servers if not server.is_running()]
    if len(missing) < len(servers):
        log.write(SUPERVISOR_NAME, f"using the servers that already run in {settings.home}")
    commands = prepare_servers(settings, missing) if missing else []
    return [
        Process(
            name=server.name,
            command=command,
            ready=server.is_ready,
            stop_signal=server.stop_signal,
            stop_timeout=_SERVER_STOP_TIMEOUT,
            account=server.account,
        )
        for server, command in zip(missing, commands, strict=True)
    ]


def app_processes(
    settings: Settings, log: Log, servers: Iterable[str] = (), *, simulated: bool = False
) -> list[Process]:
    """The tracker's own processes, started after *servers*; with the simulator if *simulated*.

    Their environment names the servers, and replaces `.env`. Root's run as the servers' account.
    Raises EmbeddedError if that is not possible.
    """
    account = _app_account(settings)
    if account and account.reads_all_files:
        log.write(
            SUPERVISOR_NAME,
            f"uid {account.uid} cannot read {CHECKOUT} or {os.path.realpath(sys.executable)}:"
            " our processes run as that user, and may access all files",
        )
    environment = _app_environment(settings, account)
    # -m imports from the working folder first, whose modules are not ours.
    folder = Path("/") if INSTALLED else CHECKOUT

    def app(name: str, /, *arguments: str, **options: Any) -> Process:
        command = [sys.executable, "-m", "tracker", name, *arguments]
        process = Process(name=name, command=command, env=environment, cwd=folder)
        return dataclasses.replace(process, **{"watched": True, "account": account, **options})

    processes = [
        _migration(app("migrate", after=tuple(servers), once=True, watched=False), settings),
        app("web", after=("migrate",)),
        app("worker", after=("migrate", "simulator") if simulated else ("migrate",)),
        app("scheduler", after=("migrate",)),
    ]
    if simulated:
        named = select_tickers(settings.tickers, ())
        indexes = [word for ticker in named for word in ("--index", ticker)]
        processes.insert(
            0,
            app(
                "simulate",
                *indexes,
                name="simulator",
                ready=lambda: _is_listening(settings.simulator_port),
                stop_timeout=_SIMULATOR_STOP_TIMEOUT,
            ),
        )
    return processes


def _migration(process: Process, settings: Settings) -> Process:
    """*process* with the files that have the passwords of roles, which only migrations set."""
    names = [f"{role}_password_file" for role in ROLES]
    files = {name.upper(): str(file) for name in names if (file := getattr(settings, name))}
    account = process.account.able_to_read(files.values()) if process.account else None
    return dataclasses.replace(process, env={**process.env, **files}, account=account)


def _app_account(settings: Settings) -> Account | None:
    """The account of our own processes; None: the current user, which is not root."""
    if os.getuid() != 0:
        return None
    package = Path(__file__).parents[1]
    compileall.compile_dir(package, quiet=2)  # the account may not write there
    files = [sys.executable, os.__file__, pydantic.__file__, __file__]
    for name in Settings.model_fields.keys() - {"tracker_home", "tracker_cache"}:
        value = getattr(settings, name)
        if isinstance(value, Path) and not name.endswith(_SECRETS):
            files.append(str(value))
    ports = (settings.web_port, settings.simulator_port, settings.worker_metrics_port)
    account = Account.of(settings.home).able_to_read(files)
    return account.able_to_listen(filter(None, ports))


def drop_privileges(settings: Settings) -> None:
    """Start this process again as the servers' account, if it is root's.

    It stays root's in a debugger, which would lose it, and in a container whose root may not change
    the user. Raises EmbeddedError if the account cannot read what it needs.
    """
    if os.getuid() != 0 or "debugpy" in sys.modules or not may_change_user():
        return
    account = _app_account(settings)
    assert account  # because this is root
    own = settings.changed(tracker_home=settings.home, tracker_cache=settings.cache)
    environment = _without_secret_files(own.environment()) | {"HOME": str(settings.home)}
    command = [sys.executable, *sys.orig_argv[1:]]
    become(account, command, environment | {ENVIRONMENT_ONLY: "1"})


def _without_secret_files(variables: Mapping[str, str]) -> dict[str, str]:
    """*variables*, which have the passwords themselves: only root may be able to read the files."""
    return {name: value for name, value in variables.items() if not name.endswith(_SECRETS.upper())}


def _app_environment(settings: Settings, account: Account | None) -> dict[str, str]:
    """What our processes get: all settings, with passwords instead of files that have them."""
    changes: dict[str, object] = {
        "tracker_home": settings.home,
        "tracker_cache": settings.cache,
        "log_format": "json" if settings.log_format == "json" else "plain",
    }
    host = settings.postgres_host or str(settings.sockets)
    port = settings.postgres_port if settings.postgres_host else 5432
    for prefix in ("", "read_", "direct_"):
        if not getattr(settings, f"{prefix}postgres_host"):
            changes |= {f"{prefix}postgres_host": host, f"{prefix}postgres_port": port}
    if not settings.redis_host:
        changes["redis_host"] = str(settings.sockets / "redis.sock")
    environment = _without_secret_files(settings.changed(**changes).environment())
    if account:
        environment["HOME"] = str(settings.home)  # root's may not be entered
    return environment | {ENVIRONMENT_ONLY: "1", "PYTHONUNBUFFERED": "1", "TZ": "UTC"}


def _is_listening(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False
