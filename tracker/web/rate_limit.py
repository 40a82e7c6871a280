"""Requests per client, counted in Redis for all processes, in a sliding window.

A stream counts as one request. Every key expires after two windows at most.
Source: RFC 6585, section 4 (429); draft-ietf-httpapi-ratelimit-headers-09 (both RateLimit fields).
"""

import asyncio
import math
import time
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address
from typing import Any, NamedTuple

from limits import parse
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from loguru import logger
from redis.asyncio import BlockingConnectionPool, Redis, Sentinel
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tracker.settings import Settings
from tracker.web.endpoint import RATE_LIMITED
from tracker.web.instrumentation import Metrics
from tracker.web.problems import problem_document

_TIMEOUT = 0.25  # seconds that a request waits for Redis
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
        self._prefix = f"/{settings.api_version}"
        self._metrics = metrics
        self._counter = RequestCounter(settings)
        policy = f'"client";q={self._counter.amount};w={self._counter.window}'
        self._policy = (b"ratelimit-policy", policy.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] != "http":
            try:
                await self._app(scope, receive, send)
            finally:
                await self._counter.close()
            return
        if not scope["path"].removeprefix(self._prefix).startswith(RATE_LIMITED):
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
                scope["request_id"],
                {"Retry-After": str(remaining.seconds)},
            )
        await app(scope, receive, send_with_headers)


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
        self._redis = _connect(settings)
        storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix=_PREFIX,
            connection_pool=self._redis.connection_pool,  # type: ignore[arg-type]  # its docs say so
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)
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
            async with asyncio.timeout(_TIMEOUT):
                allowed = await self._limiter.hit(self._rate, client)
                reset, count = await self._limiter.get_window_stats(self._rate, client)
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            self._failures += 1
            if self._failures == _MAX_FAILURES:
                why = str(error) or "it times out"
                logger.warning(
                    "requests are not limited, because Redis does not count them: {}", why
                )
                self._next_attempt = now + _PAUSE
            return None
        if unavailable:
            logger.info("requests are limited again")
        self._failures = 0
        return Remaining(allowed, count, max(1, math.ceil(reset - time.time())))

    async def close(self) -> None:
        """Close all connections."""
        pool = self._redis.connection_pool
        await pool.disconnect()
        if isinstance(pool, SentinelConnectionPool):
            await pool.sentinel_manager.aclose()


def _connect(settings: Settings) -> Redis:
    """A client that does not retry."""
    options: dict[str, Any] = {
        "socket_timeout": _TIMEOUT,
        "socket_connect_timeout": _TIMEOUT,
        "retry": Retry(NoBackoff(), 0),
    }
    if not settings.redis_sentinels:
        pool = BlockingConnectionPool.from_url(
            settings.limits_url, max_connections=_CONNECTIONS, timeout=_TIMEOUT, **options
        )
        return Redis(connection_pool=pool)
    parts = [name.rpartition(":") for name in settings.redis_sentinels]
    hosts = [(host.strip("[]"), int(port)) for host, _, port in parts]
    sentinels = Sentinel(hosts, sentinel_kwargs=options)  # type: ignore[no-untyped-call]  # redis'
    name, database = settings.redis_sentinel_master, settings.redis_db
    master: Redis = sentinels.master_for(name, db=database, **options)
    return master
