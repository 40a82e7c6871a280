"""What resources state for the OpenAPI document: schemas of bodies, responses and their headers.

Source: https://spec.openapis.org/oas/v3.1.0.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tracker.web.params import MAX_LIMIT, TICKER_SCHEMA, Schema
from tracker.web.responses import MEDIA_TYPES, render

TEXT: Schema = {"type": "string"}
TICKER = TICKER_SCHEMA
MINUTE: Schema = {"type": "string", "format": "date-time", "pattern": "^.{16}:00Z$"}
HOUR: Schema = {"type": "string", "format": "date-time", "pattern": "^.{14}00:00Z$"}
PRICE: Schema = {"type": "string", "pattern": "^[0-9]+\\.[0-9]{2,}$"}

QUERY_TICKER = "$request.query.ticker"

SCHEMAS: dict[str, Schema] = {}


# Schemas of bodies


def object_schema(
    properties: Mapping[str, Schema], *, description: str = "", optional: Sequence[str] = ()
) -> Schema:
    """An object with these *properties*, of which all but those *optional* are required.

    Others are allowed: a later version may add a key, which must not break the clients of this one.
    """
    return {
        "type": "object",
        **({"description": description} if description else {}),
        "required": [name for name in properties if name not in optional],
        "properties": dict(properties),
    }


def model(
    name: str,
    properties: Mapping[str, Schema],
    *,
    description: str = "",
    optional: Sequence[str] = (),
) -> str:
    """An object that the document has under components; its name."""
    schema = object_schema(properties, description=description, optional=optional)
    return named_schema(name, schema)


def named_schema(name: str, schema: Schema) -> str:
    """A schema that the document has under components; its name."""
    SCHEMAS[name] = schema
    return name


def ref(name: str) -> Schema:
    """The schema of that name."""
    return {"$ref": f"#/components/schemas/{name}"}


def constant(value: str) -> Schema:
    """This text."""
    return {"type": "string", "const": value}


def one_of(*values: str, description: str = "") -> Schema:
    """One of these texts."""
    described = {"description": description} if description else {}
    return {"type": "string", "enum": list(values), **described}


def or_null(schema: Schema, description: str = "") -> Schema:
    """What *schema* allows, or null."""
    described = {"description": description} if description else {}
    return {"anyOf": [schema, {"type": "null"}], **described}


def page_of(name: str) -> Schema:
    """A list of that schema, no longer than a page may be."""
    return {"type": "array", "items": ref(name), "maxItems": MAX_LIMIT}


_REASON = model(
    "Reason",
    {"name": TEXT, "reason": TEXT},
    description="An invalid parameter or an unavailable part, and why",
)
PROBLEM_PROPERTIES: dict[str, Schema] = {
    "type": {"type": "string", "format": "uri-reference"},
    "title": TEXT,
    "status": {"type": "integer", "minimum": 400, "maximum": 599},
    "detail": TEXT,
    "errors": {"type": "array", "items": ref(_REASON)},
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
    "Cache-Control": {
        "description": "It must not be stored",
        "required": True,
        "schema": constant("no-store"),
    },
    "Max-Age": {
        "description": "How many seconds it is fresh: until it can next change",
        "required": True,
        "schema": TEXT,
    },
    "ETag": {
        "description": "Of exactly these bytes: a request with it in If-None-Match gets a 304"
        " without a body while they are current",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[^"]+"$'},
    },
    "Vary": {
        "description": "The headers of the request that it depends on",
        "required": True,
        "schema": TEXT,
    },
    "Missing": {
        "description": "The names of indexes that have no such price, separated by commas; without"
        " it all have one",
        "schema": TEXT,
    },
    "Content-Disposition": {
        "description": "A name for the file",
        "required": True,
        "schema": TEXT,
    },
}


_COLUMNAR = (
    "; as a table with `format=arrow`, an Arrow stream, or `format=parquet`, where the server has"
    " the extra for it"
)


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


def rows_response(schema: Schema, example: Any, *headers: str, columnar: bool = False) -> Schema:
    """A 200 in JSON, which the request may have in other formats.

    The document has JSON alone: generators type data of several media types as either of them.
    """
    content = {MEDIA_TYPES["json"]: {"schema": schema, "example": example}}
    description = (
        "The same as CSV (RFC 4180) or NDJSON: with `format=csv` or `format=ndjson`, or as Accept"
        " prefers"
    ) + (_COLUMNAR if columnar else "")
    return response(content, "ETag", "Max-Age", "Vary", *headers, description=description)


def lines_response(example: Mapping[str, object], *headers: str) -> Schema:
    """A 200 in CSV, which the request may have as NDJSON; the document has CSV alone."""
    table = render(MEDIA_TYPES["csv"], example, list(example)).decode()
    content = {MEDIA_TYPES["csv"]: {"schema": TEXT, "example": table}}
    description = "CSV (RFC 4180), or NDJSON with `format=ndjson` or as Accept prefers" + _COLUMNAR
    return response(content, *headers, description=description)


def text_response(*media_types: str) -> Schema:
    """A 200 in text of any of *media_types*."""
    return response({name: {"schema": TEXT} for name in media_types})


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
    "404": problem_response("Not stored"),
    "406": problem_response("Accept names none of the formats"),
    "412": problem_response("If-Match does not have the ETag of the response"),
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
