"""What the API shows of prices: pages, and single minutes."""

from datetime import datetime, timedelta
from typing import Any, TypeVar

from psycopg import AsyncConnection

from tracker.models import FIRST, Price, SourcedPrice
from tracker.queries.read import read, rows

P = TypeVar("P", bound=Price)

_PRICE_PAGE = read("queries/price_page")
_SOURCED_PAGE = read("queries/sourced_page")
_RISING_PAGE = read("queries/rising_page")
_SOURCED_RISING_PAGE = read("queries/sourced_rising_page")
_PRICE_AT = read("queries/price_at")
_SOURCED_AT = read("queries/sourced_at")

# Looking a month far first keeps a query to one or two chunks, however long the archive.
_NEAR = timedelta(days=31)


async def price_page(
    conn: AsyncConnection, ticker: str, *, since: datetime = FIRST, until: datetime, count: int
) -> list[Price]:
    """Up to *count* prices of *ticker* with ``since <= created_at <= until``, newest first."""
    parameters = {"ticker": ticker, "since": since, "until": until, "count": count}
    return await _falling(conn, _PRICE_PAGE, Price, parameters)


async def sourced_page(
    conn: AsyncConnection, ticker: str, *, since: datetime = FIRST, until: datetime, count: int
) -> list[SourcedPrice]:
    """The same as `price_page`, with where each price comes from."""
    parameters = {"ticker": ticker, "since": since, "until": until, "count": count}
    return await _falling(conn, _SOURCED_PAGE, SourcedPrice, parameters)


async def rising_page(
    conn: AsyncConnection, ticker: str, *, since: datetime, until: datetime, count: int
) -> list[Price]:
    """Up to *count* prices of *ticker* with ``since <= created_at <= until``, oldest first."""
    parameters = {"ticker": ticker, "since": since, "until": until, "count": count}
    return await _rising(conn, _RISING_PAGE, Price, parameters)


async def sourced_rising_page(
    conn: AsyncConnection, ticker: str, *, since: datetime, until: datetime, count: int
) -> list[SourcedPrice]:
    """The same as `rising_page`, with where each price comes from."""
    parameters = {"ticker": ticker, "since": since, "until": until, "count": count}
    return await _rising(conn, _SOURCED_RISING_PAGE, SourcedPrice, parameters)


async def price_at(conn: AsyncConnection, ticker: str, minute: datetime) -> Price | None:
    """The price of *ticker* for *minute*, which stands on the minute grid."""
    found = await rows(conn, _PRICE_AT, Price, {"ticker": ticker, "minute": minute})
    return found[0] if found else None


async def sourced_at(conn: AsyncConnection, ticker: str, minute: datetime) -> SourcedPrice | None:
    """The same as `price_at`, with where the price comes from."""
    found = await rows(conn, _SOURCED_AT, SourcedPrice, {"ticker": ticker, "minute": minute})
    return found[0] if found else None


async def _falling(
    conn: AsyncConnection, query: bytes, row: type[P], parameters: dict[str, Any]
) -> list[P]:
    since, until = parameters["since"], parameters["until"]
    near = max(since, until - min(_NEAR, until - FIRST))
    found = await rows(conn, query, row, parameters | {"since": near})
    if near == since or len(found) == parameters["count"]:
        return found
    return await rows(conn, query, row, parameters)


async def _rising(
    conn: AsyncConnection, query: bytes, row: type[P], parameters: dict[str, Any]
) -> list[P]:
    """Who asks from the beginning of time on has nothing near."""
    since, until = parameters["since"], parameters["until"]
    if since > FIRST and until - since > _NEAR:
        found = await rows(conn, query, row, parameters | {"until": since + _NEAR})
        if len(found) == parameters["count"]:
            return found
    return await rows(conn, query, row, parameters)
