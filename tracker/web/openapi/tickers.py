"""What is tracked, as it is described."""

from tracker.web.answer import formats
from tracker.web.endpoints import tickers
from tracker.web.openapi.parts import MINUTE, PRICE, TICKER, Schema, closed, operation, ref, rows

_SUMMARY = {
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
}

_FOUND = rows({"type": "array", "items": ref("Ticker")}, [_SUMMARY])
_FOUND["content"]["text/csv"]["example"] = formats.written(
    "text/csv", [tickers.flat(_SUMMARY)], tickers.FLAT_COLUMNS
).decode()

PATHS: Schema = {
    "/tickers": operation(
        "tickers",
        "What is tracked, how much of it is stored, and how it moved in a day",
        _FOUND,
        "format",
        errors="406 422 500 503",
    ),
}

_CHANGE: Schema = {"type": "string", "pattern": "^-?[0-9]+\\.[0-9]{2,}$"}
_POINT = closed("", {"price": PRICE, "created_at": MINUTE})


def _or_null(schema: Schema, description: str) -> Schema:
    return {"anyOf": [schema, {"type": "null"}], "description": description}


SCHEMAS: Schema = {
    "Ticker": closed(
        "What is stored of one index. In CSV the keys of first and newest are columns, such as"
        " first_price",
        {
            "ticker": TICKER,
            "configured": {"type": "boolean", "description": "Whether it is polled now"},
            "since": _or_null(MINUTE, "The first minute that was asked for or stored"),
            "rows": {"type": "integer", "minimum": 0, "description": "How many minutes are stored"},
            "first": _or_null(_POINT, "The oldest price"),
            "newest": _or_null(_POINT, "The newest price"),
            "change_24h": _or_null(
                _CHANGE,
                "From the price 24 hours before the newest, or the last one of the hour before"
                " that, to the newest; null if there is none",
            ),
            "change_percent_24h": _or_null(_CHANGE, "The same in percent, four decimals"),
            "high_24h": _or_null(
                PRICE, "The highest price from 24 hours before the newest up to it"
            ),
            "low_24h": _or_null(PRICE, "The lowest of them"),
        },
    ),
}
