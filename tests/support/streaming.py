"""A client of the stream that sees every line of it, and reads only when it is told to."""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx

PATIENCE = 30.0  # seconds; machines are shared


class Told(NamedTuple):
    """An event: its name, its data, and the id that the client then has."""

    name: str
    data: dict[str, Any]
    id: str


class Following:
    """An open stream."""

    def __init__(self, conn: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> None:
        """Read *answer*, which came over *conn*."""
        self.conn = conn
        self.answer = answer
        self.id = ""
        self.comments = 0
        self._lines = iter(answer.readline, b"")
        self._greet()

    def _greet(self) -> None:
        fields = [next(self._lines).decode().partition(":")[0] for _ in range(1)]
        assert fields == ["retry"]
        self.id = next(self._lines).decode().removeprefix("id: ").strip()
        assert next(self._lines) == b"\n"

    def events(self) -> Iterator[Told]:
        """What comes, until the stream ends; its comments are counted, its ids kept."""
        name, data = "", ""
        for line in self._lines:
            field, _, value = line.decode().rstrip("\n").partition(": ")
            match field:
                case "event":
                    name = value
                case "data":
                    data = value
                case "id":
                    self.id = value
                case ":":
                    self.comments += 1
                case _ if data:
                    yield Told(name, json.loads(data), self.id)
                    name, data = "", ""

    def take(self, count: int) -> list[Told]:
        """The next *count* events."""
        events = self.events()
        return [next(events) for _ in range(count)]


@contextmanager
def following(
    base_url: httpx.URL | str,
    tickers: str = "btc_usd",
    *,
    last_id: str = "",
    receive_buffer: int | None = None,
) -> Iterator[Following]:
    """Follow *tickers*, with commas between them, after *last_id*."""
    url = httpx.URL(base_url)
    conn = http.client.HTTPConnection(url.host, url.port or 80, timeout=PATIENCE)
    conn.sock = socket.socket()
    conn.sock.settimeout(PATIENCE)
    if receive_buffer:
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    conn.sock.connect((url.host, url.port))
    query = "&".join(f"ticker={ticker}" for ticker in tickers.split(","))
    headers = {"Last-Event-ID": last_id} if last_id else {}
    try:
        conn.request("GET", f"/v1/prices/stream?{query}", headers=headers)
        answer = conn.getresponse()
        assert answer.status == 200, answer.read()
        yield Following(conn, answer)
    finally:
        conn.close()
