"""How much of a request is read, and for how long a client may take: uvicorn bounds neither.

Without this, 100 MB of headers on one connection took 610 MB of memory, 14 MB of requests sent
ahead took 640 MB, and half a request was waited for without end.
Source: RFC 9110, sections 4.1 (8000 bytes of address at least) and 15.5 (408, 414); RFC 6585 (431).
"""

import asyncio
from http import HTTPStatus
from uuid import uuid4

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from tracker.web.answer.problems import problem
from tracker.web.answer.safety import DATA_POLICY, marks

ADDRESS = 8_192  # bytes of path and query
HEADERS = 32_768  # bytes of all headers
REQUEST = 131_072  # bytes with a body, which nobody reads
AHEAD = 16  # requests that wait for the answer to one before them
_EACH = 32  # bytes that a header takes beside its own (RFC 7541, section 4.1, counts so too)

_PATIENCE = 10.0  # seconds until a request is complete
_READING = 60.0  # seconds; what a client takes shows late, as the system keeps megabytes
_LINGER = 2.0  # seconds in which a refused client may go on, so that it reads why

_WHY = {
    HTTPStatus.BAD_REQUEST: {"request": "is not HTTP"},
    HTTPStatus.REQUEST_TIMEOUT: {"request": f"was not complete after {_PATIENCE:g} seconds"},
    HTTPStatus.REQUEST_URI_TOO_LONG: {"address": f"is longer than {ADDRESS} bytes"},
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: {"headers": f"are longer than {HEADERS} bytes"},
}


class Bounded(HttpToolsProtocol):
    """uvicorn's protocol, for clients that mean no good."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Wait for a request, but not for long."""
        super().connection_made(transport)
        self._size = 0  # bytes of the request under way, at most
        self._open = self._in_head = False
        self._refused = False
        self._status = HTTPStatus.BAD_REQUEST
        self._late: asyncio.TimerHandle | None = self.loop.call_later(_PATIENCE, self._give_up)
        self._unread: asyncio.TimerHandle | None = None
        self._answering: RequestResponseCycle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        if self._answering:
            self._answering.disconnected = True  # uvicorn tells the newest request only
        super().connection_lost(exc)
        self._in_time()
        if self._unread:
            self._unread.cancel()

    def data_received(self, data: bytes) -> None:
        """Read on, as long as it is worth it."""
        if self._refused:
            return
        self._size = self._size + len(data) if self._open else len(data)
        super().data_received(data)
        if self._refused or self.transport.is_closing():
            return
        if self._open and self._size > REQUEST:
            self._refuse(_too_long(self.url))
        elif self._late is None and (self._open or self._idle()):
            self._late = self.loop.call_later(_PATIENCE, self._give_up)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._open = self._in_head = True

    def on_headers_complete(self) -> None:
        """Raise what ends the parsing, if its head is too long, or too many wait before it."""
        if self._size > ADDRESS and len(self.url) > ADDRESS:
            self._demand_less(HTTPStatus.REQUEST_URI_TOO_LONG)
        if self._size > ADDRESS and _length(self.headers) > HEADERS:
            self._demand_less(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        super().on_headers_complete()
        self._in_head = False
        if len(self.pipeline) > AHEAD:
            self._demand_less(HTTPStatus.BAD_REQUEST)

    def on_message_complete(self) -> None:
        """A request is complete."""
        super().on_message_complete()
        self._open = False
        self._in_time()

    def on_response_complete(self) -> None:
        """See that its client reads it."""
        super().on_response_complete()
        if self._unread:
            self._unread.cancel()
        self._expect_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 -- ours says more
        """Refuse what the parser could not go on with; uvicorn calls it."""
        self._refuse(self._status)

    def _idle(self) -> bool:
        """Whether all is answered: what came then was no request, but blank lines."""
        return self.cycle is None or self.cycle.response_complete

    def _demand_less(self, status: HTTPStatus) -> None:
        self._status = status
        raise ValueError(status)

    def _in_time(self) -> None:
        if self._late:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        """Say so to whoever has begun a request; whoever has not knows it."""
        self._late = None
        if self._open:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        elif self._idle():
            self.transport.close()

    def _refuse(self, status: HTTPStatus) -> None:
        """Take no more, and hang up: after the answers under way, or after saying why."""
        self._refused = True
        self._in_time()
        if self.transport.is_closing():
            return
        if not self._idle():
            self.cycle.keep_alive = False
        elif self._open and not self._in_head:  # a body: what was asked is answered
            self.transport.close()
        else:
            self._part(status)

    def _part(self, status: HTTPStatus) -> None:
        """Not at once: what still comes would reset the line, and the client not read it."""
        self.transport.write(self._written(status))
        self.transport.write_eof()
        self._late = self.loop.call_later(_LINGER, self.transport.close)

    def _written(self, status: HTTPStatus) -> bytes:
        request_id = uuid4().hex
        answer = problem(status, _WHY[status], request_id, {"Connection": "close"})
        headers = [
            *self.server_state.default_headers,
            *answer.raw_headers,
            (b"x-request-id", request_id.encode()),
            *marks(()),
            DATA_POLICY,
        ]
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        return b"%s%s\r\n%s" % (STATUS_LINE[status], lines, answer.body)

    def _expect_reading(self) -> None:
        unread = self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(_READING, self._see_reading, unread) if unread else None

    def _see_reading(self, unread: int) -> None:
        """Hang up on a client that has read nothing since so many bytes were *unread*."""
        if self.transport.get_write_buffer_size() < unread:
            self._expect_reading()
        else:
            self._unread = None
            self.transport.abort()


def _too_long(address: bytes) -> HTTPStatus:
    if len(address) > ADDRESS:
        return HTTPStatus.REQUEST_URI_TOO_LONG
    return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


def _length(headers: list[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) + _EACH for name, value in headers)
