"""The OpenAPI schemas of what is missing: gaps, coverage, and how they are asked for."""

from typing import Any

from tracker.web import params

Schema = dict[str, Any]

_MINUTE: Schema = {"type": "string", "format": "date-time", "pattern": "^.{16}:00Z$"}
_HOUR: Schema = {"type": "string", "format": "date-time", "pattern": "^.{14}00:00Z$"}
_LONGEST = max(params.INTERVALS.values()).total_seconds() // 60
_SOME: Schema = {"type": "integer", "minimum": 0, "maximum": _LONGEST}

GAP_EXAMPLE = {
    "from": "2024-01-15T12:00:00Z",
    "to": "2024-01-15T12:02:00Z",
    "minutes": 3,
    "reason": "exchange_unavailable",
}
COVERAGE_EXAMPLE = {
    "from": "2024-01-15T12:00:00Z",
    "expected": 60,
    "polled": 50,
    "chart": 7,
    "missing": 3,
    "ratio": 0.95,
}

GAP: Schema = {
    "type": "object",
    "description": "Minutes on end that are missing for one reason; no run touches its like",
    "required": ["from", "to", "minutes", "reason"],
    "properties": {
        "from": {**_MINUTE, "description": "The first missing minute"},
        "to": {**_MINUTE, "description": "The last missing minute"},
        "minutes": {"type": "integer", "minimum": 1, "description": "How many they are"},
        "reason": {
            "type": "string",
            "minLength": 1,
            "description": "Why polling failed: exchange_unavailable, rate_limited, refused,"
            " bad_answer or too_late; not_polled if no record says that anybody asked",
        },
    },
    "additionalProperties": False,
}

COVERAGE: Schema = {
    "type": "object",
    "description": "How much of a UTC hour or day is stored; polled + chart + missing = expected",
    "required": ["from", "expected", "polled", "chart", "missing", "ratio"],
    "properties": {
        "from": {**_HOUR, "description": "The start of the hour or day"},
        "expected": {
            **_SOME,
            "minimum": 1,
            "description": "Its minutes that are in the window, tracked, and over",
        },
        "polled": {**_SOME, "description": "Stored, and asked for in their minute"},
        "chart": {**_SOME, "description": "Stored, and filled from the exchange's chart data"},
        "missing": {**_SOME, "description": "Not stored"},
        "ratio": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "The stored part of those expected, rounded down to four decimals",
        },
    },
    "additionalProperties": False,
}

INTERVAL: Schema = {"type": "string", "enum": list(params.INTERVALS), "default": "1h"}

INCLUDE: Schema = {
    "type": "array",
    "items": {"type": "string", "enum": list(params.EXTRAS)},
    "minItems": 1,
    "uniqueItems": True,
}

EXTRAS: Schema = {
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
