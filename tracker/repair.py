"""From holes to rows: what the exchange's charts still know of minutes that were not polled.

A chart's average fills only the very minute it stands on; no neighbour is repeated.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from itertools import groupby
from threading import Lock

from loguru import logger

from tracker import deribit, metrics, queries
from tracker.connection import Database
from tracker.errors import ExchangeError
from tracker.models import Quote
from tracker.settings import Settings
from tracker.times import MINUTE, minute_of

Hole = tuple[str, datetime]

_RECENT = timedelta(minutes=59)  # the chart 1h has a point on every minute of these
_REACH = timedelta(days=2) - timedelta(hours=1)  # the chart 2d has one every five minutes
_VAIN = timedelta(minutes=10)  # a chart without a minute may lag, or have been cut short


class Repairer:
    """Fills holes; remembers those that no chart had, so as not to ask for them each minute."""

    def __init__(self, settings: Settings, client: deribit.Client, database: Database) -> None:
        """A repairer for *settings* that asks *client* and stores in *database*."""
        self._settings = settings
        self._client = client
        self._database = database
        self._vain: dict[Hole, datetime] = {}  # since when
        self._turn = Lock()

    def repair(self, now: datetime) -> int:
        """Fill what can be filled of the two days before *now*'s minute: how many minutes.

        One request for each index and chart with holes, none where there are none. One repair
        runs at a time; another one finds nothing to do. Raises DatabaseDown.
        """
        if not self._turn.acquire(blocking=False):
            return 0
        try:
            recent = minute_of(now) - _RECENT
            self._vain = {hole: at for hole, at in self._vain.items() if now - at < _VAIN}
            holes = self._holes(recent, minute_of(now) - MINUTE)
            asked = groupby(holes, lambda hole: (hole[0], "1h" if hole[1] >= recent else "2d"))
            return sum(
                self._fill(*chart, {minute for _, minute in group}, now) for chart, group in asked
            )
        finally:
            self._turn.release()

    def _holes(self, recent: datetime, until: datetime) -> list[Hole]:
        since = _five_minute_mark(recent - _REACH)
        tickers = self._settings.tickers
        found = self._database.run(
            lambda conn: queries.holes(conn, tickers, since=since, recent=recent, until=until)
        )
        for ticker in tickers:
            metrics.OPEN_HOLES.labels(ticker).set(sum(hole[0] == ticker for hole in found))
        return [hole for hole in found if hole not in self._vain]

    def _fill(self, ticker: str, reach: str, minutes: Collection[datetime], now: datetime) -> int:
        line = logger.bind(ticker=ticker, chart=reach)
        try:
            points = self._points(ticker, reach)
        except ExchangeError as error:
            metrics.REPAIR_FAILURES.labels(ticker).inc()
            line.warning("{} holes stay open for now: {}", len(minutes), error)
            return 0
        filled = self._store([point for point in points if point.observed_at in minutes])
        known = {point.observed_at for point in points}
        self._vain |= {(ticker, minute): now for minute in minutes if minute not in known}
        metrics.REPAIRED.labels(ticker).inc(filled)
        metrics.OPEN_HOLES.labels(ticker).dec(filled)
        line.info("repaired {} of {} holes", filled, len(minutes))
        return filled

    def _points(self, ticker: str, reach: str) -> list[Quote]:
        testnet = self._settings.testnet
        return deribit.fetch_chart(self._client, ticker, reach, testnet=testnet)

    def _store(self, points: list[Quote]) -> int:
        return self._database.run(lambda conn: queries.insert_points(conn, points))


def _five_minute_mark(moment: datetime) -> datetime:
    """The first minute at or after *moment* on which a point of the chart 2d stands."""
    return moment + timedelta(minutes=-moment.minute % 5)
