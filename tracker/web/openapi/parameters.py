"""The parameters that may be asked with, by the name that paths refer to them."""

from collections.abc import Sequence

from tracker.web import params
from tracker.web.openapi.parts import Schema

_TIMES = (
    "RFC 3339 or ISO 8601 with any offset (none means UTC; a bare date is its midnight), or a Unix"
    f" time: seconds (below {params.SECONDS_BELOW:.0e}), milliseconds (below"
    f" {params.MILLISECONDS_BELOW:.0e}) or microseconds, with decimals."
)

_MOMENT: Schema = {
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

_INCLUDE: Schema = {
    "type": "array",
    "items": {"type": "string", "enum": list(params.EXTRAS)},
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
    "start_date": query("start_date", f"The cursor, inclusive; default: now. {_TIMES}", _MOMENT),
    "date": query(
        "date", f"Any moment of the minute that is asked for. {_TIMES}", _MOMENT, required=True
    ),
    "window_start": query(
        "start_date",
        "Where the window begins, inclusive; default, and never before: since when the index"
        f" is tracked. {_TIMES}",
        _MOMENT,
    ),
    "window_end": query(
        "end_date",
        "Where the window ends, exclusive, and the cursor: the next page ends where this one"
        f" begins; default, and never after: the present minute, not yet missing. {_TIMES}",
        _MOMENT,
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
        "schema": {"type": "string", "enum": ["swagger_bundle.js", "swagger_style.css"]},
    },
}
