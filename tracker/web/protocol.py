"""uvicorn's HTTP protocol with limits on the size and the time of requests, and checks of the head.

uvicorn has no limits: 100 MB of headers on one connection took 610 MB of memory, 14 MB of pipelined
requests 640 MB, and a partial request never timed out. Nor does it check Host, or tell an unknown
method from data other than HTTP. The class subclasses internals of uvicorn: server.py uses it with
tested versions only.
Source: RFC 9110, sections 4.1 (8000 bytes of address at least), 9.1 (501), 15.5 (408, 414) and
15.6.6 (505); RFC 9112, sections 3.2 (400 unless there is one Host; HTTP/1.0 needs none; targets may
be absolute) and 6.1 (no Transfer-Encoding to HTTP/1.0); RFC 6585 (431).
"""

import asyncio
import re
import sys
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, cast
from uuid import uuid4

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from tracker.web.connection import EXTENSION, Connection
from tracker.web.problems import problem_document
from tracker.web.security import SecurityHeaders, with_policy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Message, Receive, Scope, Send

MAX_ADDRESS = 8_192  # bytes of path and query
MAX_HEADERS = 32_768  # bytes of all headers
MAX_REQUEST = 131_072  # bytes with a body, which no endpoint reads
MAX_PIPELINED = 16  # requests that wait for the response to one before them

_HEADER_OVERHEAD = 32  # bytes counted for a header besides its own (as RFC 7541, section 4.1)
_REQUEST_TIMEOUT = 10.0  # seconds until a request is complete
_READ_TIMEOUT = 60.0  # seconds: the system buffers megabytes, so that progress shows late
_LINGER = 2.0  # seconds for a refused client to read the response

_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.v]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?")
_ABSOLUTE = re.compile(rb"^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*/?")  # the part before the path
_METHOD = re.compile(rb"(?:\r\n)*[A-Za-z0-9!#$%&'*+.^_`|~-]+(?: |$)")
_NEWER_VERSION = re.compile(rb"(?:\r\n)*[^ \r\n]+ [^ \r\n]+ HTTP/[2-9]\.[0-9]\r?\n")

