"""A summary of the stored prices of each index."""

from datetime import datetime

from psycopg import AsyncConnection

from tracker.models import Summary
from tracker.queries.statements import fetch_rows, load_sql
from tracker.times import FIRST

_TICKER_SUMMARIES = load_sql("queries/ticker_summaries")


async def ticker_summaries(conn: AsyncConnection, until: datetime) -> list[Summary]:
    """A summary of each tracked index, by name; prices after *until* are ignored."""
    return await fetch_rows(conn, _TICKER_SUMMARIES, Summary, {"since": FIRST, "until": until})
