"""Answers that are given again from memory, while nothing they tell of has changed.

Only what many ask for is kept, for a second at most, and it counts only while the feed has heard of
no change of its index. So whoever has heard of a change, by the stream, is shown it; and while
nobody hears, because the listening connection stands still, no answer is older than that second.

These paths take most requests, so what is not kept takes a short way, too: from here to its
endpoint, and through no layer in between.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tracker.web.answer import problems
from tracker.web.middleware.answers import Answer, holds
from tracker.web.middleware.delivery import delivered

LONGEST = 1.0  # seconds that an answer is kept
MANY = 10  # times that a question is asked in a second, before its answer is kept
MOST = 16_000_000  # bytes of all that are kept, about

_PATIENCE = 0.25  # seconds to wait for what another request has asked for
_OVERHEAD = 1000  # bytes of an answer beside its body
_METHODS = {"GET", "HEAD"}
_STATUSES = {200, 304}
# What an answer depends on beside its address.
_HEADERS = {b"accept", b"accept-encoding", b"if-none-match"}

Key = tuple[object, ...]
Endpoint = Callable[[Request[Any]], Awaitable[Response]]


class Kept:
    """An application, some of whose endpoints are asked from here, and their answers kept."""

    def __init__(self, app: ASGIApp, endpoints: Mapping[str, Endpoint]) -> None:
        """Wrap *app*, which has *endpoints* at these paths; they say what an answer tells of."""
        self._app = app
        self._endpoints = endpoints
        self._answers: dict[Key, Answer] = {}
        self._coming: dict[Key, asyncio.Event] = {}
        self._times: dict[Key, int] = {}
        self._size = 0
        self._swept = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        endpoint = self._endpoints.get(scope.get("path", ""))
        if endpoint is None or scope["method"] not in _METHODS:
            await self._app(scope, receive, send)
            return
        scope["endpoint"] = endpoint
        key = _key(scope)
        answer = self._valid(key, scope)
        if answer is None and key in self._coming:
            answer = await self._awaited(key, scope)
        if answer is None:
            request = Request(scope, receive)
            ask = self._kept if self._are_many(key) else self._read
            answer = await ask(key, request, send)
        await send(
            {"type": "http.response.start", "status": answer.status, "headers": answer.headers}
        )
        await send({"type": "http.response.body", "body": answer.body})

    def _valid(self, key: Key, scope: Scope) -> Answer | None:
        answer = self._answers.get(key)
        if answer is None or asyncio.get_running_loop().time() >= answer.until:
            return None
        return answer if holds(answer.subject, scope["state"]["streams"].feed) else None

    async def _awaited(self, key: Key, scope: Scope) -> Answer | None:
        """What another request is about to get; None if that takes long, or cannot be kept."""
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._coming[key].wait()
        except TimeoutError:
            return None
        return self._valid(key, scope)

    def _are_many(self, key: Key) -> bool:
        """Whether those who ask so are many, with this one."""
        now = asyncio.get_running_loop().time()
        if now - self._swept > LONGEST:
            self._sweep(now)
        times = self._times[key] = self._times.get(key, 0) + 1
        return times > MANY

    async def _kept(self, key: Key, request: Request[Any], send: Send) -> Answer:
        """An answer that is kept, if it can be, and for which others wait."""
        coming = self._coming.setdefault(key, asyncio.Event())
        try:
            answer = await self._read(key, request, send)
            size = self._size + len(answer.body) + _OVERHEAD
            if answer.subject and answer.status in _STATUSES and size <= MOST:
                self._answers[key], self._size = answer, size
            return answer
        finally:
            coming.set()
            self._coming.pop(key, None)

    async def _read(self, _: Key, request: Request[Any], send: Send) -> Answer:
        until = asyncio.get_running_loop().time() + LONGEST
        response = await self._response(request, send)
        whole = delivered(request.scope, response)
        return Answer(*whole, request.scope.get("tells_of"), until)

    async def _response(self, request: Request[Any], send: Send) -> Response:
        """As Starlette has it: the answer to an error, too; what fails is answered and raised."""
        try:
            endpoint: Endpoint = request.scope["endpoint"]
            return await endpoint(request)
        except tuple(problems.STATUS) as error:
            return await problems.refuse(request, error)
        except Exception as error:
            await (await problems.fail(request, error))(request.scope, request.receive, send)
            raise

    def _sweep(self, now: float) -> None:
        self._answers = {key: each for key, each in self._answers.items() if now < each.until}
        self._size = sum(len(each.body) + _OVERHEAD for each in self._answers.values())
        self._times = {}
        self._swept = now


def _key(scope: Scope) -> Key:
    asked = [pair for pair in scope["headers"] if pair[0] in _HEADERS]
    return scope["path"], scope["query_string"], *asked
