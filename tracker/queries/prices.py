"""What the API shows of prices: pages, as text that PostgreSQL has made."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from tracker.models import FIRST
from tracker.queries.read import PATTERNS, read

_PRICE_PAGE = read("queries/price_page")
_RISING_PAGE = read("queries/rising_page")
_SOURCED_PAGE = read("queries/sourced_page")
_SOURCED_RISING_PAGE = read("queries/sourced_rising_page")

Asked = dict[str, Any]

# Looking a month far first keeps a query to one or two chunks, however long the archive.
_NEAR = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class Lines:
    """Some prices that follow each other, as text.

    text: a line for each, LF between two; None if there are none, as for both minutes.
    near, far: the minutes of the first line and of the last.
    more: whether another price follows, where no more were asked for.
    """

    text: str | None
    near: datetime | None
    far: datetime | None
    more: bool


NOTHING = Lines(None, None, None, more=False)


async def price_page(
    conn: AsyncConnection,
    ticker: str,
    template: str,
    *,
    since: datetime = FIRST,
    until: datetime,
    count: int,
) -> Lines:
    """Up to *count* prices of *ticker* with ``since <= created_at <= until``, newest first.

    A line is *template*, PostgreSQL's format(), of id, ticker, price and created_at.
    """
    return await _falling(conn, _PRICE_PAGE, _asked(ticker, template, count), since, until)


async def sourced_page(
    conn: AsyncConnection,
    ticker: str,
    template: str,
    *,
    since: datetime = FIRST,
    until: datetime,
    count: int,
) -> Lines:
    """The same; the template also takes source, and observed_at as text and as JSON."""
    return await _falling(conn, _SOURCED_PAGE, _asked(ticker, template, count), since, until)


async def rising_page(
    conn: AsyncConnection,
    ticker: str,
    template: str,
    *,
    since: datetime,
    until: datetime,
    count: int,
) -> Lines:
    """The same as `price_page`, oldest first."""
    return await _rising(conn, _RISING_PAGE, _asked(ticker, template, count), since, until)


async def sourced_rising_page(
    conn: AsyncConnection,
    ticker: str,
    template: str,
    *,
    since: datetime,
    until: datetime,
    count: int,
) -> Lines:
    """The same as `sourced_page`, oldest first."""
    return await _rising(conn, _SOURCED_RISING_PAGE, _asked(ticker, template, count), since, until)


def _asked(ticker: str, template: str, count: int) -> Asked:
    return {
        "ticker": ticker,
        "template": template,
        "separator": "\n",
        "count": count,
        **PATTERNS,
    }


async def _falling(
    conn: AsyncConnection, query: bytes, asked: Asked, since: datetime, until: datetime
) -> Lines:
    near = max(since, until - min(_NEAR, until - FIRST))
    found = await _page(conn, query, {**asked, "since": near, "until": until})
    if near == since or found.more:
        return found
    return await _page(conn, query, {**asked, "since": since, "until": until})


async def _rising(
    conn: AsyncConnection, query: bytes, asked: Asked, since: datetime, until: datetime
) -> Lines:
    """Who asks from the beginning of time on has nothing near."""
    if since > FIRST and until - since > _NEAR:
        found = await _page(conn, query, {**asked, "since": since, "until": since + _NEAR})
        if found.more:
            return found
    return await _page(conn, query, {**asked, "since": since, "until": until})


async def _page(conn: AsyncConnection, query: bytes, parameters: Asked) -> Lines:
    cursor = await conn.execute(query, parameters)
    found = await cursor.fetchone()
    assert found is not None  # an aggregate always answers
    text, near, far, more = found
    return Lines(text.rpartition("\n")[0] if more else text, near, far, more)
