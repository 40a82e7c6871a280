"""Caching: validators and compression of every response, and responses that requests share.

A response is shared only among requests that meet: it is kept if others waited while it was
computed, for a second at most, and it is valid only while the feed has heard of no change of its
index. So a client that has seen a change in the stream gets it by REST too, and a single client
always gets what is stored; while the feed hears nothing, no response is older than that second.
Source: RFC 9110, sections 8.8.3 (each coding has its own ETag), 12.5.5 (Vary), 13.1.2 (304).
"""

import asyncio
import gzip
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tracker.web.responses import DataResponse, accepts_gzip
from tracker.web.stream.feed import Feed

MAX_AGE = 1.0  # seconds that a response is shared
MIN_WAITING = 1  # requests that wait for a response, for it to be kept
MAX_SIZE = 16_000_000  # bytes of all responses that are kept, about

_MIN_COMPRESSED = 1000  # bytes; the headers of gzip cost more than it saves below
_GZIP_LEVEL = 4  # a page in a fraction of a millisecond; higher levels save little
_MAX_WAIT = 0.25  # seconds to wait for the response of another request
_OVERHEAD = 1000  # bytes of a response besides its body
_ETAGS = re.compile(rb'"[^"]*"|\*')
# What a response depends on besides its URL.
_KEY_HEADERS = {b"accept", b"accept-encoding", b"if-none-match"}

Key = tuple[object, ...]
Handle = Callable[[Request[Any]], Awaitable[Response]]


def finish(scope: Scope, response: Response) -> Response:
    """*response* with its ETag, or as 304, and compressed where the client accepts that.

    Only a 200 with a body of known length: not problems, streams or exports.
    """
    headers = dict(response.raw_headers)  # no name is repeated
    if response.status_code != 200 or b"content-length" not in headers:  # noqa: PLR2004
        return response
    vary = headers.get(b"vary")
    headers[b"vary"] = vary + b", Accept-Encoding" if vary else b"Accept-Encoding"
    body = bytes(response.body)
    compressed = len(body) >= _MIN_COMPRESSED and accepts_gzip(
        request_header(scope, b"accept-encoding").decode("latin-1")
    )
    if headers.setdefault(b"cache-control", b"no-cache") != b"no-store":
        digest = blake2b(body, digest_size=16).hexdigest().encode()
        headers[b"etag"] = etag = b'"%s-gzip"' % digest if compressed else b'"%s"' % digest
        known = _ETAGS.findall(request_header(scope, b"if-none-match"))
        if etag in known or b"*" in known:  # a weak validator compares as a strong one here
            del headers[b"content-type"], headers[b"content-length"]
            response.status_code, response.body = 304, b""
            response.raw_headers = list(headers.items())
            return response
    if compressed:
        response.body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
        headers[b"content-encoding"] = b"gzip"
        headers[b"content-length"] = b"%d" % len(response.body)
    response.raw_headers = list(headers.items())
    return response


def request_header(scope: Scope, name: bytes) -> bytes:
    """The header of that lower-case *name*; several lines are joined. Empty if there is none."""
    return b",".join(value for each, value in scope["headers"] if each == name)


@dataclass(slots=True)
class _Computation:
    """A response that is being computed, and how many requests wait for it."""

    waiting: int = 0
    finished: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class _Entry:
    response: DataResponse
    expires: float  # on the event loop's clock

    @property
    def size(self) -> int:
        return len(self.response.body) + _OVERHEAD


class ResponseCache:
    """ASGI middleware that shares the responses of endpoints which allow it.

    It calls those endpoints itself, past Starlette's routing and error handling, which takes a
    quarter of the time of a random page.
    """

    def __init__(self, app: ASGIApp, handlers: Mapping[str, Handle]) -> None:
        """Wrap *app*, in which *handlers* are what endpoints that share responses do, by path."""
        self._app = app
        self._handlers = handlers
        self._entries: dict[Key, _Entry] = {}
        self._computations: dict[Key, _Computation] = {}
        self._size = 0
        self._next_purge = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        handle = self._handlers.get(scope.get("path", ""))
        if handle is None or scope["method"] not in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        scope["endpoint"] = handle  # as Starlette's routing does
        request = Request[Any](scope, receive)
        headers = [pair for pair in scope["headers"] if pair[0] in _KEY_HEADERS]
        key = (scope["path"], scope["query_string"], *headers)
        feed: Feed = scope["state"]["feed"]
        response = await self._shared(key, feed)
        if response is None:
            response = await self._compute(key, handle, request)
        await response(scope, receive, send)

    async def _shared(self, key: Key, feed: Feed) -> Response | None:
        """The response that is kept, or that another request is about to get."""
        response = self._valid(key, feed)
        computation = self._computations.get(key)
        if response is not None or computation is None:
            return response
        computation.waiting += 1
        try:
            async with asyncio.timeout(_MAX_WAIT):
                await computation.finished.wait()
        except TimeoutError:
            return None
        return self._valid(key, feed)

    def _valid(self, key: Key, feed: Feed) -> Response | None:
        entry = self._entries.get(key)
        if entry is None or asyncio.get_running_loop().time() >= entry.expires or not feed.settled:
            return None
        dependency = entry.response.depends_on
        assert dependency is not None  # others are not kept
        unchanged = feed.revision(dependency.ticker) == dependency.revision
        return entry.response if unchanged else None

    async def _compute(self, key: Key, handle: Handle, request: Request[Any]) -> Response:
        now = asyncio.get_running_loop().time()
        self._purge(now)
        computation = self._computations.setdefault(key, _Computation())
        try:
            response = await handle(request)
            if computation.waiting >= MIN_WAITING and isinstance(response, DataResponse):
                self._keep(key, response, now + MAX_AGE)
            return response
        finally:
            computation.finished.set()
            self._computations.pop(key, None)

    def _keep(self, key: Key, response: DataResponse, expires: float) -> None:
        entry = _Entry(response, expires)
        if response.depends_on is not None and self._size + entry.size <= MAX_SIZE:
            self._entries[key] = entry
            self._size += entry.size

    def _purge(self, now: float) -> None:
        """Remove what has expired, once a second."""
        if now >= self._next_purge:
            self._entries = {key: each for key, each in self._entries.items() if now < each.expires}
            self._size = sum(each.size for each in self._entries.values())
            self._next_purge = now + MAX_AGE
