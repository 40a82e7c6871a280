"""What the API shows of prices: pages, as text that PostgreSQL has made."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import product

import orjson
from psycopg import AsyncConnection

from tracker.queries.read import compose, read

_PRICE_PAGES = read("queries/price_pages")

_OBSERVED_AT = """to_char(observed_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""  # the session is UTC's


def sourced_ending(after_time: str) -> str:
    """SQL for what ends a line with its origin; *after_time* is SQL for its template."""
    as_json = f"coalesce(to_json({_OBSERVED_AT})::text, 'null')"
    return f"format({after_time}, source, {_OBSERVED_AT}, {as_json})"


def _statement(*, ascending: bool, sourced: bool) -> bytes:
    return compose(
        _PRICE_PAGES,
        order="ASC" if ascending else "DESC",
        first="min" if ascending else "max",
        last="max" if ascending else "min",
        columns="id, price, created_at" + (", source, observed_at" if sourced else ""),
        after_time=sourced_ending("after_time") if sourced else "after_time",
    )


# By (ascending, sourced).
PAGE_STATEMENTS = {
    (ascending, sourced): _statement(ascending=ascending, sourced=sourced)
    for ascending, sourced in product((False, True), repeat=2)
}

# The texts around a line's values: before_id, before_price, before_day, before_time, after_time.
# Where source and observed_at are read too, the last is a template of PostgreSQL's format().
LineTemplate = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Up to *count* prices of *ticker* with ``since <= created_at <= until``.

    template: what a line is made of beside its values.
    """

    ticker: str
    template: LineTemplate
    since: datetime
    until: datetime
    count: int


@dataclass(frozen=True, slots=True)
class PricePage:
    """Consecutive prices as text.

    text: a line for each, LF between two; None without any, as both minutes then are.
    first_at, last_at: the minutes of the first line and of the last.
    more: whether another price follows.
    seconds: what the server took for the whole batch.
    """

    text: str | None
    first_at: datetime | None
    last_at: datetime | None
    more: bool
    seconds: float = field(default=0.0, compare=False)


EMPTY_PAGE = PricePage(None, None, None, more=False)

PageBatch = Sequence[PageQuery]
PageReader = Callable[[AsyncConnection, PageBatch], Awaitable[list[PricePage]]]


async def price_pages(
    conn: AsyncConnection, batch: PageBatch, *, ascending: bool = False, sourced: bool = False
) -> list[PricePage]:
    """A page for each query of *batch*, in its order: the newest prices, newest first.

    ascending: the oldest prices, oldest first.
    sourced: templates also take source, and observed_at as text and as JSON.
    """
    rows = [_json_row(place, query) for place, query in enumerate(batch)]
    parameters = {"batch": orjson.dumps(rows).decode()}
    cursor = await conn.execute(PAGE_STATEMENTS[ascending, sourced], parameters)
    return [_without_next(PricePage(*row)) for row in await cursor.fetchall()]


def _json_row(place: int, query: PageQuery) -> Mapping[str, object]:
    return {
        "place": place,
        "ticker": query.ticker,
        "since": query.since,
        "until": query.until,
        "count": query.count,
        **query.template,
    }


def _without_next(page: PricePage) -> PricePage:
    """Without the line that only shows that more follow."""
    return replace(page, text=page.text.rpartition("\n")[0]) if page.text and page.more else page
