"""A client of the stream that keeps every line of it."""

import http.client
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tests.net.product import Web

RECEIVE_TIMEOUT = 90.0  # seconds


class Stream:
    """An open stream; a block is what stands between two blank lines."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        """Read the body of *response*."""
        self._response = response

    def take(self, count: int) -> list[str]:
        """The next *count* blocks."""
        blocks = self._blocks()
        return [next(blocks) for _ in range(count)]

    def take_until(self, text: str) -> list[str]:
        """The next blocks, up to the first one with *text*."""
        found = []
        for block in self._blocks():
            found.append(block)
            if text in block:
                return found
        raise AssertionError(f"the stream ended before {text!r}: {found}")

    def rest(self) -> list[str]:
        """All blocks until the stream ends."""
        return list(self._blocks())

    def _blocks(self) -> Iterator[str]:
        """Heartbeats are left out: only a machine that takes 15 s for a test sees one."""
        lines: list[str] = []
        while line := self._response.readline().decode():
            if line != "\n":
                lines += [line.rstrip("\n")] if line != ":\n" else []
            else:
                yield "\n".join(lines)
                lines = []
        if lines:
            yield "\n".join([*lines, "<no blank line>"])


@contextmanager
def following(web: Web, query: str, last_event_id: str = "") -> Iterator[Stream]:
    """The stream of *query*, which may resume after *last_event_id*, a header."""
    header = f"Last-Event-ID: {last_event_id}\r\n" if last_event_id else ""
    with socket.create_connection(("127.0.0.1", web.port), timeout=RECEIVE_TIMEOUT) as line:
        target = f"/v1/prices/stream?{query}"
        line.sendall(f"GET {target} HTTP/1.1\r\nHost: {web.host}\r\n{header}\r\n".encode())
        response = http.client.HTTPResponse(line)
        response.begin()
        assert response.status == 200, response.read()
        try:
            yield Stream(response)
        finally:
            response.close()


def id_of(block: str) -> str:
    """The id that a client has after *block*."""
    [found] = [line for line in block.split("\n") if line.startswith("id: ")]
    return found.removeprefix("id: ")
