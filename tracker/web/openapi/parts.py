"""What descriptions are built of."""

from typing import Any

from tracker.web import params

Schema = dict[str, Any]

TICKER: Schema = {"type": "string", "pattern": f"^{params.INDEX_NAME}$"}
MINUTE: Schema = {"type": "string", "format": "date-time", "pattern": "^.{16}:00Z$"}
HOUR: Schema = {"type": "string", "format": "date-time", "pattern": "^.{14}00:00Z$"}
TEXT: Schema = {"type": "string"}


def operation(
    name: str, summary: str, found: Schema, asked: str, *, errors: str, tag: str = "prices"
) -> Schema:
    """A path that is read; *asked* and *errors* are names, with spaces between them."""
    refused = {code: {"$ref": f"#/components/responses/{code}"} for code in errors.split()}
    described = {
        "operationId": name,
        "summary": summary,
        "tags": [tag],
        "parameters": [{"$ref": f"#/components/parameters/{each}"} for each in asked.split()],
        "responses": {"200": found, **refused},
    }
    return {"get": described}


def json(schema: Schema, example: object = None, *headers: str) -> Schema:
    """An answer in JSON, with those *headers*."""
    content = {"schema": schema} | ({"example": example} if example else {})
    return found({"application/json": content}, *headers)


def text(*media_types: str) -> Schema:
    """An answer in text of any of *media_types*."""
    return found({name: {"schema": TEXT} for name in media_types})


def found(content: Schema, *headers: str) -> Schema:
    """An answer that has *content* by media type."""
    named = {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-ID", *headers)}
    return {"description": "Found", "headers": named, "content": content}


def page(schema: str) -> Schema:
    """A list of the schema of that name, no longer than a page may be."""
    return {"type": "array", "items": ref(schema), "maxItems": params.LARGEST_LIMIT}


def ref(schema: str) -> Schema:
    """The schema of that name."""
    return {"$ref": f"#/components/schemas/{schema}"}


def closed(description: str, properties: Schema, *optional: str) -> Schema:
    """An object with these *properties* and no others; all are there but those *optional*."""
    return {
        "type": "object",
        **({"description": description} if description else {}),
        "required": [name for name in properties if name not in optional],
        "properties": properties,
        "additionalProperties": False,
    }
