"""Health, metrics and documentation, as they are described."""

from tracker.web.openapi.parts import MINUTE, TICKER, Schema, closed, json, operation, ref, text


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
    "/metrics": _service(
        "metrics", "For Prometheus", text("text/plain", "application/openmetrics-text"), "422 500"
    ),
    "/openapi.json": _service("openapi", "This document", json({"type": "object"}), "422 500"),
    "/docs": _service("docs", "A page to read and try this API", text("text/html"), "422 500"),
    "/docs/{name}": _service(
        "docs_asset",
        "A file of that page",
        text("text/javascript", "text/css"),
        "404 422 500",
        "name",
    ),
}

_FRESH = closed(
    "",
    {
        "ticker": TICKER,
        "created_at": MINUTE,
        "age_seconds": {"type": "number", "minimum": 0},
        "missing": {
            "type": "integer",
            "minimum": 0,
            "maximum": 60,
            "description": "Minutes of the last hour without a price",
        },
    },
)

SCHEMAS: Schema = {
    "Live": closed("", {"status": {"const": "live"}}),
    "Ready": closed(
        "", {"status": {"const": "ready"}, "prices": {"type": "array", "items": _FRESH}}
    ),
}
