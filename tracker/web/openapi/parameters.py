"""The parameters that may be asked with, by the name that paths refer to them."""

from collections.abc import Sequence

from tracker import times
from tracker.rows import EXTRAS
from tracker.web.asked import params
from tracker.web.endpoints import site
from tracker.web.openapi.parts import Schema

TIMES = (
    "RFC 3339 or ISO 8601 with any offset (none means UTC; a bare date is its midnight), or a Unix"
    f" time: seconds (below {times.SECONDS_BELOW:.0e}), milliseconds (below"
    f" {times.MILLISECONDS_BELOW:.0e}) or microseconds, with decimals."
)

MOMENT: Schema = {
    "anyOf": [
        {"type": "string", "format": "date-time"},
        {"type": "string", "format": "date"},
        {"type": "number", "minimum": -62135596800, "maximum": 253402300799999999},
    ],
    "examples": ["2024-01-15T12:00:00Z", "2024-01-15", 1705320000],
}

_LIMIT: Schema = {
    "type": "integer",
    "minimum": 1,
    "maximum": params.LARGEST_LIMIT,
    "default": params.DEFAULT_LIMIT,
}

_TOLERANCE: Schema = {
    "type": "integer",
    "minimum": 0,
    "maximum": params.LARGEST_TOLERANCE,
    "default": 0,
}

_INCLUDE: Schema = {
    "type": "array",
    "items": {"type": "string", "enum": list(EXTRAS)},
    "minItems": 1,
    "uniqueItems": True,
}


def query(name: str, description: str, schema: Schema, *, required: bool = False) -> Schema:
    """A parameter of the query string."""
    return {
        "name": name,
        "in": "query",
        "required": required,
        "description": description,
        "schema": schema,
    }


def ticker(tickers: Sequence[str]) -> Schema:
    """The parameter that most paths need; *tickers* are those there are."""
    about = "The index: one that is tracked, or that was and is stored."
    return query("ticker", about, {"type": "string", "enum": list(tickers)}, required=True)


PARAMETERS: Schema = {
    "start_date": query(
        "start_date",
        "Where the listing starts, inclusive; default: now, or the first price with `order=asc`."
        f" {TIMES}",
        MOMENT,
    ),
    "end_date": query(
        "end_date",
        "Where the listing stops, exclusive; default: the first price, or now with `order=asc`."
        f" Newest first it lies before start_date, or the listing is empty. {TIMES}",
        MOMENT,
    ),
    "export_start": query(
        "start_date",
        f"Where the export starts, inclusive; default: the first price. {TIMES}",
        MOMENT,
    ),
    "export_end": query(
        "end_date", f"Where the export stops, exclusive; default: now. {TIMES}", MOMENT
    ),
    "export_format": query(
        "format",
        "The format, whatever Accept says; default: what Accept asks for, CSV if it does not mind.",
        {"type": "string", "enum": list(params.LINE_FORMATS)},
    ),
    "order": query(
        "order",
        "desc: newest first; asc: oldest first.",
        {"type": "string", "enum": list(params.ORDERS), "default": "desc"},
    ),
    "before": query(
        "before",
        "A cursor, as links have it: the page of what is nearest before it, exclusive, in the range"
        f" asked for and in the order asked for. {TIMES}",
        MOMENT,
    ),
    "after": query(
        "after",
        "A cursor, as links have it: the page of what is nearest after it, exclusive, in the range"
        f" asked for and in the order asked for. {TIMES}",
        MOMENT,
    ),
    "tolerance": query(
        "tolerance",
        "How many seconds a price's `created_at` may lie from `date`: the nearest is taken, the"
        " earlier of two. The price of the minute that contains `date` is never too far.",
        _TOLERANCE,
    ),
    "format": query(
        "format",
        "The format of the answer, whatever Accept says; default: what Accept asks for, JSON if it"
        " does not mind.",
        {"type": "string", "enum": list(params.FORMATS)},
    ),
    "date": query(
        "date", f"Any moment of the minute that is asked for. {TIMES}", MOMENT, required=True
    ),
    "window_start": query(
        "start_date",
        "Where the window begins, inclusive; default, and never before: since when the index"
        f" is tracked. {TIMES}",
        MOMENT,
    ),
    "window_end": query(
        "end_date",
        "Where the window ends, exclusive, and the cursor: the next page ends where this one"
        f" begins; default, and never after: the present minute, not yet missing. {TIMES}",
        MOMENT,
    ),
    "interval": query(
        "interval",
        "A bucket's width.",
        {"type": "string", "enum": list(params.INTERVALS), "default": "1h"},
    ),
    "include": {
        **query("include", "Keys to add to a price, with commas between them.", _INCLUDE),
        "style": "form",
        "explode": False,
    },
    "limit": query("limit", "The longest a page may be.", _LIMIT),
    "name": {
        "name": "name",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "enum": site.names()},
    },
}
