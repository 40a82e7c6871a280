"""Around every request: its id, its measurements, and the answer when our own code fails."""

import re
import time
import uuid
from collections.abc import MutableMapping
from http import HTTPStatus
from typing import Any

from loguru import logger
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tracker.web.metrics import Metrics
from tracker.web.problems import problem

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Observed:
    """An application with `scope["request_id"]`, X-Request-ID on every answer, and metrics."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Wrap *app*."""
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        watch = _Watch(scope, send)
        try:
            await self._app(scope, receive, watch.send)
        except Exception:  # noqa: BLE001 -- the last stop: the client gets a 500, the log the rest
            logger.bind(request_id=scope["request_id"]).exception("a request failed")
            if watch.status is None:
                status = HTTPStatus.INTERNAL_SERVER_ERROR
                answer = problem(status, {"server": "an error of ours"}, scope["request_id"])
                await answer(scope, receive, watch.send)
        finally:
            watch.count(self._metrics)


class _Watch:
    """What is learnt of one request while its answer is sent."""

    def __init__(self, scope: Scope, send: Send) -> None:
        scope["request_id"] = _request_id(scope)
        self._scope = scope
        self._send = send
        self._started = time.perf_counter()
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            request_id = self._scope["request_id"].encode()
            message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
        await self._send(message)

    def count(self, metrics: Metrics) -> None:
        metrics.count(
            endpoint=_endpoint(self._scope),
            method=self._scope["method"],
            status=self.status or 0,
            seconds=time.perf_counter() - self._started,
        )


def _request_id(scope: MutableMapping[str, Any]) -> str:
    """The client's own id, if it is short and plain; a new one otherwise."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return uuid.uuid4().hex


def _endpoint(scope: MutableMapping[str, Any]) -> str:
    endpoint = scope.get("endpoint")
    return getattr(endpoint, "__name__", "none") if endpoint else "none"
