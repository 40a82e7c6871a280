"""Everything in one terminal: the servers, the migrations, then the tracker's processes."""

import asyncio
import contextlib
import errno
import signal
import socket
import sys
from collections.abc import Iterator

from tracker.embedded.apps import apps, pollers
from tracker.embedded.exchange import check_exchange
from tracker.embedded.instances import demo_of
from tracker.embedded.lock import only_one
from tracker.embedded.output import Log
from tracker.embedded.process import Process
from tracker.embedded.servers import prepare, servers
from tracker.embedded.supervisor import US, Supervisor
from tracker.errors import EmbeddedError, TrackerError
from tracker.settings import Settings

_NAMES = ("postgres", "redis", "migrate", "simulator", "web", "worker", "scheduler", US)
_SERVER_GRACE = 5.0  # seconds; with the apps' 8 s all is over in less than 15


def up(settings: Settings) -> int:
    """Run the tracker until it is asked to stop: the exit code."""
    return _run(settings, simulated=False)


def demo(settings: Settings) -> int:
    """Run it against the simulator, in a home and a database of its own: the exit code."""
    return _run(demo_of(settings), simulated=True)


def dev_worker(settings: Settings) -> int:
    """Run the worker and its scheduler alone, beside servers that run already: the exit code."""
    log = Log(sys.stdout, _NAMES)
    return asyncio.run(Supervisor(pollers(settings), log).run())


def _run(settings: Settings, *, simulated: bool) -> int:
    log = Log(sys.stdout, _NAMES)
    try:
        with _stoppable(), only_one(settings):
            _check_port("WEB_PORT", settings.web_host, settings.web_port)
            if simulated:
                _check_port("SIMULATOR_PORT", "127.0.0.1", settings.simulator_port)
            _greet(settings, log, simulated=simulated)
            processes = _servers(settings, log)
            processes += apps(
                settings, [process.name for process in processes], simulated=simulated
            )
            return asyncio.run(Supervisor(processes, log).run())
    except KeyboardInterrupt:
        return 0
    except TrackerError as error:
        sys.stderr.write(f"tracker: {error}\n")
        return 1


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Until the supervisor takes over, SIGTERM is no other than Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_port(variable: str, host: str, port: int) -> None:
    """Raises EmbeddedError naming *variable* if nobody can listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except socket.gaierror as error:
        raise EmbeddedError(f"WEB_HOST: {host}: {error.strerror}") from None
    except OSError as error:
        why = "is in use already" if error.errno == errno.EADDRINUSE else f"({error.strerror})"
        raise EmbeddedError(f"{variable}: port {port} of {host} {why}: set another one") from None


def _greet(settings: Settings, log: Log, *, simulated: bool) -> None:
    root = f"http://127.0.0.1:{settings.web_port}"
    ticker = settings.tickers[0]
    log.say(US, f"page    {root}/")
    log.say(US, f"prices  {root}/{settings.api_version}/prices?ticker={ticker}")
    log.say(US, f"docs    {root}/docs")
    log.say(US, f"health  {root}/health/ready")
    if simulated:
        log.say(US, "synthetic prices from the simulator, in a database of their own")
    else:
        check_exchange(settings.client_base_url, lambda text: log.say(US, text))


def _servers(settings: Settings, log: Log) -> list[Process]:
    """The embedded servers, except those that `just infra` has running."""
    chosen = servers(settings)
    missing = [server for server in chosen if not server.running()]
    if len(missing) < len(chosen):
        log.say(US, f"using what runs in {settings.home} already")
    commands = prepare(settings, missing) if missing else []
    return [
        Process(
            name=server.name,
            command=command,
            ready=server.ready,
            sign=server.sign,
            grace=_SERVER_GRACE,
            account=server.account,
        )
        for server, command in zip(missing, commands, strict=True)
    ]
