"""GET /prices, /prices/last and /prices/filtered: pages, the newest, that of a moment."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated

from starlette.responses import Response

from tracker.errors import NotFound
from tracker.queries.prices import PricePage
from tracker.times import MINUTE, format_moment, minute_of
from tracker.web import paging, params, responses, schemas
from tracker.web.endpoint import AppRequest, endpoint
from tracker.web.params import TickerQuery
from tracker.web.responses import Dependency, PriceFormat, data_response, negotiate, price_format

DATE = params.moment("date", "Any moment of the requested minute.", required=True)
TOLERANCE = params.integer(
    "tolerance",
    0,
    params.MAX_TOLERANCE,
    "How many seconds the `created_at` of a price may be away from `date`: the nearest price is"
    " returned, the earlier of two. The price of the minute that contains `date` always qualifies.",
)

PRICE = schemas.model(
    "Price",
    {
        "id": {"type": "integer", "description": "Grows with insertion, not with time"},
        "ticker": schemas.TICKER,
        "price": {
            **schemas.PRICE,
            "description": "An exact decimal, in the index's quote currency",
        },
        "created_at": {**schemas.MINUTE, "description": "The UTC minute the price belongs to"},
        "source": {
            "enum": ["poll", "chart"],
            "description": "If included. poll: requested in its minute; chart: an average",
        },
        "observed_at": {
            "type": ["string", "null"],
            "format": "date-time",
            "description": "If included. The exchange's clock when it gave the value, with"
            " microseconds; null if it is not known",
        },
    },
    optional=("source", "observed_at"),
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
    "A page of the prices of a range",
    response=schemas.rows_response(schemas.page_of(PRICE), [EXAMPLE], "Link"),
    errors=(406, 422, 500, 503),
    links=("filtered", {"ticker": schemas.first("ticker"), "date": schemas.first("created_at")}),
    shared=True,
)
async def list_prices(request: AppRequest, query: PricesQuery) -> Response:
    """A page of the prices between start_date and end_date."""
    dependency = await _require_ticker(request, query.ticker)
    now, form = datetime.now(UTC), _format(request, query)
    ascending = query.order == "asc"
    listing = paging.make_listing(
        query.start_date,
        query.end_date,
        now,
        ascending=ascending,
        before=query.before,
        after=query.after,
    )
    page = await paging.fetch_page(request.state["pages"], query.ticker, listing, query.limit, form)
    links = responses.page_links(request, page.older, page.newer, ascending=ascending)
    if page.read.reaches(now):
        lifetime = responses.until_next_price(page.newest, now)
    else:
        lifetime = responses.settled()
    return data_response(
        form.media_type, form.render_list(page.lines), {**links, **lifetime}, dependency
    )


@endpoint(
    "/prices/last",
    "last",
    "The newest price",
    response=schemas.rows_response(schemas.ref(PRICE), EXAMPLE),
    errors=(404, 406, 422, 500, 503),
    links=("filtered", {"ticker": schemas.body("ticker"), "date": schemas.body("created_at")}),
    shared=True,
)
async def get_last_price(request: AppRequest, query: LastPriceQuery) -> Response:
    """The newest price up to now. Raises NotFound while there is none."""
    dependency = await _require_ticker(request, query.ticker)
    now, form, pages = datetime.now(UTC), _format(request, query), request.state["pages"]
    minutes = paging.ALL_MINUTES.ending(now)
    deadline = pages.deadline()
    page = await paging.fetch_prices(
        pages, query.ticker, minutes, 1, price_format=form, deadline=deadline, ascending=False
    )
    if page.text is None:
        raise NotFound({"ticker": f"no price of {query.ticker} yet"})
    lifetime = responses.until_next_price(page.first_at, now)
    return data_response(form.media_type, form.render_one(page.text), lifetime, dependency)


@endpoint(
    "/prices/filtered",
    "filtered",
    "The price of the minute that contains a date, or one nearer by",
    response=schemas.rows_response(schemas.ref(PRICE), EXAMPLE),
    errors=(404, 406, 422, 500, 503),
    links=("prices", {"ticker": schemas.body("ticker"), "start_date": schemas.body("created_at")}),
    shared=True,
)
async def get_filtered_price(request: AppRequest, query: FilteredPriceQuery) -> Response:
    """The price of date's minute, or the nearest within the tolerance. Raises NotFound."""
    dependency = await _require_ticker(request, query.ticker)
    now, form = datetime.now(UTC), _format(request, query)
    page = await _fetch_nearest(request, query, form)
    if page.text is None:
        at, within = format_moment(minute_of(query.date)), f" within {query.tolerance} s of "
        near = f" or{within}{format_moment(query.date)}" if query.tolerance else ""
        raise NotFound({"date": f"no price of {query.ticker} for {at}{near}"})
    is_over = now - query.date > timedelta(seconds=query.tolerance) + MINUTE
    lifetime = responses.settled() if is_over else responses.until_next_price(page.first_at, now)
    return data_response(form.media_type, form.render_one(page.text), lifetime, dependency)


async def _fetch_nearest(
    request: AppRequest, query: FilteredPriceQuery, form: PriceFormat
) -> PricePage:
    """The price whose minute begins nearest to the date, the earlier of two."""
    pages, date = request.state["pages"], query.date
    fetch = partial(
        paging.fetch_prices, pages, query.ticker, price_format=form, deadline=pages.deadline()
    )
    if not query.tolerance:
        minute = paging.minute_number(date)
        return await fetch(paging.MinuteRange(minute, minute), 1, ascending=False)
    earlier, later = paging.minutes_around(date, query.tolerance)
    before = await fetch(earlier, 1, ascending=False)
    after = await fetch(later, 1, ascending=True)
    if before.first_at is None or after.first_at is None:
        return after if before.first_at is None else before
    return before if date - before.first_at <= after.first_at - date else after


async def _require_ticker(request: AppRequest, ticker: str) -> Dependency:
    """What the response depends on: noted before anything is read. Raises BadRequest."""
    await request.state["tickers"].require(ticker, request.state["database"])
    return Dependency(ticker, request.state["feed"].revision(ticker))


def _format(
    request: AppRequest, query: PricesQuery | LastPriceQuery | FilteredPriceQuery
) -> PriceFormat:
    return price_format(negotiate(request, query.format), query.include)
