"""One poll: ask the exchange within a minute, and store the price under that minute or say why not.

Nothing here knows of queues.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from threading import Timer

import psycopg
from loguru import logger

from tracker import deribit, queries
from tracker.errors import DatabaseDown, ExchangeError, WrongMinute
from tracker.models import MINUTE, Quote
from tracker.settings import Settings

_EARLIEST = timedelta(seconds=30)  # how far the exchange's clock may be behind the tick's
_SKEW_WORTH_A_WARNING = timedelta(seconds=2)
_CONNECTING = 5  # seconds
_LONGEST_WORK = 8.0  # seconds on a connection; a statement ends earlier if the server runs at all
_OPTIONS = "-c statement_timeout=5000 -c timezone=UTC"


class Poller:
    """What a poll needs: the exchange's client and the database."""

    def __init__(self, settings: Settings, client: deribit.Client) -> None:
        """A poller for *settings* that asks *client*."""
        self._settings = settings
        self._client = client

    def ask(self, ticker: str, minute: datetime) -> Quote:
        """The price of *ticker*, observed in *minute*. Raises ExchangeError."""
        started = _wait_for(minute)
        left = (minute + MINUTE - started).total_seconds()
        if left <= 0:
            raise WrongMinute(f"asked for {-left:.0f} s after its minute", attempts=0)
        testnet = self._settings.testnet
        quote = deribit.fetch_quote(self._client, ticker, testnet=testnet, within=left)
        _warn_of_skew(quote, started)
        return in_minute(quote, minute)

    def store(self, quote: Quote, minute: datetime) -> bool:
        """Store *quote* under *minute*; False if it has a price already.

        Raises DatabaseDown, and WrongMinute for a quote of another minute.
        """
        with _database(self._settings.database_dsn) as conn:
            return queries.insert_price(conn, in_minute(quote, minute), minute)

    def miss(
        self, ticker: str, minute: datetime, reason: str, *, code: int | None, attempts: int
    ) -> bool:
        """Record why *minute* has no price; False if it has one. Raises DatabaseDown."""
        with _database(self._settings.database_dsn) as conn:
            return queries.insert_miss(conn, ticker, minute, reason, code=code, attempts=attempts)

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


def _warn_of_skew(quote: Quote, started: datetime) -> None:
    ahead = quote.observed_at - datetime.now(UTC)
    behind = started - quote.observed_at
    if max(ahead, behind) > _SKEW_WORTH_A_WARNING:
        side, skew = ("ahead of", ahead) if ahead > behind else ("behind", behind)
        logger.warning("the exchange's clock is {:.1f} s {} ours", skew.total_seconds(), side)


@contextmanager
def _database(dsn: str) -> Iterator[psycopg.Connection]:
    """A connection for one statement; what a later try may mend is raised as DatabaseDown.

    No pool: for a few rows a minute a fresh connection costs nothing, and is never a dead one.
    """
    try:
        with (
            psycopg.connect(
                dsn,
                autocommit=True,
                connect_timeout=_CONNECTING,
                application_name="tracker-worker",
                options=_OPTIONS,
            ) as conn,
            _cut_off(conn),
        ):
            yield conn
    except (psycopg.OperationalError, psycopg.ProgrammingError, psycopg.InternalError) as error:
        raise DatabaseDown(" ".join(str(error).split())) from error


@contextmanager
def _cut_off(conn: psycopg.Connection) -> Iterator[None]:
    """Bound the work on *conn*: a server that is stopped or unplugged would never answer."""

    def cut() -> None:
        with suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)

    with socket.socket(fileno=os.dup(conn.fileno())) as line:
        timer = Timer(_LONGEST_WORK, cut)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
