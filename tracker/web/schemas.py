"""What resources state for the OpenAPI document: schemas of bodies, responses and their headers.

Source: https://spec.openapis.org/oas/v3.1.0.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tracker.models import INDEX_NAME
from tracker.web.params import (
    LINE_FORMATS,
    MAX_LIMIT,
    Schema,
)
from tracker.web.responses import MEDIA_TYPES, render

TEXT: Schema = {"type": "string"}
TICKER: Schema = {"type": "string", "pattern": f"^{INDEX_NAME}$"}
MINUTE: Schema = {"type": "string", "format": "date-time", "pattern": "^.{16}:00Z$"}
HOUR: Schema = {"type": "string", "format": "date-time", "pattern": "^.{14}00:00Z$"}
PRICE: Schema = {"type": "string", "pattern": "^[0-9]+\\.[0-9]{2,}$"}

QUERY_TICKER = "$request.query.ticker"

SCHEMAS: dict[str, Schema] = {}


# Schemas of bodies


def closed_object(
    properties: Mapping[str, Schema], *, description: str = "", optional: Sequence[str] = ()
) -> Schema:
    """An object with these *properties* and no others; all but those *optional* are required."""
    return {
        "type": "object",
        **({"description": description} if description else {}),
        "required": [name for name in properties if name not in optional],
        "properties": dict(properties),
        "additionalProperties": False,
    }


def model(
    name: str,
    properties: Mapping[str, Schema],
    *,
    description: str = "",
    optional: Sequence[str] = (),
) -> str:
    """A body that the document has under components, as a closed object; its name."""
    schema = closed_object(properties, description=description, optional=optional)
    return named_schema(name, schema)


def named_schema(name: str, schema: Schema) -> str:
    """A schema that the document has under components; its name."""
    SCHEMAS[name] = schema
    return name


def ref(name: str) -> Schema:
    """The schema of that name."""
    return {"$ref": f"#/components/schemas/{name}"}


def page_of(name: str) -> Schema:
    """A list of that schema, no longer than a page may be."""
    return {"type": "array", "items": ref(name), "maxItems": MAX_LIMIT}


PROBLEM_PROPERTIES: dict[str, Schema] = {
    "type": {"type": "string", "format": "uri-reference"},
    "title": TEXT,
    "status": {"type": "integer", "minimum": 400, "maximum": 599},
    "detail": TEXT,
    "errors": {"type": "array", "items": closed_object({"name": TEXT, "reason": TEXT})},
    "request_id": TEXT,
}
PROBLEM = model("Problem", PROBLEM_PROPERTIES, description="Problem details, RFC 9457")


# Where a response leads (OpenAPI's links)


def in_body(key: str) -> str:
    """The value of *key* in the object of the response."""
    return f"$response.body#/{key}"


def in_first(key: str) -> str:
    """The value of *key* in the first object of the response."""
    return f"$response.body#/0/{key}"


# Responses

HEADERS: Schema = {
    "Link": {
        "description": 'The adjacent pages, rel="next" and rel="prev" (RFC 8288), where they exist:'
        " relative references, which resolve against the URL of the request",
        "schema": TEXT,
    },
    "X-Request-ID": {
        "description": "The request's id: the client's own if it sent one, else a new one",
        "required": True,
        "schema": TEXT,
    },
    "Retry-After": {
        "description": "Seconds until a retry makes sense",
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
        "description": "How many seconds it is fresh: until it can next change",
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


def response(content: Schema, *headers: str, description: str = "Found") -> Schema:
    """A 200 that has *content* by media type, with those *headers*."""
    return {
        "description": description,
        "headers": header_refs("X-Request-ID", *headers),
        "content": content,
    }


def json_response(schema: Schema, *headers: str, example: object = None) -> Schema:
    """A 200 in JSON."""
    content = {"schema": schema} | ({"example": example} if example else {})
    return response({MEDIA_TYPES["json"]: content}, *headers)


def rows_response(schema: Schema, example: Any, *headers: str) -> Schema:
    """A 200 in any of the formats; JSON is as *schema* says."""
    content = {MEDIA_TYPES["json"]: {"schema": schema, "example": example}}
    return response(content | _line_content(example), "ETag", "Max-Age", "Vary", *headers)


def lines_response(example: Any, *headers: str) -> Schema:
    """A 200 in a format that can be streamed."""
    return response(_line_content(example), *headers)


def text_response(*media_types: str, etag: bool = False) -> Schema:
    """A 200 in text of any of *media_types*."""
    content = {name: {"schema": TEXT} for name in media_types}
    return response(content, *(["ETag"] if etag else []))


def _line_content(example: Any) -> Schema:
    columns = list(example[0] if isinstance(example, list) else example)
    return {
        name: {"schema": TEXT, "example": render(name, example, columns).decode()}
        for name in (MEDIA_TYPES[each] for each in LINE_FORMATS)
    }


def header_refs(*names: str) -> Schema:
    """References to HEADERS; `Max-Age` is the Cache-Control of what may be stored."""
    sent = {"Max-Age": "Cache-Control"}
    return {sent.get(name, name): {"$ref": f"#/components/headers/{name}"} for name in names}


def problem_response(description: str, *headers: str, schema: str = PROBLEM) -> Schema:
    """A response with a problem document."""
    return {
        "description": description,
        "headers": header_refs("X-Request-ID", "Cache-Control", *headers),
        "content": {"application/problem+json": {"schema": ref(schema)}},
    }


RESPONSES: Schema = {
    "304": {
        "description": "The representation with the ETag in If-None-Match is current",
        "headers": header_refs("X-Request-ID", "ETag", "Max-Age", "Vary"),
    },
    "404": problem_response("Not stored"),
    "406": problem_response("Accept names none of the formats"),
    "422": problem_response("A parameter is missing, malformed, repeated or unknown"),
    "429": problem_response(
        "Too many requests of this client, where the operator has set a limit",
        *("Retry-After", "RateLimit", "RateLimit-Policy"),
    ),
    "500": problem_response("An internal error"),
    "503": problem_response(
        "Temporarily unavailable: the database does not respond, prices are stale, or too many"
        " clients are served",
        "Retry-After",
    ),
}


def add_problem_responses(prefix: str, statuses: Iterable[int], schema: str) -> None:
    """Add variants of RESPONSES whose problem documents are of *schema*: udf_404, say."""
    for status in statuses:
        content = {"application/problem+json": {"schema": ref(schema)}}
        RESPONSES[f"{prefix}_{status}"] = {**RESPONSES[str(status)], "content": content}