_REASONS = {
    HTTPStatus.BAD_REQUEST: {"request": "is not valid HTTP"},
    HTTPStatus.NOT_IMPLEMENTED: {"method": "is unknown; must be GET or HEAD"},
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: {"version": "is not served; must be HTTP/1.1 or 1.0"},
    HTTPStatus.REQUEST_TIMEOUT: {
        "request": f"was not complete within {_REQUEST_TIMEOUT:g} seconds"
    },
    HTTPStatus.REQUEST_URI_TOO_LONG: {"address": f"is longer than {MAX_ADDRESS} bytes"},
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: {"headers": f"are longer than {MAX_HEADERS} bytes"},
}


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol with limits, and with a Connection in the scope of each request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Wait for a request until the timeout."""
        super().connection_made(transport)
        self.connection = Connection(self)
        self._size = 0  # bytes of the current request, at most
        self._receiving = self._in_head = False
        self._refused = False
        self._data = b""  # the bytes that are being parsed
        self._status = HTTPStatus.BAD_REQUEST
        self._reasons: Mapping[str, str] | None = None  # besides those of the status
        self._cycle: RequestResponseCycle | None = None
        self._request_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None
        self._start_request_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Notify the current request, and stop all timers."""
        if self._cycle:
            self._cycle.disconnected = True  # uvicorn notifies the newest request only
        super().connection_lost(exc)
        self._stop_request_timer()
        if self._read_timer:
            self._read_timer.cancel()
        self.connection.connection_closed()

    def shutdown(self) -> None:
        """Notify the stream that the server stops."""
        super().shutdown()
        self.connection.server_stops()

    def data_received(self, data: bytes) -> None:
        """Parse *data*, up to the limits."""
        if self._refused:
            return
        self._size = self._size + len(data) if self._receiving else len(data)
        self._data = data
        super().data_received(data)
        if self._refused or self.transport.is_closing():
            return
        if self._receiving and self._size > MAX_REQUEST:
            too_long = len(self.url) > MAX_ADDRESS
            self._refuse(
                HTTPStatus.REQUEST_URI_TOO_LONG
                if too_long
                else HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            )
        elif self._request_timer is None and (self._receiving or self._idle()):
            self._start_request_timer()

    def on_message_begin(self) -> None:
        """Begin a request, with its connection in the scope."""
        super().on_message_begin()
        self._receiving = self._in_head = True
        cast("Scope", self.scope)["extensions"] = {EXTENSION: self.connection}

    def on_headers_complete(self) -> None:
        """Check the head; raises ValueError, which ends parsing."""
        if self.parser.get_http_version() > "1.1":
            self._stop_parsing(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        if not self.url.startswith(b"/"):
            self.url = _ABSOLUTE.sub(b"/", self.url)
        if self._size > MAX_ADDRESS and len(self.url) > MAX_ADDRESS:
            self._stop_parsing(HTTPStatus.REQUEST_URI_TOO_LONG)
        if self._size > MAX_ADDRESS:
            sizes = (len(name) + len(value) + _HEADER_OVERHEAD for name, value in self.headers)
            if sum(sizes) > MAX_HEADERS:
                self._stop_parsing(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) != 1 or not _is_host(hosts[0]):
            self._check_hosts(hosts)
        super().on_headers_complete()
        self._in_head = False
        if len(self.pipeline) > MAX_PIPELINED:
            self._stop_parsing(HTTPStatus.BAD_REQUEST)

    def on_message_complete(self) -> None:
        """End the timeout of a complete request."""
        super().on_message_complete()
        self._receiving = False
        self._stop_request_timer()

    def on_response_complete(self) -> None:
        """Check from now on that the client reads the response."""
        super().on_response_complete()
        if self._read_timer:
            self._read_timer.cancel()
        self._start_read_timer()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._cycle = cycle
        if cycle.scope["http_version"] != "1.1":
            app = self._end_by_close(cycle, app)
        super()._start_asgi_task(cycle, app)

    def _end_by_close(self, cycle: RequestResponseCycle, app: ASGI3Application) -> ASGI3Application:
        """*app* for HTTP/1.0: the end of the connection is that of a response without a length.

        uvicorn would send chunks. A response that is not complete ends with a reset.
        """
        framed = True

        async def send_unframed(message: "Message") -> None:
            nonlocal framed
            if message["type"] == "http.response.start":
                framed = any(name == b"content-length" for name, _ in message["headers"])
                cycle.chunked_encoding = None if framed else False
            elif not framed:
                cycle.expected_content_length = len(message.get("body", b""))
            await cycle.send(message)  # type: ignore[arg-type]  # uvicorn's types of the same

        async def respond(scope: "Scope", receive: "Receive", _: "Send") -> None:
            try:
                await app(scope, receive, send_unframed)  # type: ignore[arg-type]
            finally:
                if not framed and not cycle.response_complete:
                    self.connection.reset()

        return respond  # type: ignore[return-value]

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 -- ours has more
        """Refuse what the parser rejected; uvicorn calls it while it handles the parser's error."""
        is_method = isinstance(sys.exception(), httptools.HttpParserInvalidMethodError)
        if _NEWER_VERSION.match(self._data):
            self._status = HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
        elif is_method and _METHOD.match(self._data):
            self._status = HTTPStatus.NOT_IMPLEMENTED
        self._refuse(self._status)

    def _idle(self) -> bool:
        """Whether every request has its response; only blank lines arrived since."""
        return self.cycle is None or self.cycle.response_complete

    def _check_hosts(self, hosts: list[bytes]) -> None:
        """Refuse any number of hosts but one, except for none in HTTP/1.0, and an invalid one."""
        if not hosts and self.parser.get_http_version() in {"0.9", "1.0"}:
            return
        reason = "is not a host with or without a port" if hosts else "is required"
        self._reasons = {"Host": "is given more than once" if len(hosts) > 1 else reason}
        self._stop_parsing(HTTPStatus.BAD_REQUEST)

    def _stop_parsing(self, status: HTTPStatus) -> None:
        self._status = status
        raise ValueError(status)

    def _start_request_timer(self) -> None:
        self._request_timer = self.loop.call_later(_REQUEST_TIMEOUT, self._request_timed_out)

    def _stop_request_timer(self) -> None:
        if self._request_timer:
            self._request_timer.cancel()
            self._request_timer = None

    def _request_timed_out(self) -> None:
        """408 for a partial request; a connection without one is closed."""
        self._request_timer = None
        if self._receiving:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        elif self._idle():
            self.transport.close()

    def _refuse(self, status: HTTPStatus) -> None:
        """Stop reading, and close after the response in progress, or after a problem document."""
        self._refused = True
        self._stop_request_timer()
        if self.transport.is_closing():
            return
        if not self._idle():
            self.cycle.keep_alive = False
        elif self._receiving and not self._in_head:  # a body: the request has its response
            self.transport.close()
        else:
            # Closed later: bytes that still arrive would reset the connection before the client
            # reads the response.
            self.transport.write(self._problem(status))
            self.transport.write_eof()
            self._request_timer = self.loop.call_later(_LINGER, self.transport.close)

    def _problem(self, status: HTTPStatus) -> bytes:
        request_id = uuid4().hex
        is_path = self._in_head and self.url.startswith(b"/")
        scope: Scope = {
            "request_id": request_id,
            "raw_path": self.url.partition(b"?")[0] if is_path else b"/",
            "headers": self.headers if self._in_head else [],
            "state": self.app_state,
        }
        reasons = self._reasons or _REASONS[status]
        response = problem_document(status, reasons, scope, {"Connection": "close"})
        security = SecurityHeaders(self.app, self.app_state["settings"].allowed_origins)
        headers = with_policy(
            [
                *self.server_state.default_headers,
                *response.raw_headers,
                (b"x-request-id", request_id.encode()),
                *security.headers_for(scope),
            ]
        )
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        return b"%s%s\r\n%s" % (STATUS_LINE[status], lines, response.body)

    def _start_read_timer(self) -> None:
        unread = self.transport.get_write_buffer_size()
        self._read_timer = None
        if unread:
            self._read_timer = self.loop.call_later(_READ_TIMEOUT, self._check_reading, unread)

    def _check_reading(self, unread: int) -> None:
        """Close the connection of a client that has read nothing since *unread* bytes were left."""
        if self.transport.get_write_buffer_size() < unread:
            self._start_read_timer()
        else:
            self._read_timer = None
            self.transport.abort()


@lru_cache(256)
def _is_host(value: bytes) -> bool:
    """Whether *value* is a host, which may be empty, with or without a port."""
    return _HOST.fullmatch(value) is not None
