"""The queue on Redis: dramatiq's broker, made to survive Redis, and the scheduler's ticks."""

import json
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import Any

import dramatiq
import stamina
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.common import dq_name
from dramatiq.errors import BrokerConnectionError, ConnectionClosed, DecodeError
from dramatiq.middleware import CurrentMessage, Middleware, Retries
from loguru import logger
from periodiq import PeriodiqMiddleware, Scheduler, cron
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import REGISTRY, Collector
from redis import Redis
from redis.exceptions import RedisError

from tracker.errors import ExchangeError
from tracker.recorder import metrics
from tracker.redis import QUEUE_TIMEOUT, connect_queue, describe_redis_error
from tracker.settings import Settings
from tracker.times import minute_of
from tracker.watchdog import WATCHDOG_INTERVAL, Watchdog

LATER = "later"  # the queue of work that may wait, and must not delay polls during an outage

_RETENTION_MINUTE = 17  # of each hour, in which others have less to do
_ARCHIVE_MINUTE = 5  # of each hour: before prices are dropped
_WEEK = 7 * 24 * 3600  # seconds
_MAX_SLEEP = 60  # seconds of the scheduler
_HEARTBEAT_TIMEOUT = 10_000  # milliseconds until the messages of a worker go to the next one
_NOTE_LIFETIME = 3600  # seconds; a killed worker's poll is repeated within some of them
MAX_BACKOFF = 60_000  # milliseconds until a message is tried again


def run_scheduler(settings: Settings) -> None:
    """Send a tick at the start of each minute, the present one first; exit 1 if Redis is down.

    Its supervisor restarts it, because periodiq keeps no state and does not retry. A second
    scheduler only sends each tick twice, which changes nothing.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    broker = create_broker(settings)
    scheduler = MinuteScheduler([declare_tick(broker, settings.tickers)])
    # A signal handler of periodiq puts into it, which only this kind of queue allows.
    alarms = scheduler.alarm_q = SimpleQueue()
    watchdog = Watchdog()
    try:
        scheduler.schedule()
        while True:
            watchdog.send_heartbeat()
            with suppress(Empty):
                alarms.get(timeout=WATCHDOG_INTERVAL)
                scheduler.schedule()
    except RedisError as error:
        logger.error("the tick could not be sent: Redis: {}", describe_redis_error(error))
        sys.exit(1)


class MinuteScheduler(Scheduler):  # type: ignore[misc] # periodiq has no types
    """periodiq's scheduler, for actors that are due each minute."""

    def schedule(self) -> None:
        """Send a tick, and wake at the next minute: within a minute, whatever the clock showed.

        periodiq reads the clock several times. If one reading is wrong, it would sleep until then.
        """
        super().schedule()
        if signal.getitimer(signal.ITIMER_REAL)[0] > _MAX_SLEEP:
            signal.alarm(_MAX_SLEEP)


def declare_tick(broker: RedisBroker, tickers: Iterable[str]) -> dramatiq.Actor[[], None]:
    """Declare the actor that the scheduler sends and the worker runs."""

    @dramatiq.actor(broker=broker, max_retries=0, periodic=cron("* * * * *"))
    def tick() -> None:
        """Each minute, send a poll of each index; the minute is the tick's, not the clock's.

        A message that was sent by hand means the minute of sending.
        """
        message = CurrentMessage.get_current_message()
        assert message is not None  # only a worker runs it
        sent_at = datetime.fromtimestamp(message.message_timestamp / 1000, UTC)
        metrics.LAST_TICK.set(sent_at.timestamp())
        scheduled_at = message.options.get("scheduled_at")
        minute = minute_of(datetime.fromisoformat(scheduled_at) if scheduled_at else sent_at)
        for ticker in tickers:
            broker.get_actor("poll").send(ticker, minute.isoformat())
        broker.get_actor("repair").send(minute.isoformat())
        broker.get_actor("heard").send(sent_at.isoformat())
        if minute.minute == _RETENTION_MINUTE:
            broker.get_actor("tidy").send()
        if minute.minute == _ARCHIVE_MINUTE:
            broker.get_actor("archive").send()

    return tick


def create_broker(
    settings: Settings,
    broker_class: type[RedisBroker] = RedisBroker,
    redis_timeout: float = QUEUE_TIMEOUT,
) -> RedisBroker:
    """The queue on Redis, with no more middleware than the actors use.

    A late tick is not dropped: its polls record that their minute is over. Messages of a killed
    worker go to the next one within their minute.
    """
    return broker_class(
        client=connect_queue(settings, redis_timeout),
        middleware=[
            Retries(),
            CurrentMessage(),
            CountRejections(),
            PeriodiqMiddleware(skip_delay=_WEEK),
        ],
        heartbeat_timeout=_HEARTBEAT_TIMEOUT,
        maintenance_chance=1_000_000,  # of a million: each command looks for killed workers
    )


