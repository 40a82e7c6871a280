"""The UDF protocol of TradingView's charting library: configuration, symbols and bars.

Its clients read only the body, whatever the status: therefore problem documents also have the two
keys that they read. Unknown parameters are ignored, because clients of different versions send
different ones. Prices are JSON numbers here, which are not exact. Source:
https://www.tradingview.com/charting-library-docs/latest/connecting_data/UDF
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any

from psycopg import AsyncConnection
from starlette.responses import PlainTextResponse, Response

from tracker import queries
from tracker.candles import Grid, make_grid
from tracker.errors import BadRequest, NotFound, shorten
from tracker.models import MIN_DECIMALS, split_pair
from tracker.times import FIRST, Span, parse_moment
from tracker.web import params, schemas
from tracker.web.candles import fetch_candles
from tracker.web.endpoint import AppRequest, endpoint, require_ticker
from tracker.web.params import NoQuery, Parameter, Schema
from tracker.web.responses import NO_STORE, json_response

MAX_BARS = 5000  # in one response; a chart requests what is older
DEFAULT_SYMBOLS = 30
EXCHANGE = "DERIBIT"
TYPE = "index"

# The interval of each resolution; D, W and M are older names that some clients still send.
RESOLUTIONS = {
    "1": "1m",
    "5": "5m",
    "15": "15m",
    "30": "30m",
    "60": "1h",
    "120": "2h",
    "180": "3h",
    "240": "4h",
    "360": "6h",
    "480": "8h",
    "720": "12h",
    "1D": "1d",
    "3D": "3d",
    "1W": "1w",
    "1M": "1M",
    "3M": "1Q",
    "12M": "1Y",
}
INTERVALS = RESOLUTIONS | {"D": "1d", "W": "1w", "M": "1M"}

_MAX_DECIMALS = 12  # a chart computes with JavaScript's numbers

CONFIGURATION = {
    "supported_resolutions": list(RESOLUTIONS),
    "supports_search": True,
    "supports_group_request": False,
    "supports_marks": False,
    "supports_timescale_marks": False,
    "supports_time": True,
    "exchanges": [
        {"value": "", "name": "All exchanges", "desc": ""},
        {"value": EXCHANGE, "name": "Deribit", "desc": "Deribit index prices"},
    ],
    "symbols_types": [{"name": "All types", "value": ""}, {"name": "Index", "value": TYPE}],
}


# Symbols


def parse_symbol(symbol: str) -> str:
    """The index name of btc_usd, BTC_USD or DERIBIT:BTC_USD."""
    return symbol.lower().removeprefix(f"{EXCHANGE.lower()}:")


def symbol_info(ticker: str, decimals: int) -> dict[str, object]:
    """What a chart must know of an index, whose prices have so many *decimals*."""
    return {
        "name": ticker.upper(),
        "ticker": ticker,
        "description": _description(ticker),
        "type": TYPE,
        "exchange": EXCHANGE,
        "listed_exchange": EXCHANGE,
        "session": "24x7",
        "timezone": "Etc/UTC",
        "format": "price",
        "minmov": 1,
        "pricescale": 10 ** min(decimals, _MAX_DECIMALS),
        "currency_code": split_pair(ticker)[1],
        "has_intraday": True,
        "intraday_multipliers": [name for name in RESOLUTIONS if name.isdecimal()],
        "has_daily": True,
        "daily_multipliers": _multipliers("D"),
        "has_weekly_and_monthly": True,
        "weekly_multipliers": _multipliers("W"),
        "monthly_multipliers": _multipliers("M"),
        "has_no_volume": True,
        "visible_plots_set": "ohlc",
        "supported_resolutions": list(RESOLUTIONS),
    }


def _multipliers(unit: str) -> list[str]:
    """How many of a *unit* the bars may have that a chart need not make of smaller ones."""
    return [name.removesuffix(unit) for name in RESOLUTIONS if name.endswith(unit)]


def search_symbols(tickers: Iterable[str], text: str) -> list[dict[str, str]]:
    """Those of *tickers* that have *text* in their name or description, in any case."""
    wanted = parse_symbol(text.strip())
    return [
        {
            "symbol": ticker.upper(),
            "full_name": f"{EXCHANGE}:{ticker.upper()}",
            "description": _description(ticker),
            "exchange": EXCHANGE,
            "ticker": ticker,
            "type": TYPE,
        }
        for ticker in tickers
        if wanted in ticker or wanted in _description(ticker).lower()
    ]


def _description(ticker: str) -> str:
    base, quote = split_pair(ticker)
    return f"{base} / {quote} index"


# Parameters


def _parse_resolution(text: str) -> str:
    if text not in INTERVALS:
        raise ValueError(f"is not one of {', '.join(RESOLUTIONS)}: {shorten(text)!r}")
    return INTERVALS[text]


def _parse_count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"is not a whole number: {shorten(text)!r}")
    return min(int(text.lstrip("0")[:9] or 0), MAX_BARS)


def _parse_time(text: str) -> datetime:
    """Numbers are Unix times, as the protocol has them, also those that look like a date."""
    return parse_moment(text, allow_date_digits=True)


def _text(name: str, description: str) -> Parameter:
    return Parameter(name, str, schemas.TEXT, description)


SYMBOL = Parameter(
    "symbol",
    parse_symbol,
    {"type": "string", "examples": ["BTC_USD"]},
    "An index, in any case, with or without the exchange: btc_usd, BTC_USD, DERIBIT:BTC_USD.",
    required=True,
)
RESOLUTION = Parameter(
    "resolution",
    _parse_resolution,
    {
        "type": "string",
        "enum": list(INTERVALS),
        "x-enum-varnames": [*params.interval_names(RESOLUTIONS.values()), "DAY", "WEEK", "MONTH"],
    },
    "The width of a bar: minutes, or days, weeks and months of UTC, of which `3M` is a quarter and"
    " `12M` a year.",
    required=True,
)
FROM = replace(
    params.moment(
        "from",
        f"Bars that begin at or after it, the newest {MAX_BARS} of them at most; default: the first"
        " there is.",
    ),
    parse=_parse_time,
)
TO = replace(params.moment("to", "Bars that begin before it; default: now."), parse=_parse_time)
COUNTBACK = Parameter(
    "countback",
    _parse_count,
    {"type": "integer", "minimum": 0},
    "The number of bars before `to`; `from` has no effect then. 0 is as none. A response has at"
    f" most {MAX_BARS}, the newest ones.",
)
SEARCH_TEXT = _text("query", "Any part of a name or description, in any case.")
SEARCH_TYPE = _text("type", "Any other type than that of these symbols finds none.")
SEARCH_EXCHANGE = _text("exchange", "Any other exchange than theirs finds none.")
SEARCH_LIMIT = Parameter(
    "limit", _parse_count, {"type": "integer", "minimum": 0}, "The maximum number of symbols."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolQuery:
    """One symbol."""

    symbol: Annotated[str, SYMBOL]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchQuery:
    """Symbols by any part of their names."""

    query: Annotated[str, SEARCH_TEXT] = ""
    type: Annotated[str, SEARCH_TYPE] = ""
    exchange: Annotated[str, SEARCH_EXCHANGE] = ""
    limit: Annotated[int, SEARCH_LIMIT] = DEFAULT_SYMBOLS


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryQuery:
    """Bars of one symbol."""

    symbol: Annotated[str, SYMBOL]
    resolution: Annotated[str, RESOLUTION]
    since: Annotated[datetime | None, FROM] = None
    until: Annotated[datetime | None, TO] = None
    countback: Annotated[int | None, COUNTBACK] = None


# Documentation

_SYMBOL_EXAMPLE = symbol_info("btc_usd", MIN_DECIMALS)
_FOUND_EXAMPLE = search_symbols(["btc_usd"], "")
_BARS_EXAMPLE = {
    "s": "ok",
    "t": [1705316400, 1705320000],
    "o": [68190.0, 68241.5],
    "h": [68245.31, 68302.17],
    "l": [68120.0, 68190.0],
    "c": [68241.5, 68255.04],
}


def _schema_of(example: Any) -> Schema:
    """The schema of what has the same keys and types as *example*."""
    if isinstance(example, dict):
        return schemas.object_schema({name: _schema_of(each) for name, each in example.items()})
    if isinstance(example, list):
        return {"type": "array", "items": _schema_of(example[0])}
    names = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return {"type": names[type(example)]}


_COLUMN: Schema = {"type": "array", "minItems": 1, "maxItems": MAX_BARS}
_TIMES = {**_COLUMN, "items": {"type": "integer"}, "description": "Starts of bars, in Unix time"}
_PRICES = {**_COLUMN, "items": {"type": "number", "exclusiveMinimum": 0}}

UDF_CONFIG = schemas.named_schema("UdfConfig", _schema_of(CONFIGURATION))
UDF_SYMBOL = schemas.named_schema("UdfSymbol", _schema_of(_SYMBOL_EXAMPLE))
UDF_FOUND = schemas.model(
    "UdfFound", {**dict.fromkeys(_FOUND_EXAMPLE[0], schemas.TEXT), "ticker": schemas.TICKER}
)
UDF_BARS = schemas.model(
    "UdfBars", {"s": schemas.constant("ok"), "t": _TIMES, **dict.fromkeys("ohlc", _PRICES)}
)
UDF_NO_BARS = schemas.model(
    "UdfNoBars",
    {
        "s": schemas.constant("no_data"),
        "nextTime": {
            "type": "integer",
            "description": "Where the newest bar before them begins, in Unix time, if there is one",
        },
    },
    description="No bars between from and to",
    optional=("nextTime",),
)
UDF_PROBLEM = schemas.model(
    "UdfProblem",
    {**schemas.PROBLEM_PROPERTIES, "s": schemas.constant("error"), "errmsg": schemas.TEXT},
    description="Problem details, RFC 9457, with the two keys that charts look for",
)
schemas.add_problem_responses("udf", (404, 412, 422, 503), UDF_PROBLEM)


def _errmsg(detail: str) -> Mapping[str, str]:
    """The members of a problem document that a chart looks for."""
    return {"s": "error", "errmsg": detail}


# Endpoints


@endpoint(
    "/udf/config",
    "udf_config",
    summary="What the data feed supports",
    description="The same for every client.",
    response=schemas.json_response(schemas.ref(UDF_CONFIG), "ETag", example=CONFIGURATION),
    errors=(412, 500),
    tag="udf",
    ignore_unknown=True,
)
async def get_udf_config(_request: AppRequest, _query: NoQuery) -> Response:
    """The configuration."""
    return json_response(CONFIGURATION)


@endpoint(
    "/udf/symbols",
    "udf_symbols",
    summary="What a chart must know of one index",
    description="404 unless it is tracked.",
    response=schemas.json_response(schemas.ref(UDF_SYMBOL), "ETag", example=_SYMBOL_EXAMPLE),
    errors=(500, "udf_404", "udf_412", "udf_422", "udf_503"),
    tag="udf",
    ignore_unknown=True,
    extend_problem=_errmsg,
)
async def get_udf_symbol(request: AppRequest, query: SymbolQuery) -> Response:
    """One symbol. Raises NotFound unless it is tracked."""
    await _require_symbol(request, query.symbol)
    now = datetime.now(UTC)
    found = await request.state["database"].run(
        lambda conn: queries.ticker_summaries(conn, now, [query.symbol])
    )
    decimals = found[0].decimals if found else MIN_DECIMALS
    return json_response(symbol_info(query.symbol, decimals))


@endpoint(
    "/udf/search",
    "udf_search",
    summary="The indexes that have a word in their name or description",
    description="In the order of /tickers.",
    response=schemas.json_response(
        {"type": "array", "items": schemas.ref(UDF_FOUND)}, "ETag", example=_FOUND_EXAMPLE
    ),
    errors=(500, "udf_412", "udf_422", "udf_503"),
    tag="udf",
    ignore_unknown=True,
    extend_problem=_errmsg,
)
async def search_udf_symbols(request: AppRequest, query: SearchQuery) -> Response:
    """The symbols that match."""
    names = await request.state["tickers"].names(request.state["database"])
    matches = query.exchange.upper() in ("", EXCHANGE) and query.type in ("", TYPE)
    found = search_symbols(names, query.query) if matches else []
    return json_response(found[: query.limit])


@endpoint(
    "/udf/history",
    "udf_history",
    summary="Bars, oldest first, in columns",
    description="Those between `from` and `to`, or the `countback` bars before `to`: the newest"
    f" {MAX_BARS} of more; continue with the first of them as `to`. Prices are JSON numbers, which"
    " are not exact as prices elsewhere.",
    response=schemas.json_response(
        {"oneOf": [schemas.ref(UDF_BARS), schemas.ref(UDF_NO_BARS)]}, "ETag", example=_BARS_EXAMPLE
    ),
    errors=(500, "udf_404", "udf_412", "udf_422", "udf_503"),
    tag="udf",
    ignore_unknown=True,
    extend_problem=_errmsg,
)
async def get_udf_history(request: AppRequest, query: HistoryQuery) -> Response:
    """The bars that begin between from and to, or the countback bars before to."""
    await _require_symbol(request, query.symbol)
    grid, since, until = make_grid(query.resolution), query.since, query.until
    if not query.countback:
        since, until = params.half_open(since, until)
    until = until or datetime.now(UTC)
    since = FIRST if query.countback else min(since or FIRST, until)
    count = query.countback or MAX_BARS
    within = Span(since, until)
    bars = await request.state["database"].run(
        lambda conn: _fetch_bars(conn, query.symbol, grid, within, count)
    )
    return json_response(bars)


@endpoint(
    "/udf/time",
    "udf_time",
    summary="The server's clock, in Unix seconds",
    description="For the countdown of a chart.",
    response=schemas.text_response("text/plain"),
    errors=(412, 500),
    tag="udf",
    ignore_unknown=True,
)
async def get_udf_time(_request: AppRequest, _query: NoQuery) -> Response:
    """The time."""
    return PlainTextResponse(str(int(datetime.now(UTC).timestamp())), headers=NO_STORE)


async def _require_symbol(request: AppRequest, ticker: str) -> None:
    """Raises NotFound unless *ticker* is tracked."""
    try:
        await require_ticker(request, ticker)
    except BadRequest:
        raise NotFound({"symbol": f"{shorten(ticker)!r} does not exist"}) from None


async def _fetch_bars(
    conn: AsyncConnection, ticker: str, grid: Grid, within: Span, count: int
) -> dict[str, object]:
    """The newest *count* bars that begin in *within*, oldest first.

    Without any: where the newest bar before them begins, so that a chart can continue there.
    """
    candles = await fetch_candles(conn, ticker, grid, within, count, ascending=False)
    if not candles:
        earlier = Span(FIRST, within.since)
        newest = await fetch_candles(conn, ticker, grid, earlier, 1, ascending=False)
        next_time = {"nextTime": int(newest[0].start.timestamp())} if newest else {}
        return {"s": "no_data", **next_time}
    candles.reverse()
    return {
        "s": "ok",
        "t": [int(candle.start.timestamp()) for candle in candles],
        "o": [float(candle.open) for candle in candles],
        "h": [float(candle.high) for candle in candles],
        "l": [float(candle.low) for candle in candles],
        "c": [float(candle.close) for candle in candles],
    }
