"""GET /prices, /prices/last and /prices/filtered: pages, the newest, that of a moment."""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated

from starlette.responses import Response

from tracker import queries, rows
from tracker.errors import NotFound
from tracker.queries.prices import EMPTY_PAGE, PageQuery, PricePage
from tracker.times import EPOCH, FIRST, LAST, MINUTE, format_moment, minute_of
from tracker.web import params, responses, schemas
from tracker.web.batching import PageBatcher
from tracker.web.database import QUERY_DEADLINE
from tracker.web.endpoint import AppRequest, endpoint, require_ticker
from tracker.web.params import TickerQuery
from tracker.web.responses import CSV, DataResponse, Dependency, PriceFormat, negotiate

MAX_TOLERANCE = 86_400  # seconds

DATE = params.moment("date", "Any moment of the requested minute.", required=True)
TOLERANCE = params.integer(
    "tolerance",
    0,
    MAX_TOLERANCE,
    "How many seconds the `created_at` of a price may be away from `date`: the nearest price is"
    " returned, the earlier of two. The price of the minute that contains `date` always qualifies.",
)

PRICE_PROPERTIES: dict[str, params.Schema] = {
    "id": {"type": "integer", "description": "Grows with insertion, not with time"},
    "ticker": schemas.TICKER,
    "price": {**schemas.PRICE, "description": "An exact decimal, in the index's quote currency"},
    "created_at": {**schemas.MINUTE, "description": "The UTC minute the price belongs to"},
    "source": schemas.ref(
        schemas.named_schema(
            "Source",
            schemas.one_of(
                *("poll", "chart", "import"),
                description="poll: requested in its minute; chart: an average of the exchange's"
                " charts; import: from a file",
            ),
        )
    ),
    "observed_at": schemas.or_null(
        {"type": "string", "format": "date-time"},
        "The exchange's clock when it gave the value, with microseconds; null if it is not known",
    ),
}
PRICE = schemas.model(
    "Price",
    PRICE_PROPERTIES,
    description="A stored price; `include` adds source and observed_at",
    optional=("source", "observed_at"),
)
LISTED_PRICE = schemas.model(
    "ListedPrice",
    {
        **PRICE_PROPERTIES,
        "id": schemas.or_null({"type": "integer"}, "Grows with insertion; null where filled"),
        "price": schemas.or_null(
            schemas.PRICE,
            "An exact decimal, in the index's quote currency; null only with `fill`, without an"
            " earlier price",
        ),
        "filled": {
            "type": "boolean",
            "description": "With `fill`: whether the minute is not stored",
        },
        "source": schemas.or_null(PRICE_PROPERTIES["source"], "Null where filled"),
    },
    description="A stored price, or with `fill` a minute without one; `include` adds source and"
    " observed_at",
    optional=("filled", "source", "observed_at"),
)
EXAMPLE = {"id": 1, "ticker": "btc_usd", "price": "68241.50", "created_at": "2024-01-15T12:00:00Z"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PricesQuery(TickerQuery):
    """A page of a range."""

    start_date: Annotated[datetime | None, params.START] = None
    end_date: Annotated[datetime | None, params.END] = None
    order: Annotated[str, params.ORDER] = "desc"
    limit: Annotated[int, params.LIMIT] = params.DEFAULT_LIMIT
    before: Annotated[datetime | None, params.BEFORE] = None
    after: Annotated[datetime | None, params.AFTER] = None
    fill: Annotated[str | None, params.FILL] = None
    include: Annotated[tuple[str, ...], params.INCLUDE] = ()
    format: Annotated[str | None, params.FORMAT] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LastPriceQuery(TickerQuery):
    """The newest price."""

    include: Annotated[tuple[str, ...], params.INCLUDE] = ()
    format: Annotated[str | None, params.FORMAT] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FilteredPriceQuery(TickerQuery):
    """The price of a minute, or the nearest one within a tolerance."""

    date: Annotated[datetime, DATE]
    tolerance: Annotated[int, TOLERANCE] = 0
    include: Annotated[tuple[str, ...], params.INCLUDE] = ()
    format: Annotated[str | None, params.FORMAT] = None


@endpoint(
    "/prices",
    "prices",
    summary="A page of the prices of a range",
    description="Newest first, or oldest first with `order=asc`. The header Link leads to the next"
    " page and to the previous one.",
    response=schemas.rows_response(schemas.page_of(LISTED_PRICE), [EXAMPLE], "Link"),
    errors=(406, 412, 422, 500, 503),
    links=(
        "get_filtered_price",
        {"ticker": schemas.in_first("ticker"), "date": schemas.in_first("created_at")},
    ),
    shared=True,
)
async def list_prices(request: AppRequest, query: PricesQuery) -> Response:
    """A page of the prices between start_date and end_date."""
    dependency = await require_ticker(request, query.ticker)
    price_format = PriceFormat(negotiate(request, query.format), query.include)
    now = datetime.now(UTC)
    if query.fill:
        return await list_filled_prices(request, query, dependency, price_format.media_type, now)
    page = await fetch_page(request.state["batcher"], query, price_format, now)
    links = responses.page_links(request, page.older, page.newer, ascending=query.order == "asc")
    lifetime = responses.SETTLED if page.past else responses.until_next_price(page.newest, now)
    body = price_format.render_list(page.lines)
    return DataResponse(body, price_format.media_type, {**links, **lifetime}, dependency)


@endpoint(
    "/prices/last",
    "last",
    summary="The newest price",
    description="404 while no price of the index is stored.",
    response=schemas.rows_response(schemas.ref(PRICE), EXAMPLE),
    errors=(404, 406, 412, 422, 500, 503),
    links=(
        "get_filtered_price",
        {"ticker": schemas.in_body("ticker"), "date": schemas.in_body("created_at")},
    ),
    shared=True,
)
async def get_last_price(request: AppRequest, query: LastPriceQuery) -> Response:
    """The newest price up to now. Raises NotFound while no price is stored."""
    dependency = await require_ticker(request, query.ticker)
    price_format = PriceFormat(negotiate(request, query.format), query.include)
    now = datetime.now(UTC)
    minutes = range(_FIRST_MINUTE, minute_number(now) + 1)
    batcher, deadline = request.state["batcher"], _deadline()
    page = await fetch_prices(
        batcher, query.ticker, minutes, 1, price_format, deadline=deadline, ascending=False
    )
    if page.text is None:
        raise NotFound({"ticker": f"no price of {query.ticker} yet"})
    lifetime = responses.until_next_price(page.first_at, now)
    return DataResponse(
        price_format.render_one(page.text), price_format.media_type, lifetime, dependency
    )


@endpoint(
    "/prices/filtered",
    "filtered",
    summary="The price of the minute that contains a date, or one nearer by",
    description="404 if that minute has no price, and none lies within `tolerance`; /prices/gaps"
    " has the reason.",
    response=schemas.rows_response(schemas.ref(PRICE), EXAMPLE),
    errors=(404, 406, 412, 422, 500, 503),
    links=(
        "list_prices",
        {"ticker": schemas.in_body("ticker"), "start_date": schemas.in_body("created_at")},
    ),
    shared=True,
)
async def get_filtered_price(request: AppRequest, query: FilteredPriceQuery) -> Response:
    """The price of date's minute, or the nearest within the tolerance. Raises NotFound."""
    dependency = await require_ticker(request, query.ticker)
    price_format = PriceFormat(negotiate(request, query.format), query.include)
    now = datetime.now(UTC)
    page = await fetch_nearest(request.state["batcher"], query, price_format)
    if page.text is None:
        reason = f"no price of {query.ticker} for {format_moment(minute_of(query.date))}"
        if query.tolerance:
            reason += f" or within {query.tolerance} s of {format_moment(query.date)}"
        raise NotFound({"date": reason})
    past = now - query.date > timedelta(seconds=query.tolerance) + MINUTE
    lifetime = responses.SETTLED if past else responses.until_next_price(page.first_at, now)
    return DataResponse(
        price_format.render_one(page.text), price_format.media_type, lifetime, dependency
    )


# Paging. A cursor is a minute, never a count: rows that arrive meanwhile move no page. Minutes are
# counted from 1970, because numbers have no first year and no last one.


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPage:
    """A page of a listing.

    lines: its prices as text in the order of the listing, LF between two; None without any.
    newest: its newest minute, if it has one.
    past: whether all minutes that were read are over.
    older, newer: the cursors of the pages with older and with newer prices; None: no such page.
    """

    lines: str | None
    newest: datetime | None
    past: bool
    older: datetime | None
    newer: datetime | None


async def fetch_page(
    batcher: PageBatcher, query: PricesQuery, price_format: PriceFormat, now: datetime
) -> ListedPage:
    """The page of *query*, adjacent to its cursor. Raises DatabaseDown, MigrationsPending."""
    ascending = query.order == "asc"
    listing = listing_minutes(query.start_date, query.end_date, now, ascending=ascending)
    first, stop = bound_by_cursors(listing, query)
    has_one_cursor, reads_ascending = reading_order(query)
    fetch = partial(fetch_prices, batcher, query.ticker, deadline=_deadline())

    page = await fetch(range(first, stop), query.limit, price_format, ascending=reads_ascending)
    next_read = page.last_at if page.more else None
    previous_read = None
    if has_one_cursor:
        boundary = first if reads_ascending else stop - 1  # the first minute in reading order
        if page.first_at:
            boundary = minute_number(page.first_at)
        behind = minutes_behind(listing, boundary, ascending=reads_ascending)
        if (await fetch(behind, 1, _ANY_FORMAT, ascending=not reads_ascending)).text:
            previous_read = minute_at(boundary)
    if next_read and reads_ascending:
        stop = minute_number(next_read) + 1  # no later minute was read

    lines = page.text
    if lines and reads_ascending != ascending:
        lines = "\n".join(reversed(lines.split("\n")))
    return ListedPage(
        lines=lines,
        newest=page.last_at if reads_ascending else page.first_at,
        past=stop <= max(first, minute_number(now)),
        older=previous_read if reads_ascending else next_read,
        newer=next_read if reads_ascending else previous_read,
    )


async def list_filled_prices(
    request: AppRequest, query: PricesQuery, dependency: Dependency, media_type: str, now: datetime
) -> Response:
    """The page of *query* with each minute of its range that is over, or stored already.

    The minutes of a page follow from its bounds, therefore only they are read. Raises BadRequest.
    """
    params.require_range(query.start_date, query.end_date)
    ascending = query.order == "asc"
    wanted = listing_minutes(query.start_date, query.end_date, now, ascending=ascending)
    present = minute_number(now)
    is_past = wanted.stop <= present
    if present in wanted:
        minutes = range(present, present + 1)
        found = await fetch_prices(
            request.state["batcher"],
            *(query.ticker, minutes, 1, _ANY_FORMAT),
            deadline=_deadline(),
            ascending=False,
        )
        present += found.text is not None
    listing = range(wanted.start, max(wanted.start, min(wanted.stop, present)))
    page, older, newer = slice_minutes(listing, query)
    filled = []
    if page:
        filled = await request.state["database"].run(
            lambda conn: queries.filled_prices(
                conn, query.ticker, minute_at(page[0]), minute_at(page[-1])
            )
        )
    if query.fill == "null":
        filled = [replace(each, price=None) if each.filled else each for each in filled]
    columns = (*rows.FILLED_PRICE_COLUMNS, *query.include)
    listed = [rows.filled_price_row(each) for each in filled]
    selected = [{name: row[name] for name in columns} for row in listed]
    if not ascending:
        selected.reverse()
    links = responses.page_links(request, older, newer, ascending=ascending)
    lifetime = responses.SETTLED if is_past else responses.until_next_price(None, now)
    body = responses.render_flagged(media_type, selected, columns)
    return DataResponse(body, media_type, {**links, **lifetime}, dependency)


def slice_minutes(
    listing: range, query: PricesQuery
) -> tuple[range, datetime | None, datetime | None]:
    """The minutes of a page of *listing*, and the cursors of the older and the newer page."""
    first, stop = bound_by_cursors(listing, query)
    within = range(first, max(first, stop))
    has_one_cursor, reads_ascending = reading_order(query)
    if reads_ascending:
        page = within[: query.limit]
        next_read = page.stop - 1 if page.stop < within.stop else None
        boundary = first
    else:
        page = within[-query.limit :]
        next_read = page.start if page.start > within.start else None
        boundary = stop - 1
    behind = minutes_behind(listing, boundary, ascending=reads_ascending)
    following = None if next_read is None else minute_at(next_read)
    preceding = minute_at(boundary) if has_one_cursor and behind else None
    return page, *((preceding, following) if reads_ascending else (following, preceding))


def bound_by_cursors(listing: range, query: PricesQuery) -> tuple[int, int]:
    """The first minute of *listing* that the cursors of *query* allow, and where they end it."""
    first, stop = listing.start, listing.stop
    if query.before:
        stop = min(stop, following_minute(query.before))
    if query.after:
        first = max(first, minute_number(query.after) + 1)
    return first, stop


def reading_order(query: PricesQuery) -> tuple[bool, bool]:
    """Whether *query* has one cursor, from which a page is read, and whether it is read ascending.

    Otherwise it is read in the order of the listing.
    """
    has_one_cursor = (query.before is None) != (query.after is None)
    return has_one_cursor, query.before is None if has_one_cursor else query.order == "asc"


def minutes_behind(listing: range, boundary: int, *, ascending: bool) -> range:
    """Those of *listing* before its page, whose first minute in reading order is *boundary*."""
    if ascending:
        return range(listing.start, min(boundary, listing.stop))
    return range(max(boundary + 1, listing.start), listing.stop)


async def fetch_nearest(
    batcher: PageBatcher, query: FilteredPriceQuery, price_format: PriceFormat
) -> PricePage:
    """The price whose minute begins nearest to the date, the earlier of two."""
    minute = minute_number(query.date)
    fetch = partial(
        fetch_prices,
        batcher,
        query.ticker,
        count=1,
        price_format=price_format,
        deadline=_deadline(),
    )
    if not query.tolerance:
        return await fetch(range(minute, minute + 1), ascending=False)
    tolerance = timedelta(seconds=query.tolerance)
    later = range(minute + 1, (query.date - EPOCH + tolerance) // MINUTE + 1)
    before = await fetch(minutes_up_to(query.date, tolerance), ascending=False)
    after = await fetch(later, ascending=True)
    if before.first_at is None or after.first_at is None:
        return after if before.first_at is None else before
    return before if query.date - before.first_at <= after.first_at - query.date else after


async def fetch_prices(
    batcher: PageBatcher,
    ticker: str,
    minutes: range,
    count: int,
    price_format: PriceFormat,
    *,
    deadline: float,
    ascending: bool,
) -> PricePage:
    """Up to *count* prices of *minutes*: the newest, or the oldest if *ascending*."""
    if not minutes:
        return EMPTY_PAGE
    query = PageQuery(
        ticker=ticker,
        template=price_format.template(ticker),
        since=minute_at(minutes[0]),
        until=minute_at(minutes[-1]),
        count=count,
        ascending=ascending,
        with_source=bool(price_format.extras),
    )
    return await batcher.fetch(query, deadline)


def listing_minutes(
    start: datetime | None, end: datetime | None, now: datetime, *, ascending: bool
) -> range:
    """The minutes between *start*, inclusive, and *end*, exclusive; either may be the later one.

    With one of them, it is where the listing starts or stops. There are minutes after *now* only
    where *start* or *end* is later.
    """
    since, until = params.half_open(start, end)
    if since and until:
        return range(following_minute(since), following_minute(until))
    if ascending:
        first = following_minute(start) if start else _FIRST_MINUTE
        return range(first, following_minute(end) if end else minute_number(now) + 1)
    first = minute_number(end) + 1 if end else _FIRST_MINUTE
    return range(first, minute_number(start or now) + 1)


def minutes_up_to(date: datetime, tolerance: timedelta) -> range:
    """The minute that contains *date*, and those before it that begin within *tolerance*."""
    minute = minute_number(date)
    return range(min(-((tolerance - (date - EPOCH)) // MINUTE), minute), minute + 1)


def minute_number(moment: datetime) -> int:
    """The number of the minute that contains *moment*."""
    return (moment - EPOCH) // MINUTE


def following_minute(moment: datetime) -> int:
    """The number of the first minute that begins at *moment* or later."""
    return -((EPOCH - moment) // MINUTE)


def minute_at(number: int) -> datetime:
    """The start of the minute *number*, or the nearest in the years 1 to 9999."""
    return EPOCH + min(max(number, _FIRST_MINUTE), _LAST_MINUTE) * MINUTE


def _deadline() -> float:
    """Until when a request that begins now may wait for its pages, on the loop's clock."""
    return asyncio.get_running_loop().time() + QUERY_DEADLINE


_FIRST_MINUTE, _LAST_MINUTE = minute_number(FIRST), minute_number(LAST)
_ANY_FORMAT = PriceFormat(CSV)  # of prices whose number alone matters
