"""The price of a moment: that of its minute, or one that lies nearer."""

from collections.abc import Awaitable
from datetime import datetime

from psycopg import AsyncConnection

from tracker import queries
from tracker.models import Price, minute_of
from tracker.web.asked import ranges
from tracker.web.reading import paging


async def price(
    conn: AsyncConnection, ticker: str, date: datetime, tolerance: int, *, sourced: bool
) -> Price | None:
    """The price whose minute begins nearest to *date*, the earlier of two; None if there is none.

    It is that of the minute that contains *date*, or one that begins within *tolerance* seconds.
    """
    if not tolerance:
        return await _of_minute(conn, ticker, date, sourced=sourced)
    earlier, later = ranges.around(date, tolerance)
    found = [
        *await paging.prices(conn, ticker, earlier, 1, upwards=False, sourced=sourced),
        *await paging.prices(conn, ticker, later, 1, upwards=True, sourced=sourced),
    ]
    return min(found, key=lambda each: abs(each.created_at - date), default=None)


def _of_minute(
    conn: AsyncConnection, ticker: str, date: datetime, *, sourced: bool
) -> Awaitable[Price | None]:
    price_at = queries.sourced_at if sourced else queries.price_at
    return price_at(conn, ticker, minute_of(date))
