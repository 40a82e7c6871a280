"""The whole tracker in one terminal: servers, migrations, then its processes."""

import asyncio
import dataclasses
import errno
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from threading import Thread
from typing import Any

from tracker.embedded.home import demo_settings, home_servers, lock_home, prepare_servers
from tracker.embedded.supervisor import SUPERVISOR_NAME, Log, Process, Supervisor
from tracker.errors import EmbeddedError, TrackerError, describe
from tracker.settings import CHECKOUT, Settings

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


def run_tracker(settings: Settings) -> int:
    """Run the tracker until it is stopped: the exit status."""
    return _run(settings, simulated=False)


def run_demo(settings: Settings) -> int:
    """Run it with the simulator, in a home and a database of its own: the exit status."""
    return _run(demo_settings(settings), simulated=True)


def run_dev_worker(settings: Settings) -> int:
    """Run the worker and its scheduler beside servers that run already: the exit status."""
    processes = [
        dataclasses.replace(process, after=())
        for process in app_processes(settings)
        if process.name in {"worker", "scheduler"}
    ]
    return asyncio.run(Supervisor(processes, Log(sys.stdout, _NAMES)).run())


def _run(settings: Settings, *, simulated: bool) -> int:
    log = Log(sys.stdout, _NAMES)
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the supervisor handles it
        with lock_home(settings):
            _check_port("WEB_PORT", settings.web_host, settings.web_port)
            if simulated:
                _check_port("SIMULATOR_PORT", "127.0.0.1", settings.simulator_port)
            _log_urls(settings, log, simulated=simulated)
            servers = _server_processes(settings, log)
            apps = app_processes(settings, (each.name for each in servers), simulated=simulated)
            return asyncio.run(Supervisor([*servers, *apps], log).run())
    except KeyboardInterrupt:
        return 0
    except TrackerError as error:
        sys.stderr.write(f"tracker: {error}\n")
        return 1


def _check_port(variable: str, host: str, port: int) -> None:
    """Raises EmbeddedError naming *variable* if the port cannot be used."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = addresses[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except socket.gaierror as error:
        raise EmbeddedError(f"WEB_HOST: {host}: {error.strerror}") from None
    except OSError as error:
        why = "is already in use" if error.errno == errno.EADDRINUSE else f"({error.strerror})"
        raise EmbeddedError(f"{variable}: port {port} of {host} {why}: set another port") from None


def _log_urls(settings: Settings, log: Log, *, simulated: bool) -> None:
    root = f"http://127.0.0.1:{settings.web_port}"
    log.write(SUPERVISOR_NAME, f"page    {root}/")
    prices = f"{settings.api_version}/prices?ticker={settings.tickers[0]}"
    log.write(SUPERVISOR_NAME, f"prices  {root}/{prices}")
    log.write(SUPERVISOR_NAME, f"docs    {root}/docs")
    log.write(SUPERVISOR_NAME, f"health  {root}/health/ready")
    if simulated:
        log.write(SUPERVISOR_NAME, "synthetic prices from the simulator, in a separate database")
    else:
        check_exchange(settings.client_base_url, lambda text: log.write(SUPERVISOR_NAME, text))


def check_exchange(
    base_url: str, warn: Callable[[str], None], timeout: float = _EXCHANGE_TIMEOUT
) -> None:
    """Return at once; *warn* within *timeout* seconds if no HTTP response comes from *base_url*.

    The request runs on a thread of its own, because looking up a name has no time-out.
    """
    problem: Future[str] = Future()

    def request() -> None:
        import httpx  # noqa: PLC0415 -- a slow import, which this thread hides

        try:
            httpx.get(f"{base_url}/public/test", timeout=timeout)
            problem.set_result("")
        except (httpx.HTTPError, OSError) as error:
            problem.set_result(describe(error))

    def report() -> None:
        try:
            why = problem.result(timeout)
        except TimeoutError:
            why = f"no response within {timeout:g} s"
        if why:
            warn(
                f"cannot reach the exchange at {base_url} ({why}): no prices are stored until it"
                " responds; the tracker retries each minute. `ops/just demo` needs no exchange"
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
    settings: Settings, servers: Iterable[str] = (), *, simulated: bool = False
) -> list[Process]:
    """The tracker's own processes, started after *servers*; with the simulator if *simulated*.

    Their environment names the servers, and overrides `.env`.
    """
    environment = _app_environment(settings)

    def app(name: str, /, *arguments: str, **options: Any) -> Process:
        command = [sys.executable, "-m", "tracker", name, *arguments]
        process = Process(name=name, command=command, env=environment, cwd=CHECKOUT)
        return dataclasses.replace(process, **options)

    processes = [
        app("migrate", after=tuple(servers), once=True),
        app("web", after=("migrate",)),
        app("worker", after=("migrate", "simulator") if simulated else ("migrate",)),
        app("scheduler", after=("migrate",)),
    ]
    if simulated:
        indexes = [word for ticker in settings.tickers for word in ("--index", ticker)]
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


def _app_environment(settings: Settings) -> dict[str, str]:
    changes: dict[str, object] = {
        "tracker_home": settings.home,
        "tracker_cache": settings.cache,
        "log_format": "plain",
    }
    host = settings.postgres_host or str(settings.sockets)
    port = settings.postgres_port if settings.postgres_host else 5432
    for prefix in ("", "read_", "direct_"):
        if not getattr(settings, f"{prefix}postgres_host"):
            changes |= {f"{prefix}postgres_host": host, f"{prefix}postgres_port": port}
    if not settings.redis_host:
        changes["redis_host"] = str(settings.sockets / "redis.sock")
    environment = settings.changed(**changes).environment()
    return environment | {"PYTHONUNBUFFERED": "1", "TZ": "UTC"}


def _is_listening(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False
