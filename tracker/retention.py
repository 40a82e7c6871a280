"""Retention: the worker drops old prices once an hour, as RETENTION says.

It may run twice, in several workers at once, or be interrupted: the next run continues.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from loguru import logger

from tracker import metrics, queries
from tracker.connection import connected
from tracker.errors import DatabaseDown, ExchangeError
from tracker.settings import Settings

_STATEMENT_TIMEOUT = 60.0  # seconds, for a day of prices
_MAX_CLOCK_DIFFERENCE = timedelta(hours=1)


def apply_retention(settings: Settings, fetch_time: Callable[[], datetime]) -> None:
    """Drop what is older than RETENTION, counted from the newest stored price.

    fetch_time: the exchange's clock; raises ExchangeError. Nothing is dropped while it is unknown
    or differs from this machine's by more than an hour: the age of prices is unknown then. A locked
    table or an unavailable database postpones the rest to the next hour.
    """
    if settings.retention is None:
        return
    try:
        _require_right_clock(fetch_time())
        _drop_prices(settings, settings.retention)
    except (DatabaseDown, ExchangeError, _WrongClock) as error:
        metrics.TIDY_FAILURES.inc()
        logger.warning("old prices are left for an hour: {}", error)


class _WrongClock(Exception):
    """This machine's clock or the exchange's is wrong."""


def _require_right_clock(exchange_time: datetime) -> None:
    difference = datetime.now(UTC) - exchange_time
    if abs(difference) > _MAX_CLOCK_DIFFERENCE:
        side = "ahead of" if difference > timedelta() else "behind"
        raise _WrongClock(
            f"this machine's clock is {abs(difference).total_seconds() / 3600:,.0f} h {side} the"
            " exchange's: set it right, or check CLIENT_BASE_URL"
        )


def _drop_prices(settings: Settings, retention: timedelta) -> None:
    chunks = minutes = 0
    while True:
        with connected(settings.database_dsn, _STATEMENT_TIMEOUT) as conn:
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
