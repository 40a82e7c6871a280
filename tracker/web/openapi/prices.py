"""Prices, as they are described."""

from tracker.web.openapi.parts import (
    MINUTE,
    PRICE,
    TICKER,
    Schema,
    closed,
    lines,
    operation,
    page,
    ref,
    rows,
)

_EXAMPLE = {"id": 1, "ticker": "btc_usd", "price": "68241.50", "created_at": "2024-01-15T12:00:00Z"}

PATHS: Schema = {
    "/prices": operation(
        "prices",
        "A page of the prices of a range",
        rows(page("Price"), [_EXAMPLE], "Link"),
        "ticker start_date end_date order limit before after include format",
        errors="406 422 500 503",
    ),
    "/prices/last": operation(
        "last",
        "The newest price",
        rows(ref("Price"), _EXAMPLE),
        "ticker include format",
        errors="404 406 422 500 503",
    ),
    "/prices/filtered": operation(
        "filtered",
        "The price of the minute that contains a date, or one nearer by",
        rows(ref("Price"), _EXAMPLE),
        "ticker date tolerance include format",
        errors="404 406 422 500 503",
    ),
    "/prices/export": operation(
        "export",
        "All prices of a range, oldest first: the lines that pages have, however many",
        lines(_EXAMPLE, "Content-Disposition", "Cache-Control", "Vary"),
        "ticker export_start export_end include export_format",
        errors="406 422 500 503",
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
                **PRICE,
                "description": "An exact decimal, in the index's quote currency",
            },
            "created_at": {**MINUTE, "description": "The UTC minute the price belongs to"},
            **_EXTRAS,
        },
        *_EXTRAS,
    ),
}
