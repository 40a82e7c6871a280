"""CORS and security headers of every response.

Any request header is allowed, because the API is read-only and ignores cookies.
Source: https://fetch.spec.whatwg.org/#http-cors-protocol and its cross-origin-resource-policy,
Content Security Policy Level 3, https://owasp.org/www-project-secure-headers.
"""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tracker.web.responses import request_header

RawHeaders = list[tuple[bytes, bytes]]

_POLICY = b"content-security-policy"
_DATA_POLICY = b"default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
_EXPOSED = (
    b"access-control-expose-headers",
    b"Link, Missing, ETag, X-Request-ID, Retry-After, RateLimit, RateLimit-Policy",
)
_PREFLIGHT_AGE = 86_400  # seconds that a browser may cache a preflight


class SecurityHeaders:
    """ASGI middleware: security headers on every response, and CORS for some origins."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        """Wrap *app*; pages of *origins* may read its responses: "*" is any, empty is none."""
        self._app = app
        self._origins = frozenset(origin.encode("latin-1") for origin in origins)
        reach = b"cross-origin" if "*" in origins else b"same-origin"
        self._static = [
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-resource-policy", reach),
        ]
        self._any_origin = [(b"access-control-allow-origin", b"*"), _EXPOSED, *self._static]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        added = self.headers_for(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = with_policy([*message["headers"], *added])
            await send(message)

        app = self._app
        if scope["method"] == "OPTIONS" and self._is_allowed(scope):
            headers = Headers(scope=scope)
            if headers.get("access-control-request-method"):
                requested = headers.getlist("access-control-request-headers")
                app = _preflight_response(",".join(requested))
        await app(scope, receive, send_with_headers)

    def headers_for(self, scope: Scope) -> RawHeaders:
        """The headers for the request's origin; with several allowed, caches must vary by it."""
        if b"*" in self._origins:
            return self._any_origin
        headers = list(self._static)
        if self._origins:
            headers.append((b"vary", b"Origin"))
        if self._is_allowed(scope):
            headers += [
                (b"access-control-allow-origin", request_header(scope, b"origin")),
                _EXPOSED,
            ]
        return headers

    def _is_allowed(self, scope: Scope) -> bool:
        return not self._origins.isdisjoint((b"*", request_header(scope, b"origin")))


def with_policy(headers: RawHeaders) -> RawHeaders:
    """*headers* with the policy of data, unless they are of a page, which has its own.

    Data that is opened as a document may load nothing, and may not be framed.
    """
    for name, _ in headers:
        if name == _POLICY:
            return headers
    return [*headers, (_POLICY, _DATA_POLICY)]


def _preflight_response(requested_headers: str) -> Response:
    headers = {
        "Access-Control-Allow-Methods": "GET, HEAD",
        "Access-Control-Max-Age": str(_PREFLIGHT_AGE),
        "Vary": "Access-Control-Request-Headers",
    }
    if requested_headers:
        headers["Access-Control-Allow-Headers"] = requested_headers
    return Response(None, 204, headers)
