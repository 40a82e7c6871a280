"""Answers that are given again from memory, while nothing they tell of has changed.

Only what several ask for at once is kept, for a second at most, and it counts only while the feed
has heard of no change of its index. So whoever has heard of a change, by the stream, is shown it;
whoever asks alone is shown what is stored, unless others have just met over the same; and while
nobody hears, because the listening connection stands still, no answer is older than that second.

These paths take most requests, so what is not kept takes a short way, too: from here to its
endpoint, and through no layer in between.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tracker.web.answer import problems
from tracker.web.middleware.answers import Answer, holds
from tracker.web.middleware.delivery import delivered

LONGEST = 1.0  # seconds that an answer is kept
OTHERS = 1  # who wait for an answer that is being read, for it to be kept
MOST = 16_000_000  # bytes of all that are kept, about

_PATIENCE = 0.25  # seconds to wait for what another request has asked for
_OVERHEAD = 1000  # bytes of an answer beside its body
_METHODS = {"GET", "HEAD"}
_STATUSES = {200, 304}
# What an answer depends on beside its address.
_HEADERS = {b"accept", b"accept-encoding", b"if-none-match"}

Key = tuple[object, ...]
Endpoint = Callable[[Request[Any]], Awaitable[Response]]


@dataclass(slots=True)
class _Coming:
    """An answer that is being read, and how many others wait for it."""

    others: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Kept:
    """An application, some of whose endpoints are asked from here, and their answers kept."""

    def __init__(self, app: ASGIApp, endpoints: Mapping[str, Endpoint]) -> None:
        """Wrap *app*, which has *endpoints* at these paths; they say what an answer tells of."""
        self._app = app
        self._endpoints = endpoints
        self._answers: dict[Key, Answer] = {}
        self._coming: dict[Key, _Coming] = {}
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
            answer = await self._asked(key, Request(scope, receive), send)
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
        coming = self._coming[key]
        coming.others += 1
        try:
            async with asyncio.timeout(_PATIENCE):
                await coming.over.wait()
        except TimeoutError:
            return None
        return self._valid(key, scope)

    async def _asked(self, key: Key, request: Request[Any], send: Send) -> Answer:
        """An answer that is read; kept if others wait for it."""
        self._sweep()
        coming = self._coming.setdefault(key, _Coming())
        try:
            answer = await self._read(request, send)
            if coming.others >= OTHERS and answer.subject and answer.status in _STATUSES:
                self._keep(key, answer)
            return answer
        finally:
            coming.over.set()
            self._coming.pop(key, None)

    def _keep(self, key: Key, answer: Answer) -> None:
        """Keep *answer*, unless that would be too much."""
        size = self._size + len(answer.body) + _OVERHEAD
        if size <= MOST:
            self._answers[key], self._size = answer, size

    def _sweep(self) -> None:
        """Forget what counts no more, once a second."""
        now = asyncio.get_running_loop().time()
        if now - self._swept > LONGEST:
            self._answers = {key: each for key, each in self._answers.items() if now < each.until}
            self._size = sum(len(each.body) + _OVERHEAD for each in self._answers.values())
            self._swept = now

    async def _read(self, request: Request[Any], send: Send) -> Answer:
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


def _key(scope: Scope) -> Key:
    asked = [pair for pair in scope["headers"] if pair[0] in _HEADERS]
    return scope["path"], scope["query_string"], *asked
