"""Errors and headers, as they are described. Source: RFC 9457."""

from tracker.web.openapi.parts import TEXT, Schema, closed

SCHEMAS: Schema = {
    "Problem": closed(
        "Problem details, RFC 9457",
        {
            "type": {"type": "string", "format": "uri-reference"},
            "title": TEXT,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": TEXT,
            "errors": {"type": "array", "items": closed("", {"name": TEXT, "reason": TEXT})},
            "request_id": TEXT,
        },
    ),
}

HEADERS: Schema = {
    "Link": {
        "description": 'The next page, rel="next" (RFC 8288); absent on the last one',
        "schema": TEXT,
    },
    "X-Request-ID": {
        "description": "The request's id: the client's own if it sent one, else a new one",
        "required": True,
        "schema": TEXT,
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


RESPONSES: Schema = {
    "404": _refusal("Not stored"),
    "422": _refusal("A parameter is missing, malformed, repeated or unknown"),
    "500": _refusal("An error of ours"),
    "503": _refusal("Not now: the database is away, or prices are stale", "Retry-After"),
}
