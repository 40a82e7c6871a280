"""The queue's actors: shells around `polling` that know messages, and nothing else.

A message may come twice, late or out of order: the minute it carries decides what it may do.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ParamSpec

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import Retry
from dramatiq.middleware import CurrentMessage, Retries
from loguru import logger
from periodiq import PeriodiqMiddleware, cron

from tracker import metrics
from tracker.broker import Rejections, connect
from tracker.errors import DatabaseDown, ExchangeError
from tracker.models import Quote
from tracker.settings import Settings
from tracker.times import MINUTE, minute_of

if TYPE_CHECKING:
    from tracker.polling import Poller  # the scheduler needs none of these
    from tracker.repair import Repairer

P = ParamSpec("P")
Beat = Callable[[str, timedelta], None]
ApplyRetention = Callable[[], None]

_TIDYING = 17  # the minute of each hour in which others have less to do
_A_WEEK = 7 * 24 * 3600  # seconds


def _passes(_: int, error: BaseException) -> bool:
    return isinstance(error, Retry)


# A queue of its own, as while the database is away these must not keep polls waiting.
_LATER: dict[str, Any] = {
    "queue_name": "later",
    "priority": 1,
    "retry_when": _passes,
    "min_backoff": 1_000,  # milliseconds
    "max_backoff": 60_000,
}


def create_broker(settings: Settings, kind: type[RedisBroker] = RedisBroker) -> RedisBroker:
    """The queue on Redis, with no more middleware than the actors use.

    A late tick is not dropped: its polls find their minute gone, and record that.
    What a killed worker was at is given to the next one within its minute.
    """
    middleware = [
        *(Retries(), CurrentMessage(), Rejections()),
        PeriodiqMiddleware(skip_delay=_A_WEEK),
    ]
    return kind(
        client=connect(settings),
        middleware=middleware,
        heartbeat_timeout=10_000,  # milliseconds
        maintenance_chance=1_000_000,  # of a million: each command looks for killed workers
    )


def declare_tick(broker: RedisBroker, tickers: Iterable[str]) -> dramatiq.Actor[[], None]:
    """Declare the actor that the scheduler sends and the worker runs."""

    @dramatiq.actor(broker=broker, max_retries=0, periodic=cron("* * * * *"))
    def tick() -> None:
        """Every minute, a poll of each index; the minute is the tick's, whatever the clock says."""
        sent_at = _sent_at()
        metrics.LAST_TICK.set(sent_at.timestamp())
        tick_minute = _minute_of_tick()
        minute = tick_minute.isoformat()
        for ticker in tickers:
            broker.enqueue(_message("poll", ticker, minute))
        broker.enqueue(_message("repair", minute, queue="later"))
        broker.enqueue(_message("heard", sent_at.isoformat(), queue="later"))
        if tick_minute.minute == _TIDYING:
            broker.enqueue(_message("tidy", queue="later"))

    return tick


def declare(
    broker: RedisBroker,
    poller: "Poller",
    repairer: "Repairer",
    beat: Beat,
    apply_retention: ApplyRetention,
) -> None:
    """Declare the worker's own actors."""

    @dramatiq.actor(broker=broker, max_retries=0)
    def poll(ticker: str, minute: str) -> None:
        """Ask for one index: one's failure hides no other."""
        with logger.contextualize(ticker=ticker, minute=minute):
            try:
                quote = poller.ask(ticker, _time(minute))
            except ExchangeError as error:
                logger.warning("no price: {}", error)
                _now_or_later(miss, ticker, minute, error.reason, error.code, error.attempts)
            else:
                observed_at = quote.observed_at.isoformat()
                _now_or_later(store, ticker, minute, f"{quote.price:f}", observed_at)

    @dramatiq.actor(broker=broker, **_LATER)
    def store(ticker: str, minute: str, price: str, observed_at: str) -> None:
        """Store a price that was observed in its minute, however late the database is."""
        quote = Quote(ticker=ticker, price=Decimal(price), observed_at=_time(observed_at))
        with _retried(), logger.contextualize(ticker=ticker, minute=minute, price=price):
            new = poller.store(quote, _time(minute))
            logger.info("stored" if new else "the minute has a price already")

    @dramatiq.actor(broker=broker, **_LATER)
    def miss(ticker: str, minute: str, reason: str, code: int | None, attempts: int) -> None:
        """Record a minute that could not be polled, however late the database is."""
        with _retried():
            poller.miss(ticker, _time(minute), reason, code=code, attempts=attempts)

    @dramatiq.actor(broker=broker, queue_name="later", max_retries=0)
    def repair(minute: str) -> None:
        """Fill holes from charts, unless a later tick will; the next one tries again anyway."""
        now = datetime.now(UTC)
        if now - _time(minute) < 2 * MINUTE:
            with suppress(DatabaseDown):
                repairer.repair(now)

    @dramatiq.actor(broker=broker, queue_name="later", max_retries=0)
    def heard(sent_at: str) -> None:
        """Record when the scheduler sent a tick; a clock ahead of ours counts as now."""
        beat("scheduler", max(datetime.now(UTC) - _time(sent_at), timedelta()))

    @dramatiq.actor(broker=broker, queue_name="later", max_retries=0)
    def tidy() -> None:
        """Apply the retention, however late this message comes."""
        apply_retention()


def _message(actor: str, *args: str, queue: str = "default") -> dramatiq.Message[None]:
    return dramatiq.Message(queue_name=queue, actor_name=actor, args=args, kwargs={}, options={})


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _sent_at() -> datetime:
    """When the message that is being worked on was sent; now, for a call without one."""
    message = CurrentMessage.get_current_message()
    if message is None:
        return datetime.now(UTC)
    return datetime.fromtimestamp(message.message_timestamp / 1000, UTC)


def _minute_of_tick() -> datetime:
    """The minute periodiq ticked for; for a message sent by hand, the minute of sending."""
    message = CurrentMessage.get_current_message()
    scheduled = message and message.options.get("scheduled_at")
    return minute_of(_time(scheduled) if scheduled else _sent_at())


def _now_or_later(actor: dramatiq.Actor[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Run *actor* here; what the database cannot take now stays in the queue until it can."""
    try:
        actor(*args, **kwargs)
    except Retry as error:
        logger.warning("no database, {} is left to the queue: {}", actor.actor_name, error)
        actor.send(*args, **kwargs)


@contextmanager
def _retried() -> Iterator[None]:
    try:
        yield
    except DatabaseDown as error:
        raise Retry(str(error)) from error
