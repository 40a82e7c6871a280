"""Summaries of the stored prices of indexes."""

from collections.abc import Sequence
from datetime import datetime

from psycopg import AsyncConnection

from tracker.models import Summary
from tracker.queries.statements import fetch_rows, load_sql
from tracker.times import FIRST

_TICKER_SUMMARIES = load_sql("queries/ticker_summaries")


async def ticker_summaries(
    conn: AsyncConnection, until: datetime, tickers: Sequence[str] | None = None
) -> list[Summary]:
    """A summary of each of *tickers* (None: of all) that is tracked, by name.

    Prices after *until* are ignored.
    """
    parameters = {
        "tickers": None if tickers is None else list(tickers),
        "since": FIRST,
        "until": until,
    }
    return await fetch_rows(conn, _TICKER_SUMMARIES, Summary, parameters)
