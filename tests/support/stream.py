"""A client of the stream that sees every line, and reads only on demand."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx

from tests.support.api import read_metric

TIMEOUT = 90.0  # seconds


class StreamEvent(NamedTuple):
    """An event: its name, its data, and the client's last event id after it."""

    name: str
    data: dict[str, Any]
    id: str


class StreamClient:
    """An open stream."""

    def __init__(
        self, conn: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> None:
        """Read the *response* received over *conn*."""
        self.conn = conn
        self.response = response
        self.id = ""
        self.comments = 0
        self._lines = iter(response.readline, b"")
        assert next(self._lines).startswith(b"retry:")
        [ready] = self.take(1)
        assert ready.name == "ready"

    def events(self) -> Iterator[StreamEvent]:
        """The events until the stream ends; counts comments and records ids.

        Fails if no event follows for TIMEOUT, whatever else the server sends.
        """
        name, data = "", ""
        deadline = time.monotonic() + TIMEOUT
        for line in self._lines:
            assert time.monotonic() < deadline, "the stream sends comments only"
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
                    yield StreamEvent(name, json.loads(data), self.id)
                    name, data = "", ""
                    deadline = time.monotonic() + TIMEOUT

    def take(self, count: int) -> list[StreamEvent]:
        """The next *count* events."""
        events = self.events()
        return [next(events) for _ in range(count)]


@contextmanager
def open_stream(
    base_url: httpx.URL | str,
    tickers: str = "btc_usd",
    *,
    last_id: str = "",
    receive_buffer: int | None = None,
) -> Iterator[StreamClient]:
    """Subscribe to *tickers*, separated by commas (without any to all), after *last_id*."""
    url = httpx.URL(base_url)
    conn = http.client.HTTPConnection(url.host, url.port or 80, timeout=TIMEOUT)
    conn.sock = socket.socket()
    conn.sock.settimeout(TIMEOUT)
    if receive_buffer:
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    conn.sock.connect((url.host, url.port))
    query = "&".join(f"ticker={ticker}" for ticker in tickers.split(",") if ticker)
    headers = {"Last-Event-ID": last_id} if last_id else {}
    try:
        conn.request("GET", f"/v1/prices/stream?{query}", headers=headers)
        response = conn.getresponse()
        assert response.status == 200, response.read()
        yield StreamClient(conn, response)
    finally:
        conn.close()


def count_subscribers(client: httpx.Client) -> float:
    """The number of open streams of that API."""
    return read_metric(client, "tracker_stream_clients")
