"""The UDF endpoints, as they are described. Source: documentation of TradingView's library."""

from tracker.web.asked import symbols
from tracker.web.endpoints import udf
from tracker.web.openapi import errors
from tracker.web.openapi.parameters import MOMENT, TIMES, query
from tracker.web.openapi.parts import TEXT, TICKER, Schema, closed, json, operation, ref, text

_SYMBOL = symbols.info("btc_usd", None)
_BARS = {
    "s": "ok",
    "t": [1705316400, 1705320000],
    "o": [68190.0, 68241.5],
    "h": [68245.31, 68302.17],
    "l": [68120.0, 68190.0],
    "c": [68241.5, 68255.04],
}


def _udf(name: str, summary: str, found: Schema, asked: str = "", refused: str = "") -> Schema:
    """Its own errors are those that charts understand."""
    described = operation(name, summary, found, asked, errors="500", tag="udf")
    explained = {code: {"$ref": f"#/components/responses/udf_{code}"} for code in refused.split()}
    described["get"]["responses"] |= explained
    return described


PATHS: Schema = {
    "/udf/config": _udf(
        "udf_config",
        "What there is to ask for",
        json(ref("UdfConfig"), symbols.CONFIGURATION, "ETag"),
    ),
    "/udf/symbols": _udf(
        "udf_symbols",
        "What a chart must know of one index",
        json(ref("UdfSymbol"), _SYMBOL, "ETag"),
        "udf_symbol",
        "404 422 503",
    ),
    "/udf/search": _udf(
        "udf_search",
        "The indexes that have a word in their name or description",
        json({"type": "array", "items": ref("UdfFound")}, symbols.found(["btc_usd"], ""), "ETag"),
        "udf_query udf_type udf_exchange udf_limit",
        "422 503",
    ),
    "/udf/history": _udf(
        "udf_history",
        "Bars, oldest first, in columns of JSON numbers, which are not exact as prices elsewhere",
        json({"oneOf": [ref("UdfBars"), ref("UdfNoBars")]}, _BARS, "ETag"),
        "udf_symbol udf_resolution udf_from udf_to udf_countback",
        "404 422 503",
    ),
    "/udf/time": _udf("udf_time", "The server's clock, in Unix seconds", text("text/plain")),
}

PARAMETERS: Schema = {
    "udf_symbol": query(
        "symbol",
        "An index, in any case, with or without the exchange: btc_usd, BTC_USD, DERIBIT:BTC_USD.",
        {"type": "string", "examples": ["BTC_USD"]},
        required=True,
    ),
    "udf_resolution": query(
        "resolution",
        "How long a bar is: minutes, or days, weeks and months of UTC.",
        {"type": "string", "enum": list(symbols.INTERVALS)},
        required=True,
    ),
    "udf_from": query(
        "from", f"Bars that begin at or after it; default: the first there is. {TIMES}", MOMENT
    ),
    "udf_to": query("to", f"Bars that begin before it; default: now. {TIMES}", MOMENT),
    "udf_countback": query(
        "countback",
        "How many bars before `to` are asked for; `from` does not matter then. 0 is as none. One"
        f" answer has at most {udf.LARGEST_COUNT}, the newest ones.",
        {"type": "integer", "minimum": 0},
    ),
    "udf_query": query("query", "Any part of a name or description, in any case.", TEXT),
    "udf_type": query("type", "Another type than these symbols' finds none.", TEXT),
    "udf_exchange": query("exchange", "Another exchange than theirs finds none.", TEXT),
    "udf_limit": query(
        "limit",
        "The most that are asked for.",
        {"type": "integer", "minimum": 0, "default": udf.DEFAULT_LIMIT},
    ),
}


def _like(example: object) -> Schema:
    """The schema of what is like *example*: the same keys, the same types."""
    if isinstance(example, dict):
        return closed("", {name: _like(value) for name, value in example.items()})
    if isinstance(example, list):
        return {"type": "array", "items": _like(example[0])}
    names = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return {"type": names[type(example)]}


_COLUMN: Schema = {"type": "array", "minItems": 1, "maxItems": udf.LARGEST_COUNT}
_TIMES = {**_COLUMN, "items": {"type": "integer"}, "description": "Where bars begin, in Unix time"}
_PRICES = {**_COLUMN, "items": {"type": "number", "exclusiveMinimum": 0}}

SCHEMAS: Schema = {
    "UdfConfig": _like(symbols.CONFIGURATION),
    "UdfSymbol": _like(_SYMBOL),
    "UdfFound": closed(
        "", {**dict.fromkeys(symbols.found(["btc_usd"], "")[0], TEXT), "ticker": TICKER}
    ),
    "UdfBars": closed("", {"s": {"const": "ok"}, "t": _TIMES, **dict.fromkeys("ohlc", _PRICES)}),
    "UdfNoBars": closed(
        "No bars between from and to",
        {
            "s": {"const": "no_data"},
            "nextTime": {
                "type": "integer",
                "description": "Where the newest bar before them begins, in Unix time, if there is"
                " one",
            },
        },
        "nextTime",
    ),
    "UdfProblem": closed(
        "Problem details, RFC 9457, with the two keys that charts look for",
        {**errors.SCHEMAS["Problem"]["properties"], "s": {"const": "error"}, "errmsg": TEXT},
    ),
}

RESPONSES: Schema = {
    f"udf_{code}": {
        **errors.RESPONSES[code],
        "content": {"application/problem+json": {"schema": ref("UdfProblem")}},
    }
    for code in ("404", "422", "503")
}
