"""The exchange's client and its connections: keep-alive, deadlines, and faulty servers."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from tests.support.exchange import fetch_btc
from tracker.errors import InvalidResponse, Unreachable
from tracker.recorder.deribit import DeribitClient

BODY = (
    b'{"jsonrpc":"2.0","result":{"index_price":83065.3},"usOut":1790660367085908,"testnet":false}'
)
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
NOT_GZIP = GOOD.replace(b"200 OK\r\n", b"200 OK\r\nContent-Encoding: gzip\r\n")
PRICE = Decimal("83065.30")


@dataclass
class Connection:
    """One connection of the server; *number* counts from 0."""

    socket: socket.socket
    number: int

    def request(self) -> bytes:
        """The next request; empty when the client closes the connection."""
        text = b""
        while not text.endswith(b"\r\n\r\n"):
            if not (chunk := self.socket.recv(4096)):
                return b""
            text += chunk
        return text

    def drip(self, text: bytes) -> None:
        """Send *text* a byte at a time, until the client closes the connection."""
        for byte in text:
            self.socket.sendall(bytes([byte]))
            time.sleep(0.05)


@dataclass
class Server:
    """A server that handles each connection with *serve*."""

    serve: Callable[[Connection], None]
    connections: list[Connection] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Listen within the block; yields the base URL."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            accepting = threading.Thread(target=self._accept, args=[listener])
            accepting.start()
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}/api/v2"
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                accepting.join()
                for connection in self.connections:
                    with suppress(OSError):
                        connection.socket.shutdown(socket.SHUT_RDWR)
                for thread in self.threads:
                    thread.join()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection = Connection(listener.accept()[0], len(self.connections))
                self.connections.append(connection)
                self.threads.append(threading.Thread(target=self._serve, args=[connection]))
                self.threads[-1].start()

    def _serve(self, connection: Connection) -> None:
        with connection.socket, suppress(OSError):
            self.serve(connection)


def respond(connection: Connection) -> None:
    """A correct server."""
    while connection.request():
        connection.socket.sendall(GOOD)


def respond_once(response: bytes) -> Callable[[Connection], None]:
    """A server that closes each connection after *response*."""

    def serve(connection: Connection) -> None:
        connection.request()
        connection.socket.sendall(response)

    return serve


def first_faulty(serve: Callable[[Connection], None]) -> Callable[[Connection], None]:
    """*serve* on the first connection, correct responses on all others."""
    return lambda connection: respond(connection) if connection.number else serve(connection)


@contextmanager
def client_of(
    serve: Callable[[Connection], None], request_timeout: float = 8
) -> Iterator[tuple[DeribitClient, Server]]:
    """A client of a server that handles its connections with *serve*."""
    server = Server(serve)
    with (
        server.listening() as url,
        DeribitClient(url, request_timeout=request_timeout) as client,
    ):
        yield client, server


def test_connection_is_reused() -> None:
    """By sequential requests."""
    with client_of(respond) as (client, server):
        assert [fetch_btc(client) for _ in range(5)] == [PRICE] * 5

    assert len(server.connections) == 1


def test_request_follows_documentation() -> None:
    """Method, path and parameter."""
    requests = []

    def serve(connection: Connection) -> None:
        requests.append(connection.request())
        connection.socket.sendall(GOOD)

    with client_of(serve) as (client, _):
        fetch_btc(client)

    path, *headers = requests[0].split(b"\r\n")
    assert path == b"GET /api/v2/public/get_index_price?index_name=btc_usd HTTP/1.1"
    assert b"Accept: application/json" in headers


def test_connection_closed_while_idle_is_replaced() -> None:
    """The exchange closes each after 15 minutes; the next request needs no retry."""
    with client_of(respond_once(GOOD)) as (client, server):
        for number in range(3):
            assert fetch_btc(client, within=5) == PRICE
            server.threads[number].join()

    assert len(server.connections) == 3


@pytest.mark.parametrize(
    "response",
    [b"", GOOD[:-20], b"220 mail.example.org ESMTP\r\n"],
    ids=["closed", "cut", "garbled"],
)
@pytest.mark.usefixtures("no_pauses")
def test_broken_connection_is_retried(response: bytes) -> None:
    """Once, on a new connection."""
    with client_of(first_faulty(respond_once(response))) as (client, server):
        assert fetch_btc(client) == PRICE

    assert len(server.connections) == 2


def silent(connection: Connection) -> None:
    """Never respond."""
    while connection.request():
        pass


def dripping_headers(connection: Connection) -> None:
    """Take minutes for the headers."""
    connection.request()
    connection.drip(GOOD)


def dripping_body(connection: Connection) -> None:
    """Take minutes for the body."""
    connection.request()
    connection.socket.sendall(GOOD[: -len(BODY)])
    connection.drip(BODY)


@pytest.mark.parametrize("serve", [silent, dripping_headers, dripping_body])
@pytest.mark.usefixtures("no_pauses")
def test_request_timeout_bounds_slow_response(serve: Callable[[Connection], None]) -> None:
    """Also if each byte arrives in time; the next request succeeds."""
    with client_of(first_faulty(serve), request_timeout=0.5) as (client, server):
        before = time.monotonic()
        assert fetch_btc(client) == PRICE
        assert 0.5 <= time.monotonic() - before < 4

    assert len(server.connections) == 2


def endless(connection: Connection) -> None:
    """Send a body without an end."""
    connection.request()
    connection.socket.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.socket.sendall(b" " * 65_536)


def redirected(connection: Connection) -> None:
    """Redirect forever."""
    while connection.request():
        connection.socket.sendall(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    ("serve", "message"),
    [
        (endless, "response of more than 1000000 bytes"),
        (respond_once(NOT_GZIP), "127.0.0.1: .*decompressing"),
        (redirected, "127.0.0.1: .*redirects"),
    ],
)
def test_invalid_response_is_not_retried(serve: Callable[[Connection], None], message: str) -> None:
    """The error is typed, and the client stays usable."""
    with client_of(first_faulty(serve)) as (client, _):
        with pytest.raises(InvalidResponse, match=message) as caught:
            fetch_btc(client)

        assert caught.value.attempts == 1


def test_redirects_are_followed() -> None:
    """Also to another host: deribit.com may redirect to www."""
    with Server(respond).listening() as there:

        def serve(connection: Connection) -> None:
            target = connection.request().split()[1].removeprefix(b"/api/v2")
            moved = b"HTTP/1.1 301 Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n"
            connection.socket.sendall(moved % (there.encode() + target))

        with client_of(serve) as (client, _):
            assert fetch_btc(client) == PRICE


def test_concurrent_requests_are_limited_to_five() -> None:
    """Of twelve threads; the others wait, and all get their price."""
    active, counts = [], []
    five = threading.Event()

    def serve(connection: Connection) -> None:
        while connection.request():
            active.append(connection)
            counts.append(len(active))
            if len(active) == 5:
                five.set()
            five.wait(10)
            time.sleep(0.1)  # a sixth request would arrive now
            active.remove(connection)
            connection.socket.sendall(GOOD)

    with client_of(serve) as (client, server), ThreadPoolExecutor(12) as threads:
        assert list(threads.map(lambda _: fetch_btc(client), range(12))) == [PRICE] * 12

    assert max(counts) == len(server.connections) == 5


def test_deadline_bounds_wait_for_a_turn() -> None:
    """A sixth request ends in time while five hang."""
    with (
        client_of(silent, request_timeout=0.5) as (client, _),
        ThreadPoolExecutor(6) as threads,
    ):
        calls = [threads.submit(fetch_btc, client, 0.3) for _ in range(6)]
        errors = [call.exception() for call in calls]

    assert [type(error) for error in errors] == [Unreachable] * 6
