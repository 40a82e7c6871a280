"""Fill missing minutes from the exchange's charts: each minute the last hours, by command the past.

A chart's average fills only the very minute on which it stands; no neighbour is repeated.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, product
from threading import Lock

import stamina
from loguru import logger

from tracker import migrations, queries
from tracker.database import Database, connect
from tracker.errors import ExchangeError
from tracker.recorder import metrics
from tracker.recorder.deribit import DeribitClient
from tracker.settings import Settings
from tracker.times import MINUTE, minute_of

_RECENT = timedelta(minutes=59)  # the chart 1h has a point on every minute of these
_OLDER = timedelta(days=2) - timedelta(hours=1)  # the chart 2d has one every five minutes
_MAX_ATTEMPTS = 4  # of a backfill, for each chart
_RETRY_AFTER = timedelta(minutes=10)  # a chart without a minute may lag, or have been cut short


class Repairer:
    """Fills missing minutes of the last two days.

    It remembers minutes that their chart lacked, so as not to request it each minute.
    """

    def __init__(self, tickers: Iterable[str], client: DeribitClient, database: Database) -> None:
        """A repairer of *tickers* that requests from *client* and stores in *database*."""
        self._tickers = tickers
        self._client = client
        self._database = database
        self._unavailable: dict[tuple[str, datetime], datetime] = {}  # since when
        self._lock = Lock()

    def repair(self, now: datetime) -> int:
        """Fill missing minutes of the two days before *now*'s minute; return how many.

        One request for each index and chart with missing minutes. One repair runs at a time,
        another one returns at once. Raises DatabaseDown.
        """
        if not self._lock.acquire(blocking=False):
            return 0
        try:
            recent = minute_of(now) - _RECENT
            missing = self._missing_minutes(recent, minute_of(now) - MINUTE, now)
            by_chart = groupby(missing, lambda key: (key[0], "1h" if key[1] >= recent else "2d"))
            filled = 0
            for (ticker, chart), keys in by_chart:
                with logger.contextualize(ticker=ticker, chart=chart):
                    filled += self._fill(ticker, chart, {minute for _, minute in keys}, now)
            return filled
        finally:
            self._lock.release()

    def _missing_minutes(
        self, recent: datetime, until: datetime, now: datetime
    ) -> list[tuple[str, datetime]]:
        """Minutes that a chart may have, by index, ascending."""
        since = recent - _OLDER
        since += timedelta(minutes=-since.minute % 5)  # points of the chart 2d stand there
        tickers = list(self._tickers)  # they may change
        missing = self._database.run(
            queries.repairable_minutes, tickers, since=since, recent=recent, until=until
        )
        for ticker in tickers:
            metrics.OPEN_HOLES.labels(ticker).set(sum(key[0] == ticker for key in missing))
        self._unavailable = {
            key: at
            for key, at in self._unavailable.items()
            if timedelta() <= now - at < _RETRY_AFTER  # later ones are of a clock that was wrong
        }
        return [key for key in missing if key not in self._unavailable]

    def _fill(self, ticker: str, chart: str, minutes: set[datetime], now: datetime) -> int:
        try:
            points = self._client.fetch_chart(ticker, chart)
        except ExchangeError as error:
            metrics.REPAIR_FAILURES.labels(ticker).inc()
            logger.warning("{} missing minutes cannot be repaired now: {}", len(minutes), error)
            return 0
        usable = [point for point in points if point.observed_at in minutes]
        filled = self._database.run(queries.insert_points, usable)
        lacking = minutes - {point.observed_at for point in usable}
        self._unavailable |= {(ticker, minute): now for minute in lacking}
        metrics.REPAIRED.labels(ticker).inc(filled)
        metrics.OPEN_HOLES.labels(ticker).dec(filled)
        logger.info("repaired {} of {} missing minutes", filled, len(minutes))
        return filled


@dataclass(frozen=True, slots=True)
class Backfilled:
    """What one chart gave: its points off the minute grid or older than RETENTION do not count."""

    ticker: str
    chart: str
    added: int
    present: int


def backfill(
    settings: Settings,
    client: DeribitClient,
    tickers: Sequence[str],
    charts: Iterable[str],
    now: datetime,
) -> Iterator[Backfilled]:
    """Store the *charts* of *tickers*, one after the other; repeating it changes nothing.

    Where two charts have a point on one minute, the first one counts.
    Raises ExchangeError, DatabaseDown, MigrationsPending, UnknownSchema; what was stored before
    stays.
    """
    with connect(settings.database_dsn) as conn:
        migrations.require_all(conn)
    retained_since = settings.retained_since(now)
    for ticker, chart in product(tickers, charts):
        for attempt in stamina.retry_context(_is_transient, attempts=_MAX_ATTEMPTS):
            with attempt, _logged_retry(ticker, chart, attempt):
                fetched = client.fetch_chart(ticker, chart)
        points = [
            point
            for point in fetched
            if point.observed_at == minute_of(point.observed_at)
            and (retained_since is None or point.observed_at >= retained_since)
        ]
        with connect(settings.database_dsn) as conn:
            added = queries.insert_points(conn, points)
        yield Backfilled(ticker, chart, added, len(points) - added)


@contextmanager
def _logged_retry(ticker: str, chart: str, attempt: stamina.Attempt) -> Iterator[None]:
    """Log why the chart is requested again."""
    try:
        yield
    except ExchangeError as error:
        if error.transient and attempt.num < _MAX_ATTEMPTS:
            logger.warning("the chart {} of {} is requested again: {}", chart, ticker, error)
        raise


def _is_transient(error: Exception) -> bool | float:
    """Whether to retry; a number is the pause that the exchange requests, in seconds."""
    return isinstance(error, ExchangeError) and error.transient and (error.retry_after or True)
