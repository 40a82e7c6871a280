"""Health, metrics and documentation, as they are described."""

from tracker.web.openapi.parts import (
    MINUTE,
    TEXT,
    TICKER,
    Schema,
    closed,
    json,
    operation,
    ref,
    text,
)


def _service(name: str, summary: str, found: Schema, errors: str, asked: str = "") -> Schema:
    return operation(name, summary, found, asked, errors=errors, tag="service")


PATHS: Schema = {
    "/health/live": _service("live", "The process answers", json(ref("Live")), "422 500"),
    "/health/ready": _service(
        "ready",
        "The database answers, no migration is pending, and every ticker has a fresh price",
        json(ref("Ready")),
        "422 500 503",
    ),
    "/health/state": _service(
        "state",
        "How each part of the service is, in words; 200 whatever it says",
        json(ref("State")),
        "422 500",
    ),
    "/metrics": _service(
        "metrics", "For Prometheus", text("text/plain", "application/openmetrics-text"), "422 500"
    ),
    "/openapi.json": _service(
        "openapi", "This document", json({"type": "object"}, None, "ETag"), "422 500"
    ),
    "/docs": _service(
        "docs", "A page to read and try this API", text("text/html", kept=True), "422 500"
    ),
    "/problems": _service(
        "problems", "What each kind of error means", text("text/html", kept=True), "422 500"
    ),
    "/": _service(
        "page",
        "Prices as they come, their chart, and how the service does",
        text("text/html", kept=True),
        "422 500",
    ),
    "/page/{name}": _service(
        "page_file",
        "A file of these pages",
        text("text/javascript", "text/css", "image/svg+xml", "text/plain", kept=True),
        "404 422 500",
        "name",
    ),
}


def _or_null(schema: Schema, description: str) -> Schema:
    return {**schema, "type": [schema["type"], "null"], "description": description}


_MISSING: Schema = {
    "type": "integer",
    "minimum": 0,
    "maximum": 60,
    "description": "Minutes of the last hour without a price",
}
_AGE: Schema = {"type": "number", "minimum": 0}

_FRESH = closed(
    "",
    {
        "ticker": TICKER,
        "created_at": MINUTE,
        "age_seconds": _AGE,
        "missing": _MISSING,
    },
)

_REPLICA = closed(
    "What prices are read from, where READ_POSTGRES_HOST names a replica",
    {
        "lag_seconds": _or_null(
            _AGE, "Seconds that it is behind, at most; null: nothing replayed since its start"
        ),
    },
)

_PART = closed(
    "",
    {
        "name": {"enum": ["database", "scheduler", "worker", "exchange", "replica"]},
        "state": {"enum": ["up", "down", "unknown"]},
        "words": TEXT,
    },
)

_RECORDED = closed(
    "",
    {
        "ticker": TICKER,
        "created_at": _or_null(MINUTE, "The newest minute; null: none in the last month"),
        "age_seconds": _or_null(_AGE, "Seconds since then"),
        "missing": _MISSING,
        "failing": _or_null(TEXT, "Why the newest poll failed; null if it did not"),
    },
)

SCHEMAS: Schema = {
    "Live": closed("", {"status": {"const": "live"}}),
    "Ready": closed(
        "",
        {
            "status": {"const": "ready"},
            "prices": {"type": "array", "items": _FRESH},
            "replica": _REPLICA,
        },
        "replica",
    ),
    "State": closed(
        "",
        {
            "status": {"enum": ["ok", "impaired"]},
            "parts": {"type": "array", "items": _PART},
            "prices": {"type": "array", "items": _RECORDED},
        },
    ),
}
