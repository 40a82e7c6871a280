"""Summaries of the stored prices of indexes."""

from datetime import datetime

from psycopg import AsyncConnection
from psycopg.rows import scalar_row

from tracker.models import Summary
from tracker.queries.statements import fetch_rows, load_sql
from tracker.times import FIRST, LAST

_TICKER_SUMMARIES = load_sql("queries/ticker_summaries")
_PRICE_DECIMALS = load_sql("queries/price_decimals")

_SAMPLE = 1440  # prices: a day of polls, of which some have all decimals


async def ticker_summaries(conn: AsyncConnection, until: datetime) -> list[Summary]:
    """A summary of each tracked index, by name; prices after *until* are ignored."""
    return await fetch_rows(conn, _TICKER_SUMMARIES, Summary, {"since": FIRST, "until": until})


async def price_decimals(conn: AsyncConnection, ticker: str) -> int:
    """The number of decimals of *ticker*, by its newest prices; 0 without any."""
    parameters = {"ticker": ticker, "since": FIRST, "until": LAST, "count": _SAMPLE}
    async with conn.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(_PRICE_DECIMALS, parameters)
        return await cursor.fetchone() or 0
