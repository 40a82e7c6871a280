"""The OpenAPI 3.1 document: every path, parameter, answer and error.

Source: https://spec.openapis.org/oas/v3.1.0. A test holds it against the routes.
"""

from collections.abc import Sequence
from typing import Any

from tracker import __version__
from tracker.web import params, schemas

Schema = dict[str, Any]

_ABOUT = (
    "Index prices of Deribit, one for each index and UTC minute. Every path takes HEAD too; any"
    " other method is a 405 and any other path a 404, with the body of the errors below."
)
_PRICE = {"$ref": "#/components/schemas/Price"}
_EXAMPLE = {"id": 1, "ticker": "btc_usd", "price": "68241.50", "created_at": "2024-01-15T12:00:00Z"}


def document(api_version: str, tickers: Sequence[str]) -> Schema:
    """The document of the API under */api_version*, which serves *tickers*."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Deribit price tracker",
            "version": __version__,
            "description": _ABOUT,
        },
        "servers": [{"url": f"/{api_version}"}, {"url": "/"}],
        "tags": [
            {"name": "prices", "description": "Stored prices; times are UTC, prices are exact."},
            {"name": "service", "description": "Health, metrics and this document."},
        ],
        "paths": _paths(),
        "components": {
            "parameters": _parameters(tickers),
            "schemas": _SCHEMAS,
            "responses": _RESPONSES,
            "headers": _HEADERS,
        },
    }


def _paths() -> Schema:
    prices = {"type": "array", "items": _PRICE, "maxItems": params.LARGEST_LIMIT}
    return {
        "/prices": _operation(
            "prices",
            "A page of prices, newest first",
            _json(prices, [_EXAMPLE], "Link"),
            [_parameter(name) for name in ("ticker", "start_date", "limit", "include")],
            errors="422 500 503",
        ),
        "/prices/last": _operation(
            "last",
            "The newest price",
            _json(_PRICE, _EXAMPLE),
            [_parameter("ticker"), _parameter("include")],
            errors="404 422 500 503",
        ),
        "/prices/filtered": _operation(
            "filtered",
            "The price of the minute that contains a date",
            _json(_PRICE, _EXAMPLE),
            [_parameter("ticker"), _parameter("date"), _parameter("include")],
            errors="404 422 500 503",
        ),
        "/prices/gaps": _listing(
            "gaps",
            "Runs of missing minutes with their reasons, newest first",
            "Gap",
            schemas.GAP_EXAMPLE,
            "limit",
        ),
        "/prices/coverage": _listing(
            "coverage",
            "How much of each UTC hour or day is stored, newest first",
            "Coverage",
            schemas.COVERAGE_EXAMPLE,
            "interval limit",
        ),
        "/health/live": _service("live", "The process answers", _json(_LIVE), "422 500"),
        "/health/ready": _service(
            "ready",
            "The database answers, no migration is pending, and every ticker has a fresh price",
            _json({"$ref": "#/components/schemas/Ready"}),
            "422 500 503",
        ),
        "/metrics": _service("metrics", "For Prometheus", _text(*_METRIC_TYPES), "422 500"),
        "/openapi.json": _service("openapi", "This document", _json({"type": "object"}), "422 500"),
        "/docs": _service("docs", "A page to read and try this API", _text("text/html"), "422 500"),
        "/docs/{name}": _operation(
            "docs_asset",
            "A file of that page",
            _text("text/javascript", "text/css"),
            [_parameter("name")],
            errors="404 422 500",
            tag="service",
        ),
    }


def _operation(
    name: str, summary: str, found: Schema, asked: list[Schema], *, errors: str, tag: str = "prices"
) -> Schema:
    refused = {code: {"$ref": f"#/components/responses/{code}"} for code in errors.split()}
    operation = {
        "operationId": name,
        "summary": summary,
        "tags": [tag],
        "parameters": asked,
        "responses": {"200": found, **refused},
    }
    return {"get": operation}


def _listing(name: str, summary: str, schema: str, example: object, asked: str) -> Schema:
    """Of a window, which other listings do not have."""
    items = {"$ref": f"#/components/schemas/{schema}"}
    found = {"type": "array", "items": items, "maxItems": params.LARGEST_LIMIT}
    names = ["ticker", "window_start", "window_end", *asked.split()]
    parameters = [_parameter(each) for each in names]
    return _operation(
        name, summary, _json(found, [example], "Link"), parameters, errors="422 500 503"
    )


def _service(name: str, summary: str, found: Schema, errors: str) -> Schema:
    return _operation(name, summary, found, [], errors=errors, tag="service")


def _parameter(name: str) -> Schema:
    return {"$ref": f"#/components/parameters/{name}"}


def _json(schema: Schema, example: object = None, *headers: str) -> Schema:
    content = {"schema": schema} | ({"example": example} if example else {})
    return _found({"application/json": content}, headers)


def _text(*media_types: str) -> Schema:
    return _found({name: {"schema": {"type": "string"}} for name in media_types}, ())


def _found(content: Schema, headers: tuple[str, ...]) -> Schema:
    named = {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-ID", *headers)}
    return {"description": "Found", "headers": named, "content": content}


def _parameters(tickers: Sequence[str]) -> Schema:
    return {
        "ticker": _query(
            "ticker",
            "The index: one that is tracked, or that was and is stored.",
            {"type": "string", "enum": list(tickers)},
        ),
        "start_date": _query(
            "start_date", f"The cursor, inclusive; default: now. {_TIMES}", _MOMENT, required=False
        ),
        "date": _query("date", f"Any moment of the minute that is asked for. {_TIMES}", _MOMENT),
        "window_start": _query(
            "start_date",
            "Where the window begins, inclusive; default, and never before: since when the index"
            f" is tracked. {_TIMES}",
            _MOMENT,
            required=False,
        ),
        "window_end": _query(
            "end_date",
            "Where the window ends, exclusive, and the cursor: the next page ends where this one"
            f" begins; default, and never after: the present minute, not yet missing. {_TIMES}",
            _MOMENT,
            required=False,
        ),
        "interval": _query("interval", "A bucket's width.", schemas.INTERVAL, required=False),
        "include": {
            **_query(
                "include",
                "Keys to add to a price, with commas between them.",
                schemas.INCLUDE,
                required=False,
            ),
            "style": "form",
            "explode": False,
        },
        "limit": _query("limit", "The longest a page may be.", _LIMIT, required=False),
        "name": {
            "name": "name",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "enum": ["swagger_bundle.js", "swagger_style.css"]},
        },
    }


def _query(name: str, description: str, schema: Schema, *, required: bool = True) -> Schema:
    return {
        "name": name,
        "in": "query",
        "required": required,
        "description": description,
        "schema": schema,
    }


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

_LIVE: Schema = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"const": "live"}},
    "additionalProperties": False,
}

_METRIC_TYPES = ("text/plain", "application/openmetrics-text")

_TICKER: Schema = {"type": "string", "pattern": f"^{params.INDEX_NAME}$"}
_MINUTE: Schema = {"type": "string", "format": "date-time", "pattern": "^.{16}:00Z$"}

_SCHEMAS: Schema = {
    "Price": {
        "type": "object",
        "required": ["id", "ticker", "price", "created_at"],
        "properties": {
            "id": {"type": "integer", "description": "Grows with insertion, not with time"},
            "ticker": _TICKER,
            "price": {
                "type": "string",
                "pattern": "^[0-9]+\\.[0-9]{2,}$",
                "description": "An exact decimal, in the index's quote currency",
            },
            "created_at": {**_MINUTE, "description": "The UTC minute the price belongs to"},
            **schemas.EXTRAS,
        },
        "additionalProperties": False,
    },
    "Gap": schemas.GAP,
    "Coverage": schemas.COVERAGE,
    "Ready": {
        "type": "object",
        "required": ["status", "prices"],
        "properties": {
            "status": {"const": "ready"},
            "prices": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["ticker", "created_at", "age_seconds"],
                    "properties": {
                        "ticker": _TICKER,
                        "created_at": _MINUTE,
                        "age_seconds": {"type": "number", "minimum": 0},
                    },
                    "additionalProperties": False,
                },
            },
        },
        "additionalProperties": False,
    },
    "Problem": {
        "type": "object",
        "description": "Problem details, RFC 9457",
        "required": ["type", "title", "status", "detail", "errors", "request_id"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string"},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "reason"],
                    "properties": {"name": {"type": "string"}, "reason": {"type": "string"}},
                    "additionalProperties": False,
                },
            },
            "request_id": {"type": "string"},
        },
        "additionalProperties": False,
    },
}

_HEADERS: Schema = {
    "Link": {
        "description": 'The next page, rel="next" (RFC 8288); absent on the last one',
        "schema": {"type": "string"},
    },
    "X-Request-ID": {
        "description": "The request's id: the client's own if it sent one, else a new one",
        "required": True,
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds until it makes sense to ask again",
        "required": True,
        "schema": {"type": "integer"},
    },
    "Cache-Control": {"required": True, "schema": {"const": "no-store"}},
}


def _refusal(description: str, *headers: str) -> Schema:
    names = ("X-Request-ID", "Cache-Control", *headers)
    return {
        "description": description,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
        "content": {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        },
    }


_RESPONSES: Schema = {
    "404": _refusal("Not stored"),
    "422": _refusal("A parameter is missing, malformed, repeated or unknown"),
    "500": _refusal("An error of ours"),
    "503": _refusal("Not now: the database is away, or prices are stale", "Retry-After"),
}
