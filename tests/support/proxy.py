"""A proxy for HTTP and SOCKS 5 that leads to one server, whatever a client asks for."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_SOCKS_VERSION = b"\x05"


@dataclass(slots=True)
class LocalProxy:
    """A running proxy.

    targets: what each connection asked for: the first line of a request, or the host of SOCKS.
    """

    port: int
    targets: list[str] = field(default_factory=list)


@contextmanager
def run_proxy(port: int) -> Iterator[LocalProxy]:
    """Run a proxy that leads to 127.0.0.1 and *port*."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = LocalProxy(listener.getsockname()[1])
        threading.Thread(target=_accept, args=[listener, proxy, port], daemon=True).start()
        yield proxy
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, proxy: LocalProxy, port: int) -> None:
    with suppress(OSError):  # the listener is closed at the end
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_serve, args=[client, proxy, port], daemon=True).start()


def _serve(client: socket.socket, proxy: LocalProxy, port: int) -> None:
    with suppress(OSError), client, socket.create_connection(("127.0.0.1", port)) as server:
        received = client.recv(65536)
        if received.startswith(_SOCKS_VERSION):
            client.sendall(b"\x05\x00")  # no login
            request = client.recv(65536)
            proxy.targets.append(request[5 : 5 + request[4]].decode())
            client.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
        else:
            proxy.targets.append(received.partition(b"\r\n")[0].decode())
            server.sendall(received)
        back = threading.Thread(target=_copy, args=[server, client], daemon=True)
        back.start()
        _copy(client, server)
        back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
