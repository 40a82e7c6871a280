"""Indexes as symbols of a charting library: their names, and what a chart must know of them.

Pure. Source: https://www.tradingview.com/charting-library-docs/latest/connecting_data/UDF
"""

from collections.abc import Iterable
from decimal import Decimal

EXCHANGE = "DERIBIT"
TYPE = "index"

# What a chart calls an interval; D, W and M are older names that some clients still send.
RESOLUTIONS = {
    "1": "1m",
    "5": "5m",
    "15": "15m",
    "30": "30m",
    "60": "1h",
    "240": "4h",
    "1D": "1d",
    "1W": "1w",
    "1M": "1M",
}
INTERVALS = RESOLUTIONS | {"D": "1d", "W": "1w", "M": "1M"}

_FEWEST_DECIMALS = 2
_MOST_DECIMALS = 12  # a chart counts in JavaScript's numbers

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


def ticker(symbol: str) -> str:
    """The index that a chart calls *symbol*: btc_usd, BTC_USD or DERIBIT:BTC_USD."""
    return symbol.lower().removeprefix(f"{EXCHANGE.lower()}:")


def info(ticker: str, close: Decimal | None) -> dict[str, object]:
    """What a chart must know of an index; its prices are shown with the decimals of *close*."""
    _, _, quote = ticker.rpartition("_")
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
        "pricescale": 10 ** _decimals(close),
        "currency_code": quote.upper(),
        "has_intraday": True,
        "intraday_multipliers": [name for name in RESOLUTIONS if name.isdecimal()],
        "has_daily": True,
        "has_weekly_and_monthly": True,
        "has_no_volume": True,
        "visible_plots_set": "ohlc",
        "supported_resolutions": list(RESOLUTIONS),
    }


def found(tickers: Iterable[str], words: str) -> list[dict[str, str]]:
    """Those of *tickers* that have *words* in their name or description, in any case."""
    wanted = ticker(words.strip())
    return [
        {
            "symbol": each.upper(),
            "full_name": f"{EXCHANGE}:{each.upper()}",
            "description": _description(each),
            "exchange": EXCHANGE,
            "ticker": each,
            "type": TYPE,
        }
        for each in tickers
        if wanted in each or wanted in _description(each).lower()
    ]


def has(exchange: str, kind: str) -> bool:
    """Whether symbols of that exchange and type are among these; an empty name means any."""
    return exchange.upper() in {"", EXCHANGE} and kind in {"", TYPE}


def _description(ticker: str) -> str:
    base, _, quote = ticker.rpartition("_")
    return f"{base.upper()} / {quote.upper()} index"


def _decimals(price: Decimal | None) -> int:
    exponent = 0 if price is None else int(price.as_tuple().exponent)
    return min(max(-exponent, _FEWEST_DECIMALS), _MOST_DECIMALS)
