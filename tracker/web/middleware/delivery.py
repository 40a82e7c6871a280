"""How an answer that is whole goes out: with its ETag, or as 304, and with gzip where it helps.

A stream, which has no length, passes as it is. Headers stay bytes here: every answer passes.
Source: RFC 9110, sections 8.8.3 (each coding has its own ETag), 12.5.5 (Vary), 13.1.2 (the 304).
"""

import gzip
import re
from hashlib import blake2b

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tracker.web.answer.negotiation import gzipped
from tracker.web.answer.safety import RawHeaders
from tracker.web.middleware.headers import asked

_OK = 200
_NOT_MODIFIED = 304
_WORTH_IT = 1000  # bytes; below, gzip's own costs are most of it
_LEVEL = 4  # a page in a fraction of a millisecond; higher ones save little
_TAGS = re.compile(rb'"[^"]*"|\*')
_OF_BODY = (b"content-type", b"content-length")

Headers = dict[bytes, bytes]


class Delivered:
    """An application whose answers can be kept, and asked about later."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap *app*."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start: Message | None = None

        async def send_whole(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_whole(message):
                start = message
            elif start is not None:
                first, start = start, None
                body = _finish(scope, first, message.get("body", b""))
                await send(first)
                await send({"type": "http.response.body", "body": body})
            else:
                await send(message)

        await self._app(scope, receive, send_whole)


def delivered(scope: Scope, response: Response) -> tuple[int, RawHeaders, bytes]:
    """The status, the headers and the body that a *response* goes out with."""
    start: Message = {"status": response.status_code, "headers": response.raw_headers}
    body = _finish(scope, start, bytes(response.body)) if _is_whole(start) else response.body
    return start["status"], start["headers"], bytes(body)


def _is_whole(start: Message) -> bool:
    """Whether it is good, and its body comes in one piece: then its length is known."""
    return start["status"] == _OK and any(name == b"content-length" for name, _ in start["headers"])


def _finish(scope: Scope, start: Message, body: bytes) -> bytes:
    """Complete the headers of *start*; what is left of *body* to be sent."""
    headers: Headers = dict(start["headers"])  # no name is there twice
    vary = headers.get(b"vary")
    headers[b"vary"] = vary + b", Accept-Encoding" if vary else b"Accept-Encoding"
    kept = headers.setdefault(b"cache-control", b"no-cache")
    packs = len(body) >= _WORTH_IT and gzipped(asked(scope, b"accept-encoding").decode("latin-1"))
    if kept != b"no-store":
        headers[b"etag"] = tag = _tag(headers, body, packed=packs)
        if _is_known(tag, asked(scope, b"if-none-match")):
            start["status"], body, packs = _NOT_MODIFIED, b"", False
            headers = {name: value for name, value in headers.items() if name not in _OF_BODY}
    if packs:
        body = gzip.compress(body, _LEVEL, mtime=0)
        headers[b"content-encoding"], headers[b"content-length"] = b"gzip", b"%d" % len(body)
    start["headers"] = list(headers.items())
    return body


def _tag(headers: Headers, body: bytes, *, packed: bool) -> bytes:
    """Of the bytes that are sent; the endpoint may have one for the body."""
    own = headers.get(b"etag", b"").strip(b'"')
    tag = own or blake2b(body, digest_size=16).hexdigest().encode()
    return b'"%s-gzip"' % tag if packed else b'"%s"' % tag


def _is_known(tag: bytes, if_none_match: bytes) -> bool:
    """Whether the client has it; a weak tag is as good as a strong one."""
    return bool(if_none_match) and not {tag, b"*"}.isdisjoint(_TAGS.findall(if_none_match))
