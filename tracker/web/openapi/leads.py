"""Where an answer leads: what to ask next with what it says (OpenAPI's links)."""

from tracker.web.openapi.parts import Schema

_ASKED = "$request.query.ticker"


def _first(key: str) -> str:
    """The value of *key* in the first of the objects that were answered."""
    return f"$response.body#/0/{key}"


# From a path to the operation that it leads to, and with which parameters.
_LEADS = {
    "/tickers": ("last", {"ticker": _first("ticker")}),
    "/prices": ("filtered", {"ticker": _first("ticker"), "date": _first("created_at")}),
    "/prices/last": (
        "filtered",
        {"ticker": "$response.body#/ticker", "date": "$response.body#/created_at"},
    ),
    "/prices/filtered": (
        "prices",
        {"ticker": "$response.body#/ticker", "start_date": "$response.body#/created_at"},
    ),
    "/prices/gaps": ("coverage", {"ticker": _ASKED, "start_date": _first("from")}),
    "/prices/coverage": ("gaps", {"ticker": _ASKED, "start_date": _first("from")}),
    "/prices/candles": ("prices", {"ticker": _ASKED, "start_date": _first("created_at")}),
}


def led(paths: Schema) -> Schema:
    """*paths*, with what their answers lead to."""
    return {
        path: _linked(item, *_LEADS[path]) if path in _LEADS else item
        for path, item in paths.items()
    }


def _linked(item: Schema, operation: str, parameters: Schema) -> Schema:
    answers = item["get"]["responses"]
    found = {
        **answers["200"],
        "links": {operation: {"operationId": operation, "parameters": parameters}},
    }
    return {"get": {**item["get"], "responses": {**answers, "200": found}}}
