"""Around every request: what its answer says to browsers.

That it is nothing but what it is, and which other origins' pages may read it in their visitors'
browsers. Nothing is said with cookies, and nothing can be changed: any header may be sent.
Source: https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from collections.abc import Collection

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tracker.web.answer.safety import DATA_POLICY, POLICY, RawHeaders, marks
from tracker.web.middleware.headers import asked

_ALLOWED = b"access-control-allow-origin"
_EXPOSED = (
    b"access-control-expose-headers",
    b"Link, ETag, X-Request-ID, Retry-After, RateLimit, RateLimit-Policy",
)
_METHOD = b"access-control-request-method"
_HEADERS = b"access-control-request-headers"
_REMEMBERED = 86_400  # seconds that a browser may keep the answer to its question beforehand


class Marked:
    """An application whose answers are safe in browsers, and that the pages of some may read."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        """Wrap *app*; *origins* has "*" for any, and may be empty."""
        self._app = app
        self._origins = frozenset(origin.encode("latin-1") for origin in origins)
        self._safety = marks(origins)
        self._open = [(_ALLOWED, b"*"), _EXPOSED, *self._safety]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        added = self._open if b"*" in self._origins else self._chosen(scope)

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                message["headers"] = [*headers, *added, *_policy(headers)]
            await send(message)

        if scope["method"] == "OPTIONS" and asked(scope, _METHOD) and self._allows(scope):
            await _permission(asked(scope, _HEADERS))(scope, receive, send_marked)
        else:
            await self._app(scope, receive, send_marked)

    def _chosen(self, scope: Scope) -> RawHeaders:
        """Where some may read, a cache has to tell origins apart."""
        allowed = [(_ALLOWED, asked(scope, b"origin")), _EXPOSED] if self._allows(scope) else []
        vary = [(b"vary", b"Origin")] if self._origins else []
        return [*allowed, *vary, *self._safety]

    def _allows(self, scope: Scope) -> bool:
        return not self._origins.isdisjoint((b"*", asked(scope, b"origin")))


def _policy(headers: RawHeaders) -> RawHeaders:
    """That of data; pages for people have one of their own."""
    for name, _ in headers:
        if name == POLICY:
            return []
    return [DATA_POLICY]


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
