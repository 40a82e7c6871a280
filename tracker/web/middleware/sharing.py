"""Which other origins' pages may read answers in their visitors' browsers.

Nothing is said with cookies, and nothing can be changed: any header may be sent.
Source: https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from collections.abc import Collection

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tracker.web.middleware.headers import asked

_EXPOSED = (
    b"access-control-expose-headers",
    b"Link, ETag, X-Request-ID, Retry-After, RateLimit, RateLimit-Policy",
)
_METHOD = b"access-control-request-method"
_HEADERS = b"access-control-request-headers"
_REMEMBERED = 86_400  # seconds that a browser may keep the answer to its question beforehand


class Shared:
    """An application that the pages of some origins may read."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        """Wrap *app*; *origins* has "*" for any, and may be empty."""
        self._app = app
        self._origins = frozenset(origins)
        self._any = "*" in origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] != "http" or not self._origins:
            await self._app(scope, receive, send)
            return
        origin = b"*" if self._any else asked(scope, b"origin")
        allowed = self._any or origin.decode("latin-1") in self._origins

        async def send_shared(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._marks(origin, allowed=allowed)]
            await send(message)

        if allowed and scope["method"] == "OPTIONS" and asked(scope, _METHOD):
            await _permission(asked(scope, _HEADERS))(scope, receive, send_shared)
        else:
            await self._app(scope, receive, send_shared)

    def _marks(self, origin: bytes, *, allowed: bool) -> list[tuple[bytes, bytes]]:
        """Where any may read, all answers are alike: a cache need not tell origins apart."""
        marks = [(b"access-control-allow-origin", origin), _EXPOSED] if allowed else []
        return marks if self._any else [*marks, (b"vary", b"Origin")]


def _permission(wanted: bytes) -> Response:
    """The answer to a browser that asks beforehand; *wanted* are the headers that it would send."""
    headers = {
        "Access-Control-Allow-Methods": "GET, HEAD",
        "Access-Control-Max-Age": str(_REMEMBERED),
        "Vary": "Access-Control-Request-Headers",
    }
    if wanted:
        headers["Access-Control-Allow-Headers"] = wanted.decode("latin-1")
    return Response(None, 204, headers)
