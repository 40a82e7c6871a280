"""One poll: fetch a price within its minute, and store it under that minute or record why not."""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import inf
from threading import Lock

from loguru import logger
from psycopg import OperationalError

from tracker import queries
from tracker.database import Database
from tracker.errors import DatabaseDown, ExchangeError, WrongClock, WrongMinute
from tracker.models import Quote
from tracker.recorder import metrics
from tracker.recorder.deribit import (
    MAX_CLOCK_DIFFERENCE,
    MAX_SKEW,
    DeribitClient,
    describe_difference,
)
from tracker.times import MINUTE, Clock

_MAX_EARLINESS = timedelta(seconds=30)  # how far the exchange's clock may be behind the tick's
_MAX_DURATION = 60.0  # seconds of a poll
_MAX_LATENESS = timedelta(days=7)  # of a message; older ticks are not delivered
_DISCARD_PAUSE = 60.0  # seconds; without a database, polls must not wait for each other
_LOCK_TIMEOUT = "500ms"  # of a batch: an index that an import locks must not delay the others


class Poller:
    """Fetches prices from the exchange, and stores them or the reason of a miss."""

    def __init__(self, client: DeribitClient, database: Database, clock: Clock) -> None:
        """A poller that requests from *client* and stores in *database*."""
        self._client = client
        self._database = database
        self._clock = clock
        self._writer = PriceWriter(database)
        self._discarding = Lock()
        self._next_discard = 0.0  # on the monotonic clock

    def fetch(
        self,
        ticker: str,
        minute: datetime,
        note_failure: Callable[[ExchangeError], None] = lambda _: None,
    ) -> Quote:
        """The price of *ticker*, observed in *minute*. Raises ExchangeError.

        A tick that comes less than a second early waits for its minute. *note_failure* gets the
        error of each request, also of those that are repeated.
        """
        early = (minute - self._clock.now()).total_seconds()
        if 0 < early < 1:
            time.sleep(early)
        started = self._clock.now()
        left = (minute + MINUTE - started).total_seconds()
        if left <= 0:
            raise WrongMinute(f"polled {-left:.0f} s after its minute", attempts=0)
        # Of a clock that was set back, the minute would be over in days.
        quote = self._client.fetch_price(ticker, min(left, _MAX_DURATION), note_failure)
        self._measure_skew(quote, started)
        check_minute(quote, minute)
        return quote

    def discard_misses(self, quote: Quote) -> None:
        """Delete what a wrong clock recorded before the exchange responded, once in a process.

        *quote* has just been fetched: its time is that of both clocks.
        """
        with self._discarding, suppress(DatabaseDown):
            if time.monotonic() < self._next_discard:
                return
            self._next_discard = time.monotonic() + _DISCARD_PAUSE
            discarded = self._database.run(queries.discard_misses, quote.observed_at)
            self._next_discard = inf
            if discarded:
                logger.warning(
                    "deleted {} misses that a wrong clock had recorded before the first price",
                    discarded,
                )

    def store(self, quote: Quote, minute: datetime) -> bool:
        """Store *quote* under *minute*; False if the minute has a price.

        Raises DatabaseDown, and WrongMinute for a quote of another minute.
        """
        check_minute(quote, minute)
        new = self._writer.store(quote, minute)
        metrics.POLLS.labels(quote.ticker, "stored" if new else "present").inc()
        lateness = (quote.observed_at - minute).total_seconds()
        metrics.LATENESS.observe(max(0.0, lateness))
        return new

    def confirm_minute(self, minute: datetime) -> bool:
        """Whether the exchange's clock confirms that *minute* is the present one, or was.

        False if it has not responded yet. Raises WrongClock if it contradicts: such a minute must
        not be recorded as missed, because it is not over, or was never to be polled.
        """
        now = self._client.estimate_time()
        if now is None:
            return False
        difference = self._clock.now() - now
        if abs(difference) > MAX_CLOCK_DIFFERENCE:
            raise WrongClock(describe_difference(difference))
        if not now - _MAX_LATENESS <= minute <= now + _MAX_EARLINESS:
            raise WrongClock(f"by the exchange's clock it is {now:%Y-%m-%d %H:%M} UTC")
        return True

    def record_miss(
        self,
        ticker: str,
        minute: datetime,
        reason: str,
        *,
        code: int | None,
        attempts: int,
        confirmed: bool = True,
    ) -> bool:
        """Record why *minute* has no price; False if it has one. Raises DatabaseDown.

        confirmed: by the exchange's clock; otherwise what is stored must confirm it.
        """
        new = self._database.run(
            queries.insert_miss,
            ticker,
            minute,
            reason,
            code=code,
            attempts=attempts,
            confirmed=confirmed,
        )
        metrics.POLLS.labels(ticker, reason).inc()
        return new

    def _measure_skew(self, quote: Quote, started: datetime) -> None:
        """Measure what the duration of the request cannot explain: a difference of the clocks."""
        ahead = (quote.observed_at - self._clock.now()).total_seconds()
        behind = (started - quote.observed_at).total_seconds()
        skew = ahead if ahead > 0 else -behind if behind > 0 else 0.0
        metrics.SKEW.set(skew)
        if abs(skew) > MAX_SKEW:
            side = "ahead of" if skew > 0 else "behind"
            logger.warning(
                "the exchange's clock is {:.1f} s {} ours: is this machine's clock synchronized?",
                abs(skew),
                side,
            )


