"""One typed function for each file of sql/queries; only they know its parameters.

The worker writes with a blocking connection, the API reads with an asynchronous one.
"""

from tracker.queries.candles import (
    bucket_candles,
    regular_candles,
    stored_hours,
    zone_candles,
)
from tracker.queries.changes import changed_minutes, listen, prices_of, revisions
from tracker.queries.exporting import exported_lines
from tracker.queries.keeping import drop_prices
from tracker.queries.missing import (
    counted_hours,
    counted_minutes,
    gap_page,
    tracked_since,
)
from tracker.queries.prices import price_pages
from tracker.queries.service import (
    applied_migrations,
    beat,
    heartbeats,
    missing_roles,
    newest_minutes,
    recent_hours,
    replica_lag,
    stored_tickers,
)
from tracker.queries.tickers import ticker_summaries
from tracker.queries.writing import (
    holes,
    insert_miss,
    insert_points,
    insert_price,
    insert_prices,
)

__all__ = [
    "applied_migrations",
    "beat",
    "bucket_candles",
    "changed_minutes",
    "counted_hours",
    "counted_minutes",
    "drop_prices",
    "exported_lines",
    "gap_page",
    "heartbeats",
    "holes",
    "insert_miss",
    "insert_points",
    "insert_price",
    "insert_prices",
    "listen",
    "missing_roles",
    "newest_minutes",
    "price_pages",
    "prices_of",
    "recent_hours",
    "regular_candles",
    "replica_lag",
    "revisions",
    "stored_hours",
    "stored_tickers",
    "ticker_summaries",
    "tracked_since",
    "zone_candles",
]
