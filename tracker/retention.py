"""How long prices are kept, and how: what is old is dropped, or compressed, as the settings say.

Both may be done again, by several at once, and be cut short: the next time goes on.
"""

from datetime import datetime

from loguru import logger
from psycopg.errors import FeatureNotSupported

from tracker import metrics, queries
from tracker.connection import connected
from tracker.errors import DatabaseDown
from tracker.settings import Settings

_CUTTING = 60.0  # seconds for a day of prices
_COMPRESSING = 1200.0  # seconds for a chunk


def tidy(settings: Settings, now: datetime) -> None:
    """Drop what is older than RETENTION, and compress what is older than COMPRESS_AFTER.

    What somebody else holds, or a database that is away, is left to the next time.
    """
    try:
        if horizon := settings.kept_since(now):
            _cut(settings, horizon)
        if horizon := settings.plain_since(now):
            _compress(settings, horizon)
    except DatabaseDown as error:
        metrics.TIDY_FAILURES.inc()
        logger.warning("old prices are left for an hour: {}", error)


def _cut(settings: Settings, until: datetime) -> None:
    chunks = minutes = 0
    reached = None
    while reached is None or reached < until:
        with connected(settings.database_dsn, _CUTTING) as conn:
            cut = queries.cut_prices(conn, until)
        metrics.DROPPED.inc(cut.minutes)
        reached, chunks, minutes = cut.reached, chunks + cut.chunks, minutes + cut.minutes
    if minutes or chunks:
        logger.bind(until=until.isoformat(), dropped=minutes, chunks=chunks).info(
            "dropped {:,} prices from before {:%Y-%m-%d}, {} whole chunks", minutes, until, chunks
        )


def _compress(settings: Settings, until: datetime) -> None:
    try:
        while chunk := _compressed(settings, until):
            metrics.COMPRESSED.inc()
            logger.bind(chunk=chunk).info("compressed {}", chunk)
    except FeatureNotSupported as error:
        logger.warning("COMPRESS_AFTER: nothing is compressed: {}", error.diag.message_primary)


def _compressed(settings: Settings, until: datetime) -> str | None:
    with connected(settings.database_dsn, _COMPRESSING) as conn:
        return queries.compress_prices(conn, until)
