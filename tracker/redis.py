"""Redis: the clients of the queue and of the request counts.

Each makes one attempt, within a timeout, because its callers know better how to retry. With
sentinels it connects to the server that they name as master at that moment.
"""

from typing import Any

from pydantic import SecretStr
from redis import Redis, Sentinel
from redis.asyncio import BlockingConnectionPool
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio import Sentinel as AsyncSentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from tracker.errors import describe
from tracker.settings import Settings

QUEUE_TIMEOUT = 3.0  # seconds, to connect and for a response

# What Redis and OpenSSL report, and the variables that resolve it.
_VARIABLES = {
    "invalid username-password pair": "REDIS_USER, REDIS_PASSWORD",
    "without any password configured": "REDIS_PASSWORD",
    "CERTIFICATE_VERIFY_FAILED": "REDIS_TLS_CA_FILE, REDIS_TLS_VERIFY",
    "HELLO must be called with the client already authenticated": "REDIS_PASSWORD",
    "No permissions": "REDIS_USER",
    "no permissions": "REDIS_USER",
}


def connect_queue(settings: Settings, timeout: float = QUEUE_TIMEOUT) -> Redis:
    """A blocking client of the queue; *timeout*: seconds to connect, and for a response."""
    options = {**_timeouts(timeout), "retry": Retry(NoBackoff(), 0)}
    if not settings.redis_sentinels:
        return Redis.from_url(settings.broker_url, **options)
    database = settings.redis_celery_broker_db
    master: Redis = _connect_master(Sentinel, settings, database, options)
    return master


def connect_counts(settings: Settings, timeout: float, max_connections: int) -> AsyncRedis:
    """A client of the request counts; *timeout* also bounds the wait for a free connection."""
    options = {**_timeouts(timeout), "retry": AsyncRetry(NoBackoff(), 0)}
    if not settings.redis_sentinels:
        pool = BlockingConnectionPool.from_url(
            settings.limits_url, max_connections=max_connections, timeout=timeout, **options
        )
        return AsyncRedis(connection_pool=pool)
    master: AsyncRedis = _connect_master(AsyncSentinel, settings, settings.redis_db, options)
    return master


def _connect_master(
    sentinel: type[Sentinel | AsyncSentinel],
    settings: Settings,
    database: int,
    options: dict[str, Any],
) -> Any:
    """A client of the *database* of the server that the sentinels name as master."""
    shared = options | _tls(settings)
    sentinels = sentinel(
        _sentinel_addresses(settings),
        sentinel_kwargs=shared
        | _login(settings.redis_sentinel_user, settings.redis_sentinel_password),
    )
    login = _login(settings.redis_user, settings.redis_password)
    return sentinels.master_for(settings.redis_sentinel_master, **shared, **login, db=database)


def describe_redis_error(error: RedisError) -> str:
    """The text of *error*, and in parentheses the variables that resolve it, if they are known.

    redis-py appends the state of each sentinel, which is left out.
    """
    text, _, states = describe(error).partition(" : ")
    if "AuthenticationError" in states:
        return f"{text} (REDIS_SENTINEL_USER, REDIS_SENTINEL_PASSWORD)"
    variables = next(
        (names for reason, names in _VARIABLES.items() if reason in states or reason in text), ""
    )
    return f"{text} ({variables})" if variables else text


def _timeouts(seconds: float) -> dict[str, Any]:
    return {"socket_timeout": seconds, "socket_connect_timeout": seconds}


def _sentinel_addresses(settings: Settings) -> list[tuple[str, int]]:
    parts = [address.rpartition(":") for address in settings.redis_sentinels]
    return [(host.removeprefix("[").removesuffix("]"), int(port)) for host, _, port in parts]


def _login(user: str, password: SecretStr) -> dict[str, Any]:
    return {"username": user or None, "password": password.get_secret_value() or None}


def _tls(settings: Settings) -> dict[str, Any]:
    return {"ssl": True, **settings.redis_tls_options} if settings.redis_tls else {}
