"""dramatiq's Redis broker, made to outlive Redis."""

from collections.abc import Callable
from typing import Any

import dramatiq
import stamina
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.common import dq_name
from dramatiq.errors import BrokerConnectionError, ConnectionClosed, DecodeError
from dramatiq.middleware import Middleware
from loguru import logger
from redis import Redis, Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from tracker import metrics
from tracker.settings import Settings

Message = dramatiq.Message[Any]

_WAITING = {"socket_timeout": 3, "socket_connect_timeout": 3}  # seconds


def connect(settings: Settings) -> Redis:
    """The queue's Redis; where sentinels are named, whichever they call master at the moment.

    It tries once: whoever asks knows better what to do meanwhile.
    """
    options: dict[str, Any] = {**_WAITING, "retry": Retry(NoBackoff(), 0)}
    if not settings.redis_sentinels:
        return Redis.from_url(settings.broker_url, **options)
    parts = [name.rpartition(":") for name in settings.redis_sentinels]
    hosts = [(host.strip("[]"), int(port)) for host, _, port in parts]
    sentinels = Sentinel(hosts, sentinel_kwargs=options)  # type: ignore[no-untyped-call] # redis'
    name, database = settings.redis_sentinel_master, settings.redis_celery_broker_db
    master: Redis = sentinels.master_for(name, db=database, **options)  # type: ignore[no-untyped-call] # redis'
    return master


class Broker(RedisBroker):
    """dramatiq's, outliving Redis: no consumer of it dies, and no message is forgotten.

    dramatiq takes only some of Redis' errors for a lost connection. Any other ends a consumer
    for good, and what one held when it lost its connection stays with it until the worker ends.
    """

    @property
    def consumer_class(self) -> type[_RedisConsumer]:
        """Consumers of our own."""
        return _Consumer

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Any:
        """A new consumer; what its predecessor held is handed out again."""
        try:
            held = self.client.smembers(f"{self.namespace}:__acks__.{self.broker_id}.{queue_name}")
        except RedisError as error:
            raise _lost(error) from None
        if held:
            self.do_requeue(queue_name, *held)
        return super().consume(queue_name, prefetch, timeout)

    @stamina.retry(on=BrokerConnectionError, attempts=None, timeout=None)
    def enqueue(self, message: Message, *, delay: int | None = None) -> Message:
        """Send *message* as soon as Redis takes it: nothing else could keep it meanwhile."""
        return super().enqueue(message, delay=delay)

    def _dispatch(self, command: str) -> Callable[..., Any]:
        """A command of the queue. Raises ConnectionClosed, whatever Redis suffers from."""
        dispatch = super()._dispatch(command)  # type: ignore[no-untyped-call] # the same

        def dispatched(*args: object) -> object:
            try:
                return dispatch(*args)
            except RedisError as error:
                raise _lost(error) from None

        return dispatched


class Rejections(Middleware):
    """Counts the messages that failed for good."""

    def after_nack(self, broker: dramatiq.Broker, message: object) -> None:  # noqa: ARG002
        """Count *message*; dramatiq names the parameters."""
        metrics.REJECTED.inc()


def lengths(broker: RedisBroker) -> dict[str, int] | None:
    """How many messages of each queue are not done; None if Redis does not answer."""
    queues = sorted(broker.get_declared_queues())
    asked = broker.client.pipeline(transaction=False)
    for queue in queues:
        for name in (queue, dq_name(queue)):
            asked.hlen(f"{broker.namespace}:{name}.msgs")
    try:
        found = asked.execute()
    except RedisError:
        return None
    return dict(zip(queues, map(sum, zip(found[::2], found[1::2], strict=True)), strict=True))


def told(error: RedisError) -> str:
    """*error* in a few words; redis-py adds the insides of each sentinel that it asked."""
    return str(error).partition(" : ")[0]


def _lost(error: RedisError) -> BrokerConnectionError:
    return ConnectionClosed(told(error))  # type: ignore[no-untyped-call] # dramatiq's have no types


class _Consumer(_RedisConsumer):
    def __next__(self) -> Any:
        """The next message, or None; one that cannot be read stays where it is."""
        try:
            return super().__next__()  # type: ignore[no-untyped-call] # the same
        except DecodeError as error:
            metrics.REJECTED.inc()
            logger.error("a message that is none: {}", error)
            return None
