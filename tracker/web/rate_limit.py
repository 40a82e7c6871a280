"""Requests per client, counted in Redis for all processes, in a sliding window.

A stream counts as one request, OPTIONS (a preflight, say) as none. Every key expires after two
windows at most; one that would later, because Redis' clock was set back, is deleted.
Source: RFC 6585, section 4 (429); draft-ietf-httpapi-ratelimit-headers-09 (both RateLimit fields).
"""

import asyncio
import math
import time
from functools import partial
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address
from typing import Any, NamedTuple

from limits import parse
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from loguru import logger
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import RedisError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tracker.redis import connect_counts, describe_redis_error
from tracker.settings import Settings
from tracker.web.endpoint import RATE_LIMITED
from tracker.web.instrumentation import Metrics
from tracker.web.problems import problem_document

_TIMEOUT = 0.25  # seconds that a request waits for Redis
_REDIS_TIMEOUT = 2.0  # seconds for a connection; one to a distant server, with TLS, takes longer
_MAX_FAILURES = 3  # in a row: a single late response may be our own delay
_PAUSE = 5.0  # seconds until Redis is tried again
_CONNECTIONS = 20
_PREFIX = "tracker:requests"
_HOST_BITS = 64  # of an IPv6 address: a client has all addresses of its network


class Remaining(NamedTuple):
    """The remaining requests of a client.

    allowed: whether this request was within the limit.
    requests: how many more are, now.
    seconds: whole ones, until there are more.
    """

    allowed: bool
    requests: int
    seconds: int


class RateLimit:
    """ASGI middleware that limits the requests of each client, while Redis is available."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        """Wrap *app*, whose paths are served bare and under the API's version."""
        self._app = app
        self._root_path = settings.web_root_path
        self._version = f"/{settings.api_version}"
        self._metrics = metrics
        self._counter = RequestCounter(settings)
        policy = f'"client";q={self._counter.amount};w={self._counter.window}'
        self._policy = (b"ratelimit-policy", policy.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, partial(self._close_and_send, send))
            return
        path = scope["path"].removeprefix(self._root_path).removeprefix(self._version)
        if scope["method"] == "OPTIONS" or not path.startswith(RATE_LIMITED):
            await self._app(scope, receive, send)
            return
        remaining = await self._counter.take(client_of(scope))
        if remaining is None:
            self._metrics.uncounted.inc()
            await self._app(scope, receive, send)
            return
        now = b'"client";r=%d;t=%d' % (remaining.requests, remaining.seconds)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], self._policy, (b"ratelimit", now)]
            await send(message)

        app = self._app
        if not remaining.allowed:
            limit = f"{self._counter.amount} requests in {self._counter.window} seconds"
            app = problem_document(
                HTTPStatus.TOO_MANY_REQUESTS,
                {"client": f"has made too many requests: the limit is {limit}"},
                scope,
                {"Retry-After": str(remaining.seconds)},
            )
        await app(scope, receive, send_with_headers)

    async def _close_and_send(self, send: Send, message: Message) -> None:
        """Close the connections first: the server cancels what runs after the shutdown."""
        if message["type"].startswith("lifespan.shutdown."):
            await self._counter.close()
        await send(message)


def client_of(scope: Scope) -> str:
    """The key of a client: an IPv4 address, or the network of an IPv6 address.

    Clients without an address, such as those of a Unix socket, are one client.
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


class RequestCounter:
    """Counts requests; amount, window: how many a client may make in how many seconds."""

    def __init__(self, settings: Settings) -> None:
        """As RATE_LIMIT of *settings* says."""
        assert settings.rate_limit  # the caller checks
        self._rate = parse(settings.rate_limit)
        self.amount = self._rate.amount
        self.window = self._rate.get_expiry()
        self._redis = connect_counts(settings, _REDIS_TIMEOUT, _CONNECTIONS)
        self._storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix=_PREFIX,
            connection_pool=self._redis.connection_pool,  # type: ignore[arg-type]  # its docs say so
        )
        self._limiter = SlidingWindowCounterRateLimiter(self._storage)
        self._counting = set[asyncio.Task[Any]]()
        self._failures = 0  # in a row
        self._next_attempt = 0.0  # on the event loop's clock

    async def take(self, client: str) -> Remaining | None:
        """Count a request of *client*; None while Redis does not respond."""
        now = asyncio.get_running_loop().time()
        unavailable = self._failures >= _MAX_FAILURES
        if unavailable:
            if now < self._next_attempt:
                return None
            self._next_attempt = now + _PAUSE  # meanwhile no other request waits
        try:
            remaining = await self._count(client)
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            self._failures += 1
            if self._failures == _MAX_FAILURES:
                why = str(error) or "it times out"
                if isinstance(error, RedisError):
                    why = describe_redis_error(error)
                logger.warning(
                    "requests are not limited, because Redis does not count them: {}", why
                )
                self._next_attempt = now + _PAUSE
            return None
        if unavailable:
            logger.info("requests are limited again")
        self._failures = 0
        return remaining

    async def _count(self, client: str) -> Remaining:
        """Count a request. Raises TimeoutError, RedisError.

        After the timeout it goes on, so that a slow connection serves later requests: a cancelled
        one would never be established.
        """

        async def count() -> Remaining:
            allowed = await self._limiter.hit(self._rate, client)
            if not allowed and await self._expires_too_late(client):
                await self._limiter.clear(self._rate, client)
                allowed = await self._limiter.hit(self._rate, client)
            reset, left = await self._limiter.get_window_stats(self._rate, client)
            return Remaining(allowed, left, max(1, math.ceil(reset - time.time())))

        task = asyncio.create_task(count())
        self._counting.add(task)
        task.add_done_callback(self._end_counting)
        if not (await asyncio.wait([task], timeout=_TIMEOUT))[0]:
            raise TimeoutError
        return task.result()

    async def _expires_too_late(self, client: str) -> bool:
        """Whether a count of *client* would outlast two windows. Raises RedisError."""
        key = self._rate.key_for(client)
        window = await self._storage.get_sliding_window(key, self.window)
        _, previous_seconds, _, current_seconds = window
        return max(previous_seconds, current_seconds) > 2 * self.window

    def _end_counting(self, task: asyncio.Task[Any]) -> None:
        self._counting.discard(task)
        if not task.cancelled():
            task.exception()  # the request that waited has raised it, or gave up

    async def close(self) -> None:
        """Close all connections, when no request is being counted."""
        if self._counting:
            await asyncio.wait(self._counting, timeout=_REDIS_TIMEOUT)
        pool = self._redis.connection_pool
        await pool.disconnect()
        if isinstance(pool, SentinelConnectionPool):
            await pool.sentinel_manager.aclose()
