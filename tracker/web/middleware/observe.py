"""Around every request: its id, its measurements, and the log when our own code fails."""

import os
import re
import time

from loguru import logger
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tracker.web.metrics import Metrics

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Observed:
    """An application with `scope["request_id"]`, X-Request-ID on every answer, and metrics."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Wrap *app*."""
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] == "http":
            await self._observe(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _observe(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["request_id"] = _request_id(scope)
        started = time.perf_counter()
        status = 0  # none was sent: the client went away

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                mark = (b"x-request-id", scope["request_id"].encode())
                message["headers"] = [*message["headers"], mark]
            await send(message)

        try:
            await self._app(scope, receive, send_marked)
        except Exception:  # noqa: BLE001 -- the last stop: the client has its 500, the log the rest
            logger.bind(request_id=scope["request_id"]).exception("a request failed")
        finally:
            self._metrics.count(
                endpoint=_endpoint(scope),
                method=scope["method"],
                status=status,
                seconds=time.perf_counter() - started,
            )


def _request_id(scope: Scope) -> str:
    """The client's own id, if it is short and plain; a new one otherwise."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return os.urandom(16).hex()


def _endpoint(scope: Scope) -> str:
    """The name of the function that served it; a path would be a label for each visitor's typo."""
    return getattr(scope.get("endpoint"), "__name__", "none")