def check_minute(quote: Quote, minute: datetime) -> None:
    """Raise WrongMinute for a quote that must not be stored under *minute*.

    The tick decides the minute: the exchange's clock may be some seconds behind it, but a price
    of the next minute is never stored under this one.
    """
    if not minute - _MAX_EARLINESS <= quote.observed_at < minute + MINUTE:
        at = f"{quote.observed_at:%Y-%m-%d %H:%M:%S}"
        raise WrongMinute(f"observed at {at}, not in the minute {minute:%Y-%m-%d %H:%M}")


@dataclass(frozen=True)
class _PendingPrice:
    """A price in the queue of the writer.

    outcome: whether it was new; None: it failed as part of a batch, and needs its own statement.
    """

    quote: Quote
    minute: datetime
    outcome: Future[bool | None] = field(default_factory=Future)


class PriceWriter:
    """Stores prices for many threads, in batches that nobody waits for.

    While one statement runs, other threads queue their prices; the next statement takes them all.
    """

    def __init__(self, database: Database) -> None:
        """A writer to *database*."""
        self._database = database
        self._pending: deque[_PendingPrice] = deque()
        self._lock = Lock()

    def store(self, quote: Quote, minute: datetime) -> bool:
        """Store *quote* under *minute*; False if the minute has a price.

        Raises DatabaseDown, and IntegrityError or DataError if the schema refuses this price.
        """
        price = _PendingPrice(quote, minute)
        self._pending.append(price)
        with self._lock:
            if not price.outcome.done():
                self._store_pending()
        new = price.outcome.result()
        return self._database.run(queries.insert_price, quote, minute) if new is None else new

    def _store_pending(self) -> None:
        """Store all pending prices in one statement, and set their outcomes.

        If the server refuses a batch, each thread stores its own price: an index that is locked,
        slow or invalid delays only its own thread.
        """
        batch = [self._pending.popleft() for _ in range(len(self._pending))]
        lock_timeout = _LOCK_TIMEOUT if len(batch) > 1 else "0"
        prices = [(price.quote, price.minute) for price in batch]
        try:
            new = self._database.run(queries.insert_prices, prices, lock_timeout=lock_timeout)
        except Exception as error:  # noqa: BLE001 -- other threads wait for their outcome
            cause = error.__cause__ if isinstance(error, DatabaseDown) else error
            unavailable = isinstance(cause, OperationalError) and cause.sqlstate is None
            for price in batch:
                if unavailable or len(batch) == 1:
                    price.outcome.set_exception(error)
                else:
                    price.outcome.set_result(None)
            return
        for price in batch:
            key = (price.quote.ticker, price.minute)
            price.outcome.set_result(key in new)
            new.discard(key)
