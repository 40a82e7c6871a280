"""Around every request: its id, its metrics, and the log of unexpected errors."""

import os
import re
import time

from loguru import logger
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tracker.web.metrics import Metrics

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Instrumentation:
    """ASGI middleware that sets `scope["request_id"]` and X-Request-ID, and counts requests."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Wrap *app*."""
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["request_id"] = _request_id(scope)
        started = time.perf_counter()
        status = 0  # no response was sent: the client has disconnected

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                header = (b"x-request-id", scope["request_id"].encode())
                message["headers"] = [*message["headers"], header]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:  # noqa: BLE001 -- only the server is outside
            logger.bind(request_id=scope["request_id"]).exception("a request failed")
        finally:
            # The endpoint whose method `handle` served it: a path would be a label for each typo.
            endpoint = getattr(scope.get("endpoint"), "__self__", None)
            self._metrics.count(
                endpoint=getattr(endpoint, "name", "none"),
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
