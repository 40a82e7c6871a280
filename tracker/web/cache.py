"""The response cache: concurrent identical requests share one response.

It is cached if others waited while it was computed, for a second at most, and only until the feed
reads a change of its index. Therefore a client that has received a change from the stream gets it
by REST too, and a single client always gets what is stored; while the feed is not current, no
response is shared.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tracker.web.responses import DataResponse
from tracker.web.stream.feed import Feed

MAX_AGE = 1.0  # seconds that a response is shared
MIN_WAITING = 1  # requests that wait for a response, for it to be cached
MAX_SIZE = 16_000_000  # bytes of all cached responses, about

_MAX_WAIT = 0.25  # seconds to wait for the response of another request
_OVERHEAD = 1000  # bytes of a response besides its body
# The headers that a response depends on, besides the URL.
_KEY_HEADERS = {b"accept", b"accept-encoding", b"if-match", b"if-none-match"}

Key = tuple[object, ...]
Handler = Callable[[Request[Any]], Awaitable[Response]]


@dataclass(slots=True)
class _Computation:
    """A response that is being computed, and how many requests wait for it."""

    waiting: int = 0
    finished: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class _Entry:
    response: DataResponse
    ticker: str
    revision: int
    expires: float  # on the event loop's clock
    size: int


class ResponseCache:
    """ASGI middleware: concurrent requests share a response, while its index does not change.

    It calls its endpoints itself, past Starlette's routing and error handling. That saves a third
    of the CPU time of a cached response (0.04 instead of 0.06 ms), and a tenth of that of a random
    page (0.17 instead of 0.19 ms).
    """

    def __init__(self, app: ASGIApp, handlers: Mapping[str, Handler]) -> None:
        """Wrap *app*; *handlers* respond to GET and HEAD of these paths."""
        self._app = app
        self._handlers = handlers
        self._entries: dict[Key, _Entry] = {}
        self._computations: dict[Key, _Computation] = {}
        self._size = 0
        self._next_purge = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        handler = self._handlers.get(scope.get("path", ""))
        if handler is None or scope["method"] not in {"GET", "HEAD"}:
            await self._app(scope, receive, send)
            return
        scope["endpoint"] = handler  # as Starlette's routing does
        headers = [pair for pair in scope["headers"] if pair[0] in _KEY_HEADERS]
        key = (scope["path"], scope["query_string"], *headers)
        response = self._find_valid(key, scope["state"]["feed"])
        if response is None:
            response = await self._share(key, Request(scope, receive), handler)
        await response(scope, receive, send)

    async def _share(self, key: Key, request: Request[Any], handler: Handler) -> Response:
        """The response that another request computes, or that of *handler*."""
        if computation := self._computations.get(key):
            computation.waiting += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(_MAX_WAIT):
                    await computation.finished.wait()
                if response := self._find_valid(key, request.scope["state"]["feed"]):
                    return response

        requested = asyncio.get_running_loop().time()
        computation = self._computations.setdefault(key, _Computation())
        try:
            computed = await handler(request)
            if computation.waiting >= MIN_WAITING and isinstance(computed, DataResponse):
                self._store(key, computed, requested)
            return computed
        finally:
            computation.finished.set()
            self._computations.pop(key, None)

    def _find_valid(self, key: Key, feed: Feed) -> Response | None:
        entry = self._entries.get(key)
        if entry is None or asyncio.get_running_loop().time() >= entry.expires:
            return None
        unchanged = feed.up_to_date and feed.revision(entry.ticker) == entry.revision
        return entry.response if unchanged else None

    def _store(self, key: Key, response: DataResponse, requested: float) -> None:
        """Cache *response*, if there is room; remove expired entries once a second."""
        if requested >= self._next_purge:
            valid = {key: each for key, each in self._entries.items() if requested < each.expires}
            self._entries = valid
            self._size = sum(each.size for each in valid.values())
            self._next_purge = requested + MAX_AGE
        size = len(response.body) + _OVERHEAD
        if response.depends_on is None or self._size + size > MAX_SIZE:
            return
        ticker, revision = response.depends_on.ticker, response.depends_on.revision
        self._entries[key] = _Entry(response, ticker, revision, requested + MAX_AGE, size)
        self._size += size
