"""The queue's actors: shells around `polling` that know messages, and nothing else.

A message may come twice, late or out of order: the minute it carries decides what it may do.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ParamSpec

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import Retry
from dramatiq.middleware import CurrentMessage, Retries, TimeLimit
from loguru import logger
from periodiq import PeriodiqMiddleware, cron

from tracker.errors import DatabaseDown, ExchangeError
from tracker.models import Quote, minute_of
from tracker.polling import Poller
from tracker.settings import Settings

P = ParamSpec("P")

_A_WEEK = 7 * 24 * 3600
_LATER: dict[str, Any] = {
    "max_retries": None,
    "min_backoff": 1_000,
    "max_backoff": 60_000,
}  # milliseconds


def create_broker(settings: Settings) -> RedisBroker:
    """The queue on Redis, with no more middleware than the actors use.

    A late tick is not dropped: its polls find their minute gone, and record that.
    """
    return RedisBroker(  # type: ignore[no-untyped-call] # dramatiq's brokers have no types
        url=settings.broker_url,
        middleware=[
            TimeLimit(),
            Retries(),
            CurrentMessage(),
            PeriodiqMiddleware(skip_delay=_A_WEEK),
        ],
    )


def declare(broker: RedisBroker, settings: Settings, poller: Poller) -> dramatiq.Actor[[], None]:
    """Declare all actors on *broker*; the tick is given back for the scheduler."""

    @dramatiq.actor(broker=broker, **_LATER)
    def store(ticker: str, minute: str, price: str, observed_at: str) -> None:
        """Store a price that was observed in its minute, however late the database is."""
        quote = Quote(ticker=ticker, price=Decimal(price), observed_at=_time(observed_at))
        with _retried():
            _report(quote, minute, new=poller.store(quote, _time(minute)))

    @dramatiq.actor(broker=broker, **_LATER)
    def miss(ticker: str, minute: str, reason: str, code: int | None, attempts: int) -> None:
        """Record a minute that could not be polled, however late the database is."""
        with _retried():
            poller.miss(ticker, _time(minute), reason, code=code, attempts=attempts)

    @dramatiq.actor(broker=broker, max_retries=0, time_limit=58_000)
    def poll(ticker: str, minute: str) -> None:
        """Ask for one index: one's failure hides no other."""
        try:
            quote = poller.ask(ticker, _time(minute))
        except ExchangeError as error:
            logger.bind(ticker=ticker, minute=minute).warning("no price: {}", error)
            _now_or_later(miss, ticker, minute, error.reason, error.code, error.attempts)
        else:
            _now_or_later(store, ticker, minute, f"{quote.price:f}", quote.observed_at.isoformat())

    @dramatiq.actor(broker=broker, max_retries=0, periodic=cron("* * * * *"))
    def tick() -> None:
        """Every minute, a poll of each index; the minute is the tick's, whatever the clock says."""
        minute = _minute_of_tick().isoformat()
        for ticker in settings.tickers:
            poll.send(ticker, minute)

    return tick


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _minute_of_tick() -> datetime:
    """The minute periodiq ticked for; for a message sent by hand, the minute of sending."""
    message = CurrentMessage.get_current_message()
    if message is None:
        return minute_of(datetime.now(UTC))
    if scheduled := message.options.get("scheduled_at"):
        return minute_of(_time(scheduled))
    return minute_of(datetime.fromtimestamp(message.message_timestamp / 1000, UTC))


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


def _report(quote: Quote, minute: str, *, new: bool) -> None:
    line = logger.bind(ticker=quote.ticker, minute=minute, price=f"{quote.price:f}")
    if new:
        line.info("stored")
    else:
        line.info("the minute has a price already")
