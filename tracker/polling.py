"""One poll: ask the exchange within a minute, and store the price under that minute or say why not.

Nothing here knows of queues.
"""

import time
from datetime import UTC, datetime, timedelta

from loguru import logger

from tracker import deribit, metrics, queries
from tracker.connection import Database
from tracker.errors import ExchangeError, WrongMinute
from tracker.models import Quote
from tracker.price_writer import PriceWriter
from tracker.settings import Settings
from tracker.times import MINUTE

_EARLIEST = timedelta(seconds=30)  # how far the exchange's clock may be behind the tick's
_SKEW_WORTH_A_WARNING = 2.0  # seconds


class Poller:
    """What a poll needs: the exchange's client and the database."""

    def __init__(self, settings: Settings, client: deribit.Client, database: Database) -> None:
        """A poller for *settings* that asks *client* and stores in *database*."""
        self._settings = settings
        self._client = client
        self._database = database
        self._writer = PriceWriter(database)

    def ask(self, ticker: str, minute: datetime) -> Quote:
        """The price of *ticker*, observed in *minute*. Raises ExchangeError."""
        started = _wait_for(minute)
        left = (minute + MINUTE - started).total_seconds()
        if left <= 0:
            raise WrongMinute(f"asked for {-left:.0f} s after its minute", attempts=0)
        testnet = self._settings.testnet
        quote = deribit.fetch_quote(self._client, ticker, testnet=testnet, within=left)
        _measure_skew(quote, started)
        return in_minute(quote, minute)

    def store(self, quote: Quote, minute: datetime) -> bool:
        """Store *quote* under *minute*; False if it has a price already.

        Quotes that come meanwhile are stored together. Raises DatabaseDown, and WrongMinute for a
        quote of another minute.
        """
        new = self._writer.store(in_minute(quote, minute), minute)
        metrics.count_poll(quote.ticker, "stored" if new else "present")
        metrics.observe_price(minute, quote.observed_at)
        return new

    def miss(
        self, ticker: str, minute: datetime, reason: str, *, code: int | None, attempts: int
    ) -> bool:
        """Record why *minute* has no price; False if it has one. Raises DatabaseDown."""
        new = self._database.run(
            lambda conn: queries.insert_miss(
                conn, ticker, minute, reason, code=code, attempts=attempts
            )
        )
        metrics.count_poll(ticker, reason)
        return new

    def fetch_time(self) -> datetime:
        """The exchange's clock. Raises ExchangeError."""
        return deribit.fetch_time(self._client)

    def check_tickers(self) -> None:
        """Warn of configured names that the exchange does not have."""
        try:
            unknown = set(self._settings.tickers) - deribit.fetch_names(self._client)
        except ExchangeError as error:
            logger.warning("the names in TICKERS could not be checked: {}", error)
            return
        for name in sorted(unknown):
            logger.warning(
                "TICKERS: the exchange does not list {}; it is polled all the same", name
            )


def in_minute(quote: Quote, minute: datetime) -> Quote:
    """*quote* itself, if it may stand under *minute*. Raises WrongMinute.

    The tick decides the minute: the exchange's clock may be some seconds behind it, but a
    price of the next minute is never stored under this one.
    """
    if minute - _EARLIEST <= quote.observed_at < minute + MINUTE:
        return quote
    raise WrongMinute(f"observed at {quote.observed_at:%H:%M:%S}, not in {minute:%H:%M}")


def _wait_for(minute: datetime) -> datetime:
    """Now; a tick that came a moment early waits for its minute to begin."""
    early = (minute - datetime.now(UTC)).total_seconds()
    if 0 < early < 1:
        time.sleep(early)
    return datetime.now(UTC)


def _measure_skew(quote: Quote, started: datetime) -> None:
    """What cannot come of the time that the call took is a difference of the clocks."""
    ahead = (quote.observed_at - datetime.now(UTC)).total_seconds()
    behind = (started - quote.observed_at).total_seconds()
    skew = ahead if ahead > 0 else -behind if behind > 0 else 0.0
    metrics.SKEW.set(skew)
    if abs(skew) > _SKEW_WORTH_A_WARNING:
        side = "ahead of" if skew > 0 else "behind"
        logger.warning("the exchange's clock is {:.1f} s {} ours", abs(skew), side)
