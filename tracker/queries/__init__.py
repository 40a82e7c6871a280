"""One typed function for each file of sql/queries; only they know its parameters.

The worker writes with a blocking connection, the API reads with an asynchronous one.
"""

from tracker.queries.missing import (
    counted_hours,
    counted_minutes,
    incomplete_hours,
    recorded_misses,
    stored_minutes,
    tracked_since,
)
from tracker.queries.prices import price_at, price_page, sourced_at, sourced_page
from tracker.queries.service import applied_migrations, newest_minutes, recent_hours, stored_tickers
from tracker.queries.writing import holes, insert_miss, insert_points, insert_price

__all__ = [
    "applied_migrations",
    "counted_hours",
    "counted_minutes",
    "holes",
    "incomplete_hours",
    "insert_miss",
    "insert_points",
    "insert_price",
    "newest_minutes",
    "price_at",
    "price_page",
    "recent_hours",
    "recorded_misses",
    "sourced_at",
    "sourced_page",
    "stored_minutes",
    "stored_tickers",
    "tracked_since",
]
