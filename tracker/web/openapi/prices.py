"""Prices, as they are described."""

from tracker.web.openapi.parts import MINUTE, TICKER, Schema, closed, json, operation, page, ref

_EXAMPLE = {"id": 1, "ticker": "btc_usd", "price": "68241.50", "created_at": "2024-01-15T12:00:00Z"}

PATHS: Schema = {
    "/prices": operation(
        "prices",
        "A page of prices, newest first",
        json(page("Price"), [_EXAMPLE], "Link"),
        "ticker start_date limit include",
        errors="422 500 503",
    ),
    "/prices/last": operation(
        "last",
        "The newest price",
        json(ref("Price"), _EXAMPLE),
        "ticker include",
        errors="404 422 500 503",
    ),
    "/prices/filtered": operation(
        "filtered",
        "The price of the minute that contains a date",
        json(ref("Price"), _EXAMPLE),
        "ticker date include",
        errors="404 422 500 503",
    ),
}

_EXTRAS: Schema = {
    "source": {
        "enum": ["poll", "chart"],
        "description": "If included. poll: asked for in its minute; chart: an average",
    },
    "observed_at": {
        "type": ["string", "null"],
        "format": "date-time",
        "description": "If included. The exchange's clock when it gave the value, with"
        " microseconds; null if it is not known",
    },
}

SCHEMAS: Schema = {
    "Price": closed(
        "",
        {
            "id": {"type": "integer", "description": "Grows with insertion, not with time"},
            "ticker": TICKER,
            "price": {
                "type": "string",
                "pattern": "^[0-9]+\\.[0-9]{2,}$",
                "description": "An exact decimal, in the index's quote currency",
            },
            "created_at": {**MINUTE, "description": "The UTC minute the price belongs to"},
            **_EXTRAS,
        },
        *_EXTRAS,
    ),
}
