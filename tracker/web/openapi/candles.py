"""Candles, as they are described."""

from tracker.buckets import INTERVALS
from tracker.web.asked import grids
from tracker.web.asked.grids import DEFAULT_INTERVAL
from tracker.web.openapi.parameters import MOMENT, TIMES, query
from tracker.web.openapi.parts import (
    MINUTE,
    PRICE,
    Schema,
    closed,
    operation,
    page,
    rows,
)

_CANDLE = {
    "created_at": "2024-01-15T12:00:00Z",
    "open": "68241.50",
    "high": "68302.17",
    "low": "68190.00",
    "close": "68255.04",
    "samples": 60,
}

PATHS: Schema = {
    "/prices/candles": operation(
        "candles",
        "First, highest, lowest and last price of each bucket of time, newest first",
        rows(page("Candle"), [_CANDLE], "Link"),
        "ticker candle_interval tz candle_start candle_end order limit before after format",
        errors="406 422 500 503",
    ),
}

PARAMETERS: Schema = {
    "candle_interval": query(
        "interval",
        "How long a bucket is. Days and longer begin by the calendar of `tz`, weeks on Monday;"
        " shorter ones are counted from midnight UTC.",
        {"type": "string", "enum": list(INTERVALS), "default": DEFAULT_INTERVAL},
    ),
    "tz": query(
        "tz",
        "A time zone by its IANA name, whose days, weeks or months are asked for: its days have 23"
        " or 25 hours where clocks move. Buckets shorter than a day are the same in each.",
        {"type": "string", "enum": sorted(grids.zones()), "default": "UTC"},
    ),
    "candle_start": query(
        "start_date",
        "Buckets that begin at or after it, each with all its prices; default: the first there is."
        f" {TIMES}",
        MOMENT,
    ),
    "candle_end": query(
        "end_date",
        "Buckets that begin before it, each with all its prices; default: now, so that the bucket"
        f" in progress is there with the prices that it has yet. {TIMES}",
        MOMENT,
    ),
}


def _some(description: str) -> Schema:
    return {**PRICE, "description": description}


SCHEMAS: Schema = {
    "Candle": closed(
        "The prices of a bucket; a bucket without any is left out",
        {
            "created_at": {**MINUTE, "description": "The bucket's first UTC minute"},
            "open": _some("The first price"),
            "high": _some("The highest price"),
            "low": _some("The lowest price"),
            "close": _some("The last price"),
            "samples": {
                "type": "integer",
                "minimum": 1,
                "description": "How many minutes are behind it: fewer than it has where some are"
                " missing, or still to come",
            },
        },
    ),
}
