"""What is left of a client's requests: counted in Redis, for all processes together.

A window slides: of the one before counts the part that is less than a window ago.
Every key expires by itself, after two windows at most.
"""

import asyncio
import math
import time
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

from tracker.settings import Settings

_PATIENCE = 0.25  # seconds; a Redis that stands still may cost one request in a while so much
_OUTAGE = 3  # failures in a row: one answer too late may be our own haste
_PAUSE = 5.0  # seconds that a Redis that is away is left alone
_CONNECTIONS = 20
_PREFIX = "tracker:requests"


class Left(NamedTuple):
    """What a client has left.

    allowed: whether this request was within the limit.
    remaining: how many more are, now.
    seconds: whole ones, until there is more.
    """

    allowed: bool
    remaining: int
    seconds: int


class Quota:
    """So many requests for each client.

    amount, window: how many in how many seconds.
    """

    def __init__(self, settings: Settings) -> None:
        """As many as RATE_LIMIT of *settings* says."""
        assert settings.rate_limit  # nobody needs one without
        self._rate = parse(settings.rate_limit)
        self.amount = self._rate.amount
        self.window = self._rate.get_expiry()
        self._redis = _redis(settings)
        storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix=_PREFIX,
            connection_pool=self._redis.connection_pool,  # type: ignore[arg-type]  # its docs say so
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._failures = 0  # in a row
        self._asked_next = 0.0

    async def take(self, client: str) -> Left | None:
        """One of the requests of *client*; None where Redis is away, and nobody is counted."""
        now = asyncio.get_running_loop().time()
        if self._away():
            if now < self._asked_next:
                return None
            self._asked_next = now + _PAUSE  # this request alone finds out
        try:
            async with asyncio.timeout(_PATIENCE):
                left = await self._take(client)
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            self._lost(error, now)
            return None
        self._found()
        return left

    async def close(self) -> None:
        """Leave Redis."""
        pool = self._redis.connection_pool
        await pool.disconnect()
        if isinstance(pool, SentinelConnectionPool):
            await pool.sentinel_manager.aclose()

    async def _take(self, client: str) -> Left:
        allowed = await self._limiter.hit(self._rate, client)
        reset, remaining = await self._limiter.get_window_stats(self._rate, client)
        seconds = max(1, math.ceil(reset - time.time()))
        return Left(allowed, remaining, seconds)

    def _away(self) -> bool:
        return self._failures >= _OUTAGE

    def _lost(self, error: Exception, now: float) -> None:
        self._failures += 1
        if self._failures == _OUTAGE:
            why = str(error) or "it takes too long"
            logger.warning("requests are not limited, as Redis does not count them: {}", why)
            self._asked_next = now + _PAUSE

    def _found(self) -> None:
        if self._away():
            logger.info("requests are limited again")
        self._failures = 0


def _redis(settings: Settings) -> Redis:
    """Where requests are counted: it is asked once, and not waited for."""
    options: dict[str, Any] = {
        "socket_timeout": _PATIENCE,
        "socket_connect_timeout": _PATIENCE,
        "retry": Retry(NoBackoff(), 0),
    }
    if not settings.redis_sentinels:
        pool = BlockingConnectionPool.from_url(
            settings.limits_url, max_connections=_CONNECTIONS, timeout=_PATIENCE, **options
        )
        return Redis(connection_pool=pool)
    parts = [name.rpartition(":") for name in settings.redis_sentinels]
    hosts = [(host.strip("[]"), int(port)) for host, _, port in parts]
    sentinels = Sentinel(hosts, sentinel_kwargs=options)  # type: ignore[no-untyped-call]  # redis'
    name, database = settings.redis_sentinel_master, settings.redis_db
    master: Redis = sentinels.master_for(name, db=database, **options)
    return master
