"""Run the simulator: `tracker simulate`, or on a thread for the duration of a block."""

import argparse
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final

import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tracker.errors import SettingsError
from tracker.models import INDEX_NAME
from tracker.simulator.app import create_app
from tracker.simulator.exchange import Options
from tracker.simulator.faults import KINDS, Fault, describe_errors
from tracker.watchdog import Watchdog

_HOST: Final = "127.0.0.1"
_MAX_PORT: Final = 65_535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``tracker simulate``."""
    add = parser.add_argument
    add("--host", default=_HOST, help="listen on this address (%(default)s)")
    add("--port", type=_parse_port, help="listen on this port; 0 selects a free one")
    add("--seed", type=int, default=1, help="seed of the random walks (%(default)s)")
    add("--index", type=_parse_index, action="append", default=[], metavar="NAME",
        help="add an index")  # fmt: skip
    add("--fault", action="append", default=[], metavar="KIND[:key=value,…]",
        help=f"inject a fault at start: {', '.join(KINDS)}; keys: index, method, seconds, "
             "calls, delay, retry_after, code")  # fmt: skip
    add("--clock-offset", type=float, default=0.0, metavar="SECONDS",
        help="how far the exchange's clock is ahead of this machine's")  # fmt: skip
    add("--testnet", action="store_true", help='set "testnet": true in every response')


def run_simulator(args: argparse.Namespace, *, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C, on *port* unless ``--port`` is given.

    Raises SettingsError for an invalid fault or a port in use.
    """
    options = Options(
        seed=args.seed,
        indexes=tuple(args.index),
        clock_offset=args.clock_offset,
        testnet=args.testnet,
    )
    faults = tuple(_parse_fault(text, options) for text in args.fault)
    server = _Server(create_app(replace(options, faults=faults)))
    with _listen(args.host, port if args.port is None else args.port) as sock:
        simulator = Simulator(*sock.getsockname()[:2])
        with suppress(KeyboardInterrupt):
            seed, admin_url = args.seed, simulator.admin_url
            sys.stdout.write(
                f"simulated exchange at {simulator.url} (seed {seed}, admin {admin_url})\n"
            )
            sys.stdout.flush()
            server.run(sockets=[sock])


@dataclass(frozen=True, slots=True)
class Simulator:
    """The address of a running simulator."""

    host: str
    port: int

    @property
    def root(self) -> str:
        """The server's URL without a trailing slash."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The base URL of the exchange's API."""
        return f"{self.root}/api/v2"

    @property
    def admin_url(self) -> str:
        """The base URL of faults, counts and true prices."""
        return f"{self.root}/admin"


@contextmanager
def running_simulator(options: Options | None = None) -> Iterator[Simulator]:
    """A simulator on its own thread and a free port, for the duration of the block."""
    server = _Server(create_app(options))
    with _listen(_HOST, 0) as sock:
        thread = threading.Thread(target=server.run, args=([sock],), name="simulator")
        thread.start()
        try:
            while not server.started:
                if not thread.is_alive():
                    raise SettingsError("the simulator failed to start; see its log")
                time.sleep(0.005)
            yield Simulator(*sock.getsockname()[:2])
        finally:
            server.should_exit = True
            thread.join()


class _Protocol(HttpToolsProtocol):
    """Adds the transport to the scope, so that a fault can reset the connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"tcp": {"transport": self.transport}}


class _Server(uvicorn.Server):
    """A server without logs of its own that sends heartbeats, and shuts down at once."""

    _watchdog = Watchdog()

    def __init__(self, app: Starlette) -> None:
        config = uvicorn.Config(
            app,
            http=_Protocol,
            loop="uvloop",
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,  # the application adds that of the exchange
            timeout_graceful_shutdown=1,
        )
        super().__init__(config)

    async def on_tick(self, counter: int) -> bool:
        """Each 0.1 s: as uvicorn's, and a heartbeat each second."""
        if counter % 10 == 0:
            self._watchdog.send_heartbeat()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Abort every connection first; delayed responses would block the shutdown."""
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise SettingsError(f"cannot listen on {host} port {port}: {error}") from error


def _parse_fault(text: str, options: Options) -> Fault:
    kind, _, rest = text.partition(":")
    pairs = [pair.partition("=") for pair in rest.split(",") if pair]
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    try:
        return Fault.model_validate({**fields, "kind": kind}, context=options.known_names)
    except ValidationError as error:
        reasons = "; ".join(map(": ".join, describe_errors(error).items()))
        raise SettingsError(f"--fault {text}: {reasons}") from error


def _parse_port(text: str) -> int:
    with suppress(ValueError):
        if 0 <= (port := int(text)) <= _MAX_PORT:
            return port
    raise argparse.ArgumentTypeError(f"not a port: {text!r}")


def _parse_index(text: str) -> str:
    if not re.fullmatch(INDEX_NAME, text):
        raise argparse.ArgumentTypeError(f"not an index name: {text!r}")
    return text
