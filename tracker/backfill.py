"""What the exchange's charts offer of the past, for minutes that have no row yet.

It may be run again, or after an interruption: what is stored is left alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import stamina

from tracker import deribit, progress, queries
from tracker.connection import connected
from tracker.errors import ExchangeError
from tracker.models import Quote
from tracker.settings import Settings
from tracker.times import minute_of

_AT_A_TIME = 100  # rows on one connection, which is bounded in time


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one chart gave: points off the minute grid, or too old to be kept, are not counted."""

    ticker: str
    reach: str
    added: int
    present: int


def backfill(
    settings: Settings, client: deribit.Client, tickers: Sequence[str], ranges: Iterable[str]
) -> Iterator[Outcome]:
    """Store the charts of *tickers* over *ranges*, one after the other.

    Where two charts have a point on one minute, the one that comes first counts.
    Raises ExchangeError, DatabaseDown; what was stored before stays.
    """
    charts = [(ticker, reach) for ticker in tickers for reach in ranges]
    for ticker, reach in progress.counted(charts, len(charts), "charts"):
        points = _fetch(client, ticker, reach, testnet=settings.testnet)
        on_grid = [point for point in points if point.observed_at == minute_of(point.observed_at)]
        if kept_since := settings.kept_since(datetime.now(UTC)):
            on_grid = [point for point in on_grid if point.observed_at >= kept_since]
        added = _store(settings, on_grid)
        present = len(on_grid) - added
        yield Outcome(ticker=ticker, reach=reach, added=added, present=present)


def _again(error: Exception) -> bool | float:
    """Whether what went wrong passes by itself; a number is the pause the exchange asked for."""
    if not isinstance(error, ExchangeError) or not error.passing:
        return False
    return error.retry_after or True


@stamina.retry(on=_again, attempts=4)
def _fetch(client: deribit.Client, ticker: str, reach: str, *, testnet: bool) -> list[Quote]:
    return deribit.fetch_chart(client, ticker, reach, testnet=testnet)


def _store(settings: Settings, points: Sequence[Quote]) -> int:
    added = 0
    for start in range(0, len(points), _AT_A_TIME):
        with connected(settings.database_dsn) as conn:
            added += queries.insert_points(conn, points[start : start + _AT_A_TIME])
    return added
