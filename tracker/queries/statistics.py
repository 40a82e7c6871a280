"""Statistics of a range."""

from psycopg import AsyncConnection

from tracker.models import Statistics
from tracker.queries.statements import fetch_rows, load_sql
from tracker.times import Span

_STATISTICS = load_sql("queries/statistics")


async def statistics(conn: AsyncConnection, ticker: str, within: Span) -> Statistics:
    """Statistics of the stored minutes of *within*."""
    parameters = {"ticker": ticker, "since": within.since, "until": within.until}
    [row] = await fetch_rows(conn, _STATISTICS, Statistics, parameters)
    return row
