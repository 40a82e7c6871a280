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
from redis.exceptions import RedisError

from tracker import metrics

Message = dramatiq.Message[Any]


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


def _lost(error: RedisError) -> BrokerConnectionError:
    return ConnectionClosed(error)  # type: ignore[no-untyped-call] # dramatiq's have no types


class _Consumer(_RedisConsumer):
    def __next__(self) -> Any:
        """The next message, or None; one that cannot be read stays where it is."""
        try:
            return super().__next__()  # type: ignore[no-untyped-call] # the same
        except DecodeError as error:
            metrics.REJECTED.inc()
            logger.error("a message that is none: {}", error)
            return None
