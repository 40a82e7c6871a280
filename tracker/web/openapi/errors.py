"""Errors and headers, as they are described. Source: RFC 9457."""

from tracker.web.openapi.parts import TEXT, Schema, closed, refer_headers

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
        "description": 'The pages beside it, rel="next" and rel="prev" (RFC 8288), where they are:'
        " relative references, which resolve against the URL of the request",
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
    "RateLimit": {
        "description": "What the client has left: r requests, and more in t seconds"
        " (draft-ietf-httpapi-ratelimit-headers-09). Where the operator has set a limit",
        "schema": {"type": "string", "pattern": '^"client";r=[0-9]+;t=[0-9]+$'},
    },
    "RateLimit-Policy": {
        "description": "The limit: q requests in w seconds; with RateLimit",
        "schema": {"type": "string", "pattern": '^"client";q=[0-9]+;w=[0-9]+$'},
    },
    "Cache-Control": {"required": True, "schema": {"const": "no-store"}},
    "Max-Age": {
        "description": "How many seconds it may be kept: until it can next change",
        "required": True,
        "schema": TEXT,
    },
    "ETag": {
        "description": "Of exactly these bytes; If-None-Match with it asks whether they changed",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[^"]+"$'},
    },
    "Vary": {"required": True, "schema": TEXT},
    "Content-Disposition": {
        "description": "A name for the file",
        "required": True,
        "schema": TEXT,
    },
}


def _refusal(description: str, *headers: str) -> Schema:
    return {
        "description": description,
        "headers": refer_headers("X-Request-ID", "Cache-Control", *headers),
        "content": {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        },
    }


RESPONSES: Schema = {
    "304": {
        "description": "What the client has under the tag in its If-None-Match still holds",
        "headers": refer_headers("X-Request-ID", "ETag", "Max-Age", "Vary"),
    },
    "404": _refusal("Not stored"),
    "406": _refusal("None of the formats is among those that Accept names"),
    "422": _refusal("A parameter is missing, malformed, repeated or unknown"),
    "429": _refusal(
        "Too many requests of this client, where the operator has set a limit",
        *("Retry-After", "RateLimit", "RateLimit-Policy"),
    ),
    "500": _refusal("An error of ours"),
    "503": _refusal(
        "Not now: the database is away, prices are stale, or too many are served", "Retry-After"
    ),
}
