"""Pages of prices, as text that PostgreSQL has rendered; filled ones; the newest of indexes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import product

import orjson
from psycopg import AsyncConnection

from tracker.models import FilledPrice, SourcedPrice
from tracker.queries.statements import compose_sql, fetch_rows, load_sql

_PRICE_PAGES = load_sql("queries/price_pages")
_FILLED_PRICES = load_sql("queries/filled_prices")
_NEWEST_PRICES = load_sql("queries/newest_prices")

_OBSERVED_AT = """to_char(observed_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""  # the session is in UTC


def line_end_with_source(after_time: str) -> str:
    """SQL for a line's end with source and observed_at; *after_time* is SQL for its template."""
    as_json = f"coalesce(to_json({_OBSERVED_AT})::text, 'null')"
    return f"format({after_time}, source, {_OBSERVED_AT}, {as_json})"


def _compose_statement(*, ascending: bool, with_source: bool) -> bytes:
    return compose_sql(
        _PRICE_PAGES,
        order="ASC" if ascending else "DESC",
        first="min" if ascending else "max",
        last="max" if ascending else "min",
        columns="id, price, created_at" + (", source, observed_at" if with_source else ""),
        after_time=line_end_with_source("after_time") if with_source else "after_time",
    )


# By (ascending, with_source).
PAGE_STATEMENTS = {
    (ascending, with_source): _compose_statement(ascending=ascending, with_source=with_source)
    for ascending, with_source in product((False, True), repeat=2)
}

# The texts around a line's values: before_id, before_price, before_day, before_time, after_time.
# Where source and observed_at are read too, the last is a template of PostgreSQL's format().
LineTemplate = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Up to *count* prices of *ticker* with ``since <= created_at <= until``.

    The newest ones, newest first; if ascending, the oldest ones, oldest first.
    template: the texts between the values of a line.
    with_source: whether the template also takes source, and observed_at as text and as JSON.
    """

    ticker: str
    template: LineTemplate
    since: datetime
    until: datetime
    count: int
    ascending: bool
    with_source: bool = False


@dataclass(frozen=True, slots=True)
class PricePage:
    """Consecutive prices as text.

    text: a line for each price, separated by LF; None without prices, as are both minutes.
    first_at, last_at: the minutes of the first line and of the last.
    more: whether another price follows.
    seconds: the duration of the whole batch on the server.
    """

    text: str | None
    first_at: datetime | None
    last_at: datetime | None
    more: bool
    seconds: float = field(default=0.0, compare=False)


EMPTY_PAGE = PricePage(None, None, None, more=False)


async def price_pages(conn: AsyncConnection, batch: Sequence[PageQuery]) -> list[PricePage]:
    """A page for each query of *batch*, in its order; all have one direction and with_source."""
    rows = [
        {
            "place": place,
            "ticker": query.ticker,
            "since": query.since,
            "until": query.until,
            "count": query.count,
            **query.template,
        }
        for place, query in enumerate(batch)
    ]
    parameters = {"batch": orjson.dumps(rows).decode()}
    statement = PAGE_STATEMENTS[batch[0].ascending, batch[0].with_source]
    cursor = await conn.execute(statement, parameters)
    pages = [PricePage(*row) for row in await cursor.fetchall()]
    return [  # without the line that only shows that more follow
        replace(page, text=page.text.rpartition("\n")[0]) if page.text and page.more else page
        for page in pages
    ]


async def newest_prices(
    conn: AsyncConnection, tickers: Sequence[str], since: datetime, until: datetime
) -> list[SourcedPrice]:
    """The newest price with ``since <= created_at <= until`` of each of *tickers*, in their order.

    Without those that have none.
    """
    parameters = {"tickers": list(tickers), "since": since, "until": until}
    return await fetch_rows(conn, _NEWEST_PRICES, SourcedPrice, parameters)


async def filled_prices(
    conn: AsyncConnection, ticker: str, since: datetime, until: datetime
) -> list[FilledPrice]:
    """Every minute from *since* to *until* that is over or stored, ascending."""
    parameters = {"ticker": ticker, "since": since, "until": until}
    return await fetch_rows(conn, _FILLED_PRICES, FilledPrice, parameters)