class ResilientBroker(RedisBroker):
    """dramatiq's broker, but no consumer dies with Redis, and no message is forgotten.

    dramatiq takes only some of Redis' errors for a lost connection. Any other one ends a consumer
    for good, and its unfinished messages stay with it until the worker ends.
    """

    @property
    def consumer_class(self) -> type[_RedisConsumer]:
        """Consumers that survive undecodable messages."""
        return _ResilientConsumer

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Any:
        """A new consumer; its predecessor's unfinished messages are queued again.

        So are those of workers that ended while the clock was ahead: their heartbeats would count
        until it shows that time again.
        """
        try:
            key = f"{self.namespace}:__acks__.{self.broker_id}.{queue_name}"
            unfinished = self.client.smembers(key)
            heartbeats = f"{self.namespace}:__heartbeats__"
            ahead = time.time() * 1000 + _HEARTBEAT_TIMEOUT
            workers: Any = self.client.zrangebyscore(heartbeats, ahead, "+inf")
            for worker in workers:
                self.client.zadd(heartbeats, {worker: 0}, xx=True)
        except RedisError as error:
            raise _connection_closed(error) from None
        if unfinished:
            self.do_requeue(queue_name, *unfinished)
        return super().consume(queue_name, prefetch, timeout)

    def enqueue(
        self, message: dramatiq.Message[Any], *, delay: int | None = None
    ) -> dramatiq.Message[Any]:
        """Send *message*, and retry until Redis takes it: nothing else could hold it meanwhile."""
        for attempt in stamina.retry_context(BrokerConnectionError, attempts=None, timeout=None):
            with attempt:
                try:
                    return super().enqueue(message, delay=delay)
                except BrokerConnectionError as error:
                    if attempt.num == 1:
                        logger.warning(
                            "a message, {}, waits in memory until it can be sent: {}",
                            message.actor_name,
                            error,
                        )
                    raise
        raise AssertionError("stamina returns or raises")

    def _dispatch(self, command: str) -> Callable[..., Any]:
        """A command of the queue. Raises ConnectionClosed for every error of Redis."""
        dispatch = super()._dispatch(command)  # type: ignore[no-untyped-call] # the same

        def dispatch_or_close(*args: object) -> object:
            try:
                return dispatch(*args)
            except RedisError as error:
                raise _connection_closed(error) from None

        return dispatch_or_close


class _ResilientConsumer(_RedisConsumer):
    def __next__(self) -> Any:
        """The next message, or None; an undecodable one stays in Redis.

        A message that was delayed while the clock was ahead is due now.
        """
        try:
            message = super().__next__()  # type: ignore[no-untyped-call] # the same
        except DecodeError as error:
            metrics.REJECTED.inc()
            logger.error(
                "undecodable message in the queue {}, which another program sent: {}",
                self.queue_name,
                error,
            )
            return None
        if message is not None and isinstance(eta := message.options.get("eta"), int):
            now = int(time.time() * 1000)
            message.options["eta"] = eta if eta < now + 2 * MAX_BACKOFF else now
        return message


def _connection_closed(error: RedisError) -> BrokerConnectionError:
    return ConnectionClosed(f"Redis: {describe_redis_error(error)}")  # type: ignore[no-untyped-call] # dramatiq's have no types


class FailureNotes:
    """Why polls have failed, in Redis: a killed worker's poll is repeated, often after its minute.

    Then nothing can be requested, and the note has the reason. Without Redis, no note is stored.
    """

    def __init__(self, client: Redis) -> None:
        """Notes in the database of *client*."""
        self._client = client

    def write(self, ticker: str, minute: str, error: ExchangeError) -> None:
        """Note the newest failure of a poll."""
        note = json.dumps([error.reason, error.code, error.attempts])
        with suppress(RedisError):
            self._client.set(self._key(ticker, minute), note, ex=_NOTE_LIFETIME)

    def first_failure(
        self, ticker: str, minute: str, error: ExchangeError
    ) -> tuple[str, int | None, int]:
        """Reason, code and attempts of *error*; of an earlier poll if this one sent no request."""
        if not error.attempts:
            with suppress(RedisError):
                note = self._client.get(self._key(ticker, minute))
                if note is not None:
                    reason, code, attempts = json.loads(note)
                    return reason, code, attempts
        return error.reason, error.code, error.attempts

    @staticmethod
    def _key(ticker: str, minute: str) -> str:
        return f"tracker:failed:{ticker}:{minute}"


class CountRejections(Middleware):
    """Counts messages that failed for good."""

    def after_nack(self, broker: dramatiq.Broker, message: object) -> None:  # noqa: ARG002
        """Count *message*; dramatiq names the parameters."""
        metrics.REJECTED.inc()


class QueueMetrics(Collector):
    """Metrics of a broker's queues, measured in Redis at each scrape."""

    def __init__(self, broker: RedisBroker | None = None) -> None:
        """Metrics of *broker*; none without one."""
        self.broker = broker

    def collect(self) -> Iterator[Metric]:
        """Whether Redis responds, and how many messages each queue has."""
        if self.broker is None:
            return
        lengths = self._queue_lengths(self.broker)
        yield GaugeMetricFamily("tracker_queue_up", "1 if Redis responds", lengths is not None)
        messages = GaugeMetricFamily(
            "tracker_queue_messages", "Messages waiting, delayed or in work", labels=["queue"]
        )
        for queue, length in (lengths or {}).items():
            messages.add_metric([queue], length)
        yield messages

    def _queue_lengths(self, broker: RedisBroker) -> dict[str, int] | None:
        """How many messages of each queue are not done; None while Redis does not respond."""
        queues = sorted(broker.get_declared_queues())
        pipeline = broker.client.pipeline(transaction=False)
        for queue in queues:
            for name in (queue, dq_name(queue)):
                pipeline.hlen(f"{broker.namespace}:{name}.msgs")
        try:
            lengths = pipeline.execute()
        except RedisError:
            return None
        return {queue: sum(lengths[2 * i : 2 * i + 2]) for i, queue in enumerate(queues)}


QUEUE_METRICS = QueueMetrics()  # its broker is that of the running worker
REGISTRY.register(QUEUE_METRICS)
