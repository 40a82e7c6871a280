"""The stand-in on a socket: its server, and a way to have one for a while."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tracker.errors import SettingsError
from tracker.simulator.app import create_app
from tracker.simulator.exchange import Options

HOST: Final = "127.0.0.1"


class Protocol(HttpToolsProtocol):
    """HTTP that shows an application its connection, so that it can tear it down."""

    def on_message_begin(self) -> None:
        """Put the transport into the scope of the request that begins."""
        super().on_message_begin()
        self.scope["extensions"] = {"tcp": {"transport": self.transport}}


class Server(uvicorn.Server):
    """A server that says when it listens, and that ends at once."""

    def __init__(self, app: Starlette, ready: Callable[[], None]) -> None:
        """Serve *app*; call *ready* as soon as it is."""
        super().__init__(_config(app))
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drop every connection first: calls that hang would keep it waiting."""
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)


@dataclass(frozen=True, slots=True)
class Served:
    """Where a stand-in can be reached."""

    host: str
    port: int

    @property
    def root(self) -> str:
        """The server's address, without a slash at its end."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def url(self) -> str:
        """What a client takes for the exchange's base address."""
        return f"{self.root}/api/v2"

    @property
    def admin_url(self) -> str:
        """Under which faults, counts and truth are found."""
        return f"{self.root}/admin"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; *port* 0 takes a free one. Raises SettingsError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise SettingsError(f"cannot listen on {host} port {port}: {error}") from error


@contextmanager
def serve(options: Options | None = None, *, host: str = HOST, port: int = 0) -> Iterator[Served]:
    """A stand-in on a thread of its own, for as long as the block lasts.

    Raises SettingsError if the port is taken.
    """
    app = create_app(options)
    ready = threading.Event()
    server = Server(app, ready.set)
    with listen(host, port) as sock:
        thread = threading.Thread(target=_run, args=(server, sock, ready), name="simulator")
        thread.start()
        try:
            yield _served(server, sock, ready)
        finally:
            server.should_exit = True
            thread.join()


def _served(server: Server, sock: socket.socket, ready: threading.Event) -> Served:
    ready.wait()
    if not server.started:
        raise SettingsError("the simulator did not start; its log says why")
    return Served(*sock.getsockname()[:2])


def _run(server: Server, sock: socket.socket, ready: threading.Event) -> None:
    try:
        server.run(sockets=[sock])
    finally:
        ready.set()


def _config(app: Starlette) -> uvicorn.Config:
    """Quiet, and leaving the logging of the process to whoever set it up."""
    return uvicorn.Config(
        app,
        http=Protocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
