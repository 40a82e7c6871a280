"""Gaps and coverage, as they are described."""

from tracker.web.asked import params
from tracker.web.openapi.parts import HOUR, MINUTE, Schema, closed, operation, page, rows

_LONGEST = max(params.INTERVALS.values()).total_seconds() // 60
_SOME: Schema = {"type": "integer", "minimum": 0, "maximum": _LONGEST}

_GAP = {
    "from": "2024-01-15T12:00:00Z",
    "to": "2024-01-15T12:02:00Z",
    "minutes": 3,
    "reason": "exchange_unavailable",
}
_COVERAGE = {
    "from": "2024-01-15T12:00:00Z",
    "expected": 60,
    "polled": 50,
    "chart": 5,
    "imported": 2,
    "missing": 3,
    "ratio": 0.95,
}

PATHS: Schema = {
    "/prices/gaps": operation(
        "gaps",
        "Runs of missing minutes with their reasons, newest first",
        rows(page("Gap"), [_GAP], "Link"),
        "ticker window_start window_end limit format",
        errors="406 422 500 503",
    ),
    "/prices/coverage": operation(
        "coverage",
        "How much of each UTC hour or day is stored, newest first",
        rows(page("Coverage"), [_COVERAGE], "Link"),
        "ticker window_start window_end interval limit format",
        errors="406 422 500 503",
    ),
}

SCHEMAS: Schema = {
    "Gap": closed(
        "Minutes on end that are missing for one reason; no run touches its like",
        {
            "from": {**MINUTE, "description": "The first missing minute"},
            "to": {**MINUTE, "description": "The last missing minute"},
            "minutes": {"type": "integer", "minimum": 1, "description": "How many they are"},
            "reason": {
                "type": "string",
                "minLength": 1,
                "description": "Why polling failed: exchange_unavailable, rate_limited, refused,"
                " bad_answer or too_late; not_polled if no record says that anybody asked",
            },
        },
    ),
    "Coverage": closed(
        "How much of a UTC hour or day is stored; polled + chart + imported + missing = expected",
        {
            "from": {**HOUR, "description": "The start of the hour or day"},
            "expected": {
                **_SOME,
                "minimum": 1,
                "description": "Its minutes that are in the window, tracked, and over",
            },
            "polled": {**_SOME, "description": "Stored, and asked for in their minute"},
            "chart": {**_SOME, "description": "Stored, and filled from the exchange's chart data"},
            "imported": {**_SOME, "description": "Stored, and imported from a file"},
            "missing": {**_SOME, "description": "Not stored"},
            "ratio": {
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "description": "The stored part of those expected, rounded down to four decimals",
            },
        },
    ),
}
