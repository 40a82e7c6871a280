"""Drop old prices once an hour, as RETENTION says.

It may run twice, in several workers at once, or be interrupted: the next run continues.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from loguru import logger

from tracker import queries
from tracker.database import Timeouts, connect
from tracker.errors import DatabaseDown, ExchangeError
from tracker.recorder import metrics
from tracker.recorder.deribit import MAX_CLOCK_DIFFERENCE, describe_difference
from tracker.settings import Settings

_TIMEOUTS = Timeouts(statement=60.0, response=63.0)  # for a day of prices


def apply_retention(settings: Settings, now: datetime, fetch_time: Callable[[], datetime]) -> None:
    """Drop prices older than RETENTION, counted from the newest stored price.

    fetch_time: the exchange's clock; raises ExchangeError. Nothing is dropped while it is unknown
    or differs from *now* by more than an hour: the age of prices is unknown then. A locked table
    or an unavailable database postpones the rest to the next hour.
    """
    if settings.retention is None:
        return
    try:
        difference = now - fetch_time()
        if abs(difference) > MAX_CLOCK_DIFFERENCE:
            _postpone(describe_difference(difference))
        else:
            _drop_prices(settings.database_dsn, settings.retention)
    except (DatabaseDown, ExchangeError) as error:
        _postpone(str(error))


def _postpone(reason: str) -> None:
    metrics.RETENTION_FAILURES.inc()
    logger.warning("old prices are retained for another hour: {}", reason)


def _drop_prices(dsn: str, retention: timedelta) -> None:
    chunks = minutes = 0
    while True:
        with connect(dsn, _TIMEOUTS) as conn:
            dropped = queries.drop_prices(conn, retention)
        metrics.DROPPED.inc(dropped.minutes)
        chunks, minutes = chunks + dropped.chunks, minutes + dropped.minutes
        if dropped.reached == dropped.horizon:
            break
    if dropped.horizon and (minutes or chunks):
        until = dropped.horizon
        logger.bind(until=until.isoformat(), dropped=minutes, chunks=chunks).info(
            "dropped {:,} prices from before {:%Y-%m-%d}, {} whole chunks", minutes, until, chunks
        )
