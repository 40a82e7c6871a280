"""One typed function for each file of sql/queries; only they know its parameters.

The recorder writes with a blocking connection, the API reads with an asynchronous one.
"""

from tracker.queries.candles import (
    bucket_candles,
    regular_candles,
    stored_hours,
    zone_candles,
)
from tracker.queries.changes import changes_after, listen, newest_batch, prices_of, revisions
from tracker.queries.exports import (
    archived_months,
    exported_columns,
    exported_lines,
    exported_tickers,
    read_columns,
)
from tracker.queries.gaps import (
    counted_hours,
    counted_minutes,
    gap_page,
    tracked_since,
)
from tracker.queries.prices import filled_prices, newest_prices, price_pages
from tracker.queries.recording import (
    discard_misses,
    drop_prices,
    exchange_names,
    insert_miss,
    insert_points,
    insert_price,
    insert_prices,
    record_heartbeat,
    repairable_minutes,
)
from tracker.queries.service import (
    applied_migrations,
    heartbeats,
    listed_names,
    locked_indexes,
    missing_roles,
    newest_minutes,
    recent_hours,
    replica_lag,
    stored_tickers,
    unchanged_prices,
    vanished_names,
)
from tracker.queries.statistics import statistics
from tracker.queries.tickers import ticker_summaries

__all__ = [
    "applied_migrations",
    "archived_months",
    "bucket_candles",
    "changes_after",
    "counted_hours",
    "counted_minutes",
    "discard_misses",
    "drop_prices",
    "exchange_names",
    "exported_columns",
    "exported_lines",
    "exported_tickers",
    "filled_prices",
    "gap_page",
    "heartbeats",
    "insert_miss",
    "insert_points",
    "insert_price",
    "insert_prices",
    "listed_names",
    "listen",
    "locked_indexes",
    "missing_roles",
    "newest_batch",
    "newest_minutes",
    "newest_prices",
    "price_pages",
    "prices_of",
    "read_columns",
    "recent_hours",
    "record_heartbeat",
    "regular_candles",
    "repairable_minutes",
    "replica_lag",
    "revisions",
    "statistics",
    "stored_hours",
    "stored_tickers",
    "ticker_summaries",
    "tracked_since",
    "unchanged_prices",
    "vanished_names",
    "zone_candles",
]
