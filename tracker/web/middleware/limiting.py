"""How many requests each client may make, and how it is told.

A stream counts once, when it opens.
Source: RFC 6585, section 4 (429); draft-ietf-httpapi-ratelimit-headers-09 (both RateLimit fields).
"""

from http import HTTPStatus
from ipaddress import IPv6Address, ip_address

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tracker.web.answer.problems import problem
from tracker.web.asked.counted import COUNTED
from tracker.web.metrics import Metrics
from tracker.web.middleware.quota import Left, Quota

_HOST_BITS = 64  # of an IPv6 address: who has one has all of its network


class Limited:
    """An application each of whose clients has a quota."""

    def __init__(self, app: ASGIApp, quota: Quota, api_version: str, metrics: Metrics) -> None:
        """Wrap *app*, whose paths are served bare and under */api_version*."""
        self._app = app
        self._quota = quota
        self._prefix = f"/{api_version}"
        self._metrics = metrics
        policy = f'"client";q={quota.amount};w={quota.window}'
        self._policy = (b"ratelimit-policy", policy.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] != "http":
            await self._live(scope, receive, send)
        elif scope["path"].removeprefix(self._prefix).startswith(COUNTED):
            await self._serve(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            await self._quota.close()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        left = await self._quota.take(client_of(scope))
        if left is None:
            self._metrics.count_uncounted()
            await self._app(scope, receive, send)
            return
        now = b'"client";r=%d;t=%d' % (left.remaining, left.seconds)
        told = [self._policy, (b"ratelimit", now)]

        async def send_told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *told]
            await send(message)

        served = self._app if left.allowed else self._refusal(scope["request_id"], left)
        await served(scope, receive, send_told)

    def _refusal(self, request_id: str, left: Left) -> ASGIApp:
        limit = f"{self._quota.amount} requests in {self._quota.window} seconds"
        return problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            {"client": f"has made too many requests: {limit} are served"},
            request_id,
            {"Retry-After": str(left.seconds)},
        )


def client_of(scope: Scope) -> str:
    """Whose requests are counted together: an IPv4 address, or the network of an IPv6 one.

    What has no address, the client of a socket's file say, is one client.
    """
    try:
        address = ip_address((scope["client"] or ("",))[0])
    except ValueError:
        return "unknown"
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> _HOST_BITS << _HOST_BITS))
