"""The exchange's client on the wire: kept-alive connections, and servers that misbehave."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal

import pytest
import stamina

from tracker.errors import InvalidResponse, Unreachable
from tracker.recorder.deribit import DeribitClient

BODY = (
    b'{"jsonrpc":"2.0","result":{"index_price":83065.3},"usOut":1790660367085908,"testnet":false}'
)
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
PRICE = Decimal("83065.30")


@dataclass
class Line:
    """One connection as the server sees it; *number* counts from 0."""

    socket: socket.socket
    number: int

    def request(self) -> bytes:
        """The next request; nothing if the client has left."""
        text = b""
        while not text.endswith(b"\r\n\r\n"):
            if not (chunk := self.socket.recv(4096)):
                return b""
            text += chunk
        return text

    def drip(self, text: bytes) -> None:
        """Send *text* a byte at a time, for as long as anybody listens."""
        for byte in text:
            self.socket.sendall(bytes([byte]))
            time.sleep(0.05)


@dataclass
class Server:
    """A server that treats each connection as *serve* says."""

    serve: Callable[[Line], None]
    lines: list[Line] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Listen for a while; gives the base address."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            accepting = threading.Thread(target=self._accept, args=[listener])
            accepting.start()
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}/api/v2"
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                accepting.join()
                for line in self.lines:
                    with suppress(OSError):
                        line.socket.shutdown(socket.SHUT_RDWR)
                for thread in self.threads:
                    thread.join()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                line = Line(listener.accept()[0], len(self.lines))
                self.lines.append(line)
                self.threads.append(threading.Thread(target=self._serve, args=[line]))
                self.threads[-1].start()

    def _serve(self, line: Line) -> None:
        with line.socket, suppress(OSError):
            self.serve(line)


def fetch(client: DeribitClient, within: float = 60) -> Decimal:
    """The price of btc_usd in production."""
    return client.fetch_price("btc_usd", within).price


def answer_all(line: Line) -> None:
    """A good server."""
    while line.request():
        line.socket.sendall(GOOD)


def but_first(serve: Callable[[Line], None]) -> Callable[[Line], None]:
    """*serve* on the first connection, good answers on all others."""
    return lambda line: answer_all(line) if line.number else serve(line)


@contextmanager
def asking(
    serve: Callable[[Line], None], request_timeout: float = 8
) -> Iterator[tuple[DeribitClient, Server]]:
    """A client of a server of that kind."""
    server = Server(serve)
    with (
        server.listening() as url,
        DeribitClient(url, request_timeout=request_timeout) as client,
    ):
        yield client, server


@pytest.fixture
def at_once() -> Iterator[None]:
    """Retries without their pauses, where waiting is not the point."""
    with stamina.set_testing(True, attempts=2):
        yield


def test_one_connection_serves_call_after_call() -> None:
    """It is kept alive between them."""
    with asking(answer_all) as (client, server):
        assert [fetch(client) for _ in range(5)] == [PRICE] * 5

    assert len(server.lines) == 1


def test_the_request_is_the_documented_one() -> None:
    """Method, path and parameter."""
    requests = []

    def serve(line: Line) -> None:
        requests.append(line.request())
        line.socket.sendall(GOOD)

    with asking(serve) as (client, _):
        fetch(client)

    path, *headers = requests[0].split(b"\r\n")
    assert path == b"GET /api/v2/public/get_index_price?index_name=btc_usd HTTP/1.1"
    assert b"Accept: application/json" in headers


def test_a_connection_closed_while_idle_is_replaced() -> None:
    """The exchange closes each after 15 minutes; the next call takes a fresh one, no retry."""

    def serve(line: Line) -> None:
        line.request()
        line.socket.sendall(GOOD)

    with asking(serve) as (client, server):
        for number in range(3):
            assert fetch(client, within=5) == PRICE
            server.threads[number].join()

    assert len(server.lines) == 3


def closed(line: Line) -> None:
    """The connection ends instead of an answer."""
    line.request()


def cut(line: Line) -> None:
    """The connection ends in the middle of the answer."""
    line.request()
    line.socket.sendall(GOOD[:-20])


def garbled(line: Line) -> None:
    """No HTTP at all."""
    line.request()
    line.socket.sendall(b"220 mail.example.org ESMTP\r\n")


@pytest.mark.parametrize("serve", [closed, cut, garbled])
@pytest.mark.usefixtures("at_once")
def test_a_broken_line_is_replaced(serve: Callable[[Line], None]) -> None:
    """One retry, on a fresh connection."""
    with asking(but_first(serve)) as (client, server):
        assert fetch(client) == PRICE

    assert len(server.lines) == 2


def silent(line: Line) -> None:
    """No answer, ever."""
    while line.request():
        pass


def dripping_headers(line: Line) -> None:
    """An answer that takes minutes to begin."""
    line.request()
    line.drip(GOOD)


def dripping_body(line: Line) -> None:
    """An answer that takes minutes to end."""
    line.request()
    line.socket.sendall(GOOD[: -len(BODY)])
    line.drip(BODY)


@pytest.mark.parametrize("serve", [silent, dripping_headers, dripping_body])
@pytest.mark.usefixtures("at_once")
def test_a_call_is_cut_off_as_a_whole(serve: Callable[[Line], None]) -> None:
    """Each byte comes in time, and yet the call ends; the next one is not hindered."""
    with asking(but_first(serve), request_timeout=0.5) as (client, server):
        before = time.monotonic()
        assert fetch(client) == PRICE
        assert 0.5 <= time.monotonic() - before < 4

    assert len(server.lines) == 2


def endless(line: Line) -> None:
    """An answer without an end."""
    line.request()
    line.socket.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        line.socket.sendall(b" " * 65_536)


def not_gzip(line: Line) -> None:
    """An answer that is not what its header says."""
    line.request()
    head = GOOD.replace(b"200 OK\r\n", b"200 OK\r\nContent-Encoding: gzip\r\n")
    line.socket.sendall(head)


def redirected(line: Line) -> None:
    """From here to here, for ever."""
    while line.request():
        line.socket.sendall(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    ("serve", "culprit"),
    [
        (endless, "response of more than 1000000 bytes"),
        (not_gzip, "127.0.0.1: .*decompressing"),
        (redirected, "127.0.0.1: .*redirects"),
    ],
)
def test_a_server_that_misbehaves_is_not_asked_again(
    serve: Callable[[Line], None], culprit: str
) -> None:
    """One typed error; the client works on."""
    with asking(but_first(serve)) as (client, _):
        with pytest.raises(InvalidResponse, match=culprit) as caught:
            fetch(client)

        assert caught.value.attempts == 1


def test_redirects_are_followed() -> None:
    """To another host too: deribit.com may send its clients to www."""
    with Server(answer_all).listening() as there:

        def serve(line: Line) -> None:
            target = line.request().split()[1].removeprefix(b"/api/v2")
            moved = b"HTTP/1.1 301 Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n"
            line.socket.sendall(moved % (there.encode() + target))

        with asking(serve) as (client, _):
            assert fetch(client) == PRICE


def test_five_at_once_at_most() -> None:
    """Twelve threads ask; the others wait for their turn, and all get their price."""
    busy, most = [], []
    five = threading.Event()

    def serve(line: Line) -> None:
        while line.request():
            busy.append(line)
            most.append(len(busy))
            if len(busy) == 5:
                five.set()
            five.wait(10)
            time.sleep(0.1)  # a sixth would come now
            busy.remove(line)
            line.socket.sendall(GOOD)

    with asking(serve) as (client, server), ThreadPoolExecutor(12) as threads:
        assert list(threads.map(lambda _: fetch(client), range(12))) == [PRICE] * 12

    assert max(most) == len(server.lines) == 5


def test_a_turn_is_waited_for_no_longer_than_there_is_time() -> None:
    """With five calls hanging, a sixth ends in time."""
    with (
        asking(silent, request_timeout=0.5) as (client, _),
        ThreadPoolExecutor(6) as threads,
    ):
        calls = [threads.submit(fetch, client, 0.3) for _ in range(6)]
        errors = [call.exception() for call in calls]

    assert [type(error) for error in errors] == [Unreachable] * 6
