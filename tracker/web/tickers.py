"""GET /tickers: what is tracked, how much of it is stored, and how it moved in a day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from typing import Annotated

from psycopg import AsyncConnection
from starlette.responses import Response

from tracker import queries
from tracker.models import MIN_DECIMALS, Summary, split_pair
from tracker.rows import format_decimal
from tracker.times import format_moment
from tracker.web import params, schemas
from tracker.web.endpoint import AppRequest, endpoint
from tracker.web.responses import CSV, DataResponse, negotiate, render

_LATER_COLUMNS = (
    *("change_24h", "change_percent_24h", "high_24h", "low_24h"),
    *("base", "quote", "decimals", "missing_24h"),
)
COLUMNS = (
    *("ticker", "configured", "since", "rows", "first", "newest"),
    *_LATER_COLUMNS,
)
CSV_COLUMNS = (
    *("ticker", "configured", "since", "rows"),
    *("first_price", "first_created_at", "newest_price", "newest_created_at"),
    *_LATER_COLUMNS,
)
_PERCENT = Decimal("0.0001")
_PRECISION = 120  # digits; a price has fewer than 50, the quotient of two fewer than 100


_CHANGE: params.Schema = {"type": "string", "pattern": "^-?[0-9]+\\.[0-9]{2,}$"}
_POINT = schemas.model("Point", {"price": schemas.PRICE, "created_at": schemas.MINUTE})
TICKER = schemas.model(
    "Ticker",
    {
        "ticker": schemas.TICKER,
        "configured": {"type": "boolean", "description": "Whether it is polled now"},
        "since": schemas.or_null(schemas.MINUTE, "The first minute that was polled or stored"),
        "rows": {"type": "integer", "minimum": 0, "description": "How many minutes are stored"},
        "first": schemas.or_null(schemas.ref(_POINT), "The oldest price"),
        "newest": schemas.or_null(schemas.ref(_POINT), "The newest price"),
        "change_24h": schemas.or_null(
            _CHANGE,
            "From the price 24 hours before the newest, or the last one of the hour before that, to"
            " the newest; null if there is none",
        ),
        "change_percent_24h": schemas.or_null(_CHANGE, "The same in percent, four decimals"),
        "high_24h": schemas.or_null(
            schemas.PRICE, "The highest price from 24 hours before the newest up to it"
        ),
        "low_24h": schemas.or_null(schemas.PRICE, "The lowest of them"),
        "base": {"type": "string", "examples": ["BTC"], "description": "What is priced"},
        "quote": {"type": "string", "examples": ["USD"], "description": "The currency of prices"},
        "decimals": {
            "type": "integer",
            "minimum": MIN_DECIMALS,
            "description": "How many decimals its polled prices have; averages of the exchange's"
            f" charts, whose source is chart, may have more. {MIN_DECIMALS} while it has no price",
        },
        "missing_24h": {
            "type": "integer",
            "minimum": 0,
            "maximum": 1440,
            "description": "How many minutes of the last 24 hours are not stored, since it is"
            " tracked, as /prices/gaps lists them; the current one is not yet missing",
        },
    },
    description="What is stored of one index. In CSV the keys of first and newest are columns, such"
    " as first_price",
)
_EXAMPLE = {
    "ticker": "btc_usd",
    "configured": True,
    "since": "2024-01-01T00:00:00Z",
    "rows": 20880,
    "first": {"price": "42283.58", "created_at": "2024-01-01T00:00:00Z"},
    "newest": {"price": "68241.50", "created_at": "2024-01-15T12:00:00Z"},
    "change_24h": "-160.10",
    "change_percent_24h": "-0.2341",
    "high_24h": "68890.00",
    "low_24h": "67925.31",
    "base": "BTC",
    "quote": "USD",
    "decimals": 2,
    "missing_24h": 3,
}


def flatten(row: Mapping[str, object]) -> dict[str, object]:
    """*row* with the values of CSV_COLUMNS."""
    flat: dict[str, object] = {}
    for name, value in row.items():
        if name in ("first", "newest"):
            point = value if isinstance(value, Mapping) else {}
            flat |= {f"{name}_{key}": point.get(key) for key in ("price", "created_at")}
        else:
            flat[name] = value
    return flat | {"configured": "true" if row["configured"] else "false"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TickersQuery:
    """Every index."""

    format: Annotated[str | None, params.FORMAT] = None


@endpoint(
    "/tickers",
    "tickers",
    summary="What is tracked, how much of it is stored, and how it moved in a day",
    description="Every index that is polled or was, those polled first.",
    response=schemas.rows_response({"type": "array", "items": schemas.ref(TICKER)}, [_EXAMPLE]),
    errors=(406, 412, 422, 500, 503),
    links=("get_last_price", {"ticker": schemas.in_first("ticker")}),
)
async def list_tickers(request: AppRequest, query: TickersQuery) -> Response:
    """Every index that is polled or was, those polled first."""
    media_type, now = negotiate(request, query.format), datetime.now(UTC)

    async def fetch_summaries(conn: AsyncConnection) -> tuple[Sequence[str], list[Summary]]:
        polled = await request.state["tickers"].polled(conn)
        return polled, await queries.ticker_summaries(conn, now)

    configured, found = await request.state["database"].run(fetch_summaries)
    stored = {each.ticker: each for each in found}
    summaries = {name: Summary(name) for name in configured} | stored
    rows = [_row(each, configured=name in configured) for name, each in summaries.items()]
    columns: Sequence[str] = COLUMNS
    if media_type == CSV:
        rows, columns = [flatten(row) for row in rows], CSV_COLUMNS
    return DataResponse(render(media_type, rows, columns), media_type, {})


def _row(summary: Summary, *, configured: bool) -> dict[str, object]:
    """The values of COLUMNS; prices are strings, because JSON's numbers are not exact."""
    change, percent = _change(summary.newest_price, summary.past_price)
    base, quote = split_pair(summary.ticker)
    return {
        "ticker": summary.ticker,
        "configured": configured,
        "since": summary.since and format_moment(summary.since),
        "rows": summary.minutes,
        "first": _point(summary.first_price, summary.first_at),
        "newest": _point(summary.newest_price, summary.newest_at),
        "change_24h": change,
        "change_percent_24h": percent,
        "high_24h": summary.high and format_decimal(summary.high),
        "low_24h": summary.low and format_decimal(summary.low),
        "base": base,
        "quote": quote,
        "decimals": summary.decimals,
        "missing_24h": summary.missing,
    }


def _point(price: Decimal | None, minute: datetime | None) -> dict[str, object] | None:
    if price is None or minute is None:
        return None
    return {"price": format_decimal(price), "created_at": format_moment(minute)}


def _change(newest: Decimal | None, past: Decimal | None) -> tuple[str | None, str | None]:
    """From *past* to *newest*: exact, and in percent with four decimals."""
    if newest is None or past is None:
        return None, None
    with localcontext(prec=_PRECISION):
        change = newest - past
        percent = (change / past * 100).quantize(_PERCENT) + 0  # a zero has no sign
    return format_decimal(change), format_decimal(percent)
