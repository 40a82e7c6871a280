"""Whether the queue's Redis responds and accepts writes, for /health/state."""

import asyncio
from threading import Lock

from tracker.settings import Settings

_TIMEOUT = 0.5  # seconds, to connect and for a response; a hung server must not delay the state
_KEY = "tracker:probe"


class QueueProbe:
    """Writes a key to Redis, because one that is full or has no disk still responds to PING.

    Its own connection in a thread: few processes report the state, and the others need no
    client of Redis, which takes 10 MB.
    """

    def __init__(self, settings: Settings) -> None:
        """Connect at the first check."""
        self._settings = settings
        self._lock = Lock()

    async def check(self) -> str:
        """Why Redis does not work; empty if it does."""
        return await asyncio.to_thread(self._write)

    def _write(self) -> str:
        from redis import exceptions  # noqa: PLC0415 -- 10 MB

        from tracker.redis import connect_queue, describe_redis_error  # noqa: PLC0415

        try:
            with self._lock, connect_queue(self._settings, _TIMEOUT) as redis:
                redis.set(_KEY, 1, ex=60)
        except exceptions.AuthenticationError as error:
            return f"refuses the login: {describe_redis_error(error)}"
        except (exceptions.TimeoutError, exceptions.ConnectionError, OSError):
            return "does not respond"
        except exceptions.RedisError as error:
            return f"accepts no writes: {describe_redis_error(error)}"
        return ""
