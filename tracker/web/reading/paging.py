"""A page of a listing: read next to its cursor, shown in the listing's order, with its neighbours.

A cursor is a minute, never a count: rows that come meanwhile move no page.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import product

from psycopg import AsyncConnection

from tracker import queries
from tracker.queries.prices import EMPTY_PAGE, PageQuery, PageReader, PricePage
from tracker.web.answer.formats import MEDIA_TYPES
from tracker.web.answer.lines import Form
from tracker.web.asked.ranges import Listing, Minutes, moment, number

Ask = Callable[[PageReader, PageQuery], Awaitable[PricePage]]

_PLAIN = Form(MEDIA_TYPES["csv"])

# By (ascending, sourced). Queries that have the same reader can share a round trip.
_READERS: dict[tuple[bool, bool], PageReader] = {
    (ascending, sourced): partial(queries.price_pages, ascending=ascending, sourced=sourced)
    for ascending, sourced in product((False, True), repeat=2)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some prices of a listing.

    lines: in its order.
    newest: the newest minute among them, if there is any.
    seen: the minutes that were looked at; a change elsewhere leaves the page as it is.
    older, newer: the cursor of the page with older prices, and with newer ones; None: no such page.
    """

    lines: str | None
    newest: datetime | None
    seen: Minutes
    older: datetime | None
    newer: datetime | None


async def read(ask: Ask, ticker: str, listing: Listing, count: int, form: Form) -> Page:
    """The page of at most *count* prices, written in that *form*."""
    left, upwards = listing.left, listing.upwards
    found = await prices(ask, ticker, left, count, form, ascending=upwards)
    beyond = found.last_at if found.more else None
    edge = number(found.first_at) if found.first_at else left.first if upwards else left.last
    back = moment(edge) if await _is_behind(ask, ticker, listing, edge) else None
    return Page(
        lines=found.text if upwards == listing.rising else _turned(found.text),
        newest=found.last_at if upwards else found.first_at,
        seen=_seen(left, beyond, upwards=upwards),
        older=back if upwards else beyond,
        newer=beyond if upwards else back,
    )


async def prices(
    ask: Ask,
    ticker: str,
    within: Minutes,
    count: int,
    form: Form = _PLAIN,
    *,
    ascending: bool,
) -> PricePage:
    """Up to *count* prices *within* those minutes: the newest, or if *ascending* the oldest."""
    if not within:
        return EMPTY_PAGE
    reader = _READERS[ascending, bool(form.extras)]
    span = within.since, within.until
    return await ask(reader, PageQuery(ticker, form.template(ticker), *span, count))


def alone(conn: AsyncConnection) -> Ask:
    """Ask on *conn*, each query by itself."""

    async def ask(reader: PageReader, query: PageQuery) -> PricePage:
        [page] = await reader(conn, [query])
        return page

    return ask


async def _is_behind(ask: Ask, ticker: str, listing: Listing, edge: int) -> bool:
    """Whether the listing has prices on the other side of the page's *edge*, where its cursor is.

    Without a cursor there is nothing: the page is the first.
    """
    if not listing.inside:
        return False
    behind = _behind(listing, edge)
    return (await prices(ask, ticker, behind, 1, ascending=not listing.upwards)).text is not None


def _behind(listing: Listing, edge: int) -> Minutes:
    whole = listing.whole
    if listing.upwards:
        return Minutes(whole.first, min(edge - 1, whole.last))
    return Minutes(max(edge + 1, whole.first), whole.last)


def _turned(text: str | None) -> str | None:
    return "\n".join(text.split("\n")[::-1]) if text else text


def _seen(left: Minutes, last_read: datetime | None, *, upwards: bool) -> Minutes:
    if last_read is None:
        return left
    end = number(last_read)
    return Minutes(left.first, end) if upwards else Minutes(end, left.last)
