"""A proxy in front of the API that fails some requests, in the ways that networks and limits do."""

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from time import monotonic
from typing import Any

import httpx

RESET_NOW = struct.pack("ii", 1, 0)  # of SO_LINGER: close() sends RST


@dataclass(slots=True)
class Fault:
    """How a request fails.

    status: of the response; 0: the connection is reset.
    after: the part of the body that precedes a reset; None: a reset without a response.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    after: float | None = None


class FlakyProxy(ThreadingHTTPServer):
    """Forwards to *upstream*; each request takes the next of *faults*, and None forwards it."""

    def __init__(self, upstream: str, faults: Sequence[Fault | None]) -> None:
        """A proxy on a free port."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.requests: list[float] = []  # monotonic seconds
        self._faults, self._lock = list(faults), Lock()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def next_fault(self) -> Fault | None:
        """The fault of the next request; after the last one none."""
        with self._lock:
            self.requests.append(monotonic())
            return self._faults.pop(0) if self._faults else None

    def shutdown_request(self, request: Any) -> None:
        """Close it without a FIN, so that a reset is one."""
        self.close_request(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FlakyProxy

    def do_GET(self) -> None:
        fault = self.server.next_fault()
        if fault is None:
            self._forward(1)
        elif fault.status:
            self._respond(fault.status, b"", fault.headers)
        else:
            if fault.after is not None:
                self._forward(fault.after)
            linger = socket.SOL_SOCKET, socket.SO_LINGER, RESET_NOW
            self.connection.setsockopt(*linger)
            self.close_connection = True

    def _forward(self, part: float) -> None:
        found = httpx.get(f"{self.server.upstream}{self.path}", timeout=20)
        names = ("content-type", "link")
        headers = {name: found.headers[name] for name in names if name in found.headers}
        self._respond(found.status_code, found.content, headers, part)

    def _respond(self, status: int, body: bytes, headers: dict[str, str], part: float = 1) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: int(len(body) * part)])
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        """Nothing is logged."""


@contextmanager
def run_flaky_proxy(upstream: str, *faults: Fault | None) -> Iterator[FlakyProxy]:
    """A proxy whose first requests take *faults*, until the end of the block."""
    with FlakyProxy(upstream, faults) as proxy:
        thread = Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
