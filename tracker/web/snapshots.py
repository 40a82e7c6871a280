"""GET /prices/latest and /prices/at: the newest prices of many indexes, now or as of a moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

from starlette.responses import Response

from tracker import queries, rows
from tracker.models import SourcedPrice
from tracker.times import FIRST, MINUTE
from tracker.web import params, responses, schemas
from tracker.web.endpoint import AppRequest, endpoint, require_tickers
from tracker.web.prices import EXAMPLE, MAX_TOLERANCE, PRICE, minute_at, minutes_up_to
from tracker.web.responses import DataResponse, Headers, negotiate, render

MAX_MISSING = 200  # names in the header: many proxies refuse headers of over 4 kB

DATE = params.moment(
    "date", "The moment: each price is the newest one at or before it.", required=True
)
TOLERANCE = params.integer(
    "tolerance",
    0,
    MAX_TOLERANCE,
    "How many seconds before `date` the `created_at` of a price may be. The price of the minute"
    " that contains `date` always qualifies.",
)
_PRICES: params.Schema = {"type": "array", "items": schemas.ref(PRICE)}
_ORDER = (
    "In the order of the request, by default in that of /tickers. Indexes without such a price are"
    f" left out; the header Missing names the first {MAX_MISSING} of them."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestPricesQuery:
    """The newest price of each index."""

    tickers: Annotated[tuple[str, ...], params.TICKERS] = ()
    include: Annotated[tuple[str, ...], params.INCLUDE] = ()
    format: Annotated[str | None, params.FORMAT] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PricesAtQuery:
    """The newest price of each index as of a moment."""

    tickers: Annotated[tuple[str, ...], params.TICKERS] = ()
    date: Annotated[datetime, DATE]
    tolerance: Annotated[int, TOLERANCE] = 0
    include: Annotated[tuple[str, ...], params.INCLUDE] = ()
    format: Annotated[str | None, params.FORMAT] = None


@endpoint(
    "/prices/latest",
    "latest",
    summary="The newest price of each of many indexes",
    description=_ORDER,
    response=schemas.rows_response(_PRICES, [EXAMPLE], "Missing"),
    errors=(406, 412, 422, 500, 503),
    links=("list_prices", {"ticker": schemas.in_first("ticker")}),
)
async def list_latest_prices(request: AppRequest, query: LatestPricesQuery) -> Response:
    """The newest price of each index up to now."""
    media_type, now = negotiate(request, query.format), datetime.now(UTC)
    tickers = await _chosen_tickers(request, query.tickers)
    prices = await request.state["database"].run(
        lambda conn: queries.newest_prices(conn, tickers, FIRST, now)
    )
    headers = _missing(tickers, prices) | _lifetime(tickers, prices, now)
    return _render(media_type, prices, query.include, headers)


@endpoint(
    "/prices/at",
    "at",
    summary="The prices of many indexes at a moment, each the newest at or before it",
    description=f"{_ORDER} Each price has its own `created_at`.",
    response=schemas.rows_response(_PRICES, [EXAMPLE], "Missing"),
    errors=(406, 412, 422, 500, 503),
    links=(
        "list_prices",
        {"ticker": schemas.in_first("ticker"), "start_date": schemas.in_first("created_at")},
    ),
)
async def list_prices_at(request: AppRequest, query: PricesAtQuery) -> Response:
    """The newest price of each index from the tolerance before date up to date."""
    media_type, now = negotiate(request, query.format), datetime.now(UTC)
    tickers = await _chosen_tickers(request, query.tickers)
    minutes = minutes_up_to(query.date, timedelta(seconds=query.tolerance))
    since, until = minute_at(minutes[0]), minute_at(minutes[-1])
    prices = await request.state["database"].run(
        lambda conn: queries.newest_prices(conn, tickers, since, until)
    )
    is_past = now - query.date > MINUTE
    lifetime = responses.SETTLED if is_past else _lifetime(tickers, prices, now)
    return _render(media_type, prices, query.include, _missing(tickers, prices) | lifetime)


async def _chosen_tickers(request: AppRequest, named: Sequence[str]) -> Sequence[str]:
    """The *named* indexes, or else all. Raises BadRequest, DatabaseDown, MigrationsPending."""
    if named:
        await require_tickers(request, named)
        return named
    return await request.state["tickers"].names(request.state["database"])


def _missing(tickers: Sequence[str], prices: Sequence[SourcedPrice]) -> Headers:
    """The header with the first of those of *tickers* that have no price, if there are any."""
    found = {price.ticker for price in prices}
    missing = [name for name in tickers if name not in found]
    return {"Missing": ", ".join(missing[:MAX_MISSING])} if missing else {}


def _lifetime(tickers: Sequence[str], prices: Sequence[SourcedPrice], now: datetime) -> Headers:
    """Fresh until the next price of any of *tickers* is due."""
    oldest = min((price.created_at for price in prices), default=None)
    return responses.until_next_price(oldest if len(prices) == len(tickers) else None, now)


def _render(
    media_type: str, prices: Sequence[SourcedPrice], include: Sequence[str], headers: Headers
) -> Response:
    columns = (*rows.PRICE_COLUMNS, *include)
    listed = [{name: row[name] for name in columns} for row in map(rows.price_row, prices)]
    return DataResponse(render(media_type, listed, columns), media_type, headers)
