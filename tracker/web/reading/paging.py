"""A page of a listing: read next to its cursor, shown in the listing's order, with its neighbours.

A cursor is a minute, never a count: rows that come meanwhile move no page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection

from tracker import queries
from tracker.models import Price
from tracker.web.asked.ranges import Listing, Minutes, moment, number


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some prices of a listing, in its order.

    seen: the minutes that were looked at; a change elsewhere leaves the page as it is.
    older, newer: the cursor of the page with older prices, and with newer ones; None: no such page.
    """

    prices: Sequence[Price]
    seen: Minutes
    older: datetime | None
    newer: datetime | None


async def read(
    conn: AsyncConnection, ticker: str, listing: Listing, count: int, *, sourced: bool
) -> Page:
    """The page of at most *count* prices; a row more than it shows tells of a page beyond."""
    left, upwards = listing.left, listing.upwards
    found = await prices(conn, ticker, left, count + 1, upwards=upwards, sourced=sourced)
    shown, more = found[:count], len(found) > count
    edge = number(shown[0].created_at) if shown else left.first if upwards else left.last
    behind = _behind(listing, edge)
    is_behind = listing.inside and await prices(conn, ticker, behind, 1, upwards=not upwards)
    back = moment(edge) if is_behind else None
    beyond = shown[-1].created_at if more else None
    return Page(
        prices=shown if upwards == listing.rising else shown[::-1],
        seen=_seen(left, beyond, upwards=upwards),
        older=back if upwards else beyond,
        newer=beyond if upwards else back,
    )


async def prices(
    conn: AsyncConnection,
    ticker: str,
    within: Minutes,
    count: int,
    *,
    upwards: bool,
    sourced: bool = False,
) -> Sequence[Price]:
    """Up to *count* prices *within* those minutes: the oldest first if *upwards*, or the newest."""
    if not within:
        return []
    if sourced:
        query = queries.sourced_rising_page if upwards else queries.sourced_page
        return await query(conn, ticker, since=within.since, until=within.until, count=count)
    plain = queries.rising_page if upwards else queries.price_page
    return await plain(conn, ticker, since=within.since, until=within.until, count=count)


def _behind(listing: Listing, edge: int) -> Minutes:
    """What the listing has on the other side of the page's *edge*, where its cursor is."""
    whole = listing.whole
    if listing.upwards:
        return Minutes(whole.first, min(edge - 1, whole.last))
    return Minutes(max(edge + 1, whole.first), whole.last)


def _seen(left: Minutes, last_read: datetime | None, *, upwards: bool) -> Minutes:
    if last_read is None:
        return left
    end = number(last_read)
    return Minutes(left.first, end) if upwards else Minutes(end, left.last)
