"""What descriptions are built of."""

from typing import Any

from tracker.models import INDEX_NAME
from tracker.web.answer import formats
from tracker.web.asked import params

Schema = dict[str, Any]

TICKER: Schema = {"type": "string", "pattern": f"^{INDEX_NAME}$"}
MINUTE: Schema = {"type": "string", "format": "date-time", "pattern": "^.{16}:00Z$"}
HOUR: Schema = {"type": "string", "format": "date-time", "pattern": "^.{14}00:00Z$"}
TEXT: Schema = {"type": "string"}
PRICE: Schema = {"type": "string", "pattern": "^[0-9]+\\.[0-9]{2,}$"}


def operation(
    name: str, summary: str, found: Schema, asked: str, *, errors: str, tag: str = "prices"
) -> Schema:
    """A path that is read; *asked* and *errors* are names, with spaces between them.

    What has an ETag can be asked about again.
    """
    codes = ["304", *errors.split()] if "ETag" in found["headers"] else errors.split()
    refused = {code: {"$ref": f"#/components/responses/{code}"} for code in codes}
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


def rows(schema: Schema, example: Any, *headers: str) -> Schema:
    """An answer in any of the formats, with those *headers*; JSON is as *schema* says."""
    content = {"application/json": {"schema": schema, "example": example}}
    return found(content | _texts(example), "ETag", "Max-Age", "Vary", *headers)


def lines(example: Any, *headers: str) -> Schema:
    """An answer in a format that can be streamed, with those *headers*."""
    return found(_texts(example), *headers)


def _texts(example: Any) -> Schema:
    columns = list(example[0] if isinstance(example, list) else example)
    return {
        name: {"schema": TEXT, "example": formats.written(name, example, columns).decode()}
        for name in (formats.MEDIA_TYPES[form] for form in params.LINE_FORMATS)
    }


def text(*media_types: str, kept: bool = False) -> Schema:
    """An answer in text of any of *media_types*; what is *kept* can be asked about again."""
    return found({name: {"schema": TEXT} for name in media_types}, *(["ETag"] if kept else []))


def found(content: Schema, *headers: str) -> Schema:
    """An answer that has *content* by media type."""
    return {
        "description": "Found",
        "headers": refer_headers("X-Request-ID", *headers),
        "content": content,
    }


def refer_headers(*names: str) -> Schema:
    """Those headers; `Max-Age` is the Cache-Control of what may be kept."""
    said = {"Max-Age": "Cache-Control"}
    return {said.get(name, name): {"$ref": f"#/components/headers/{name}"} for name in names}


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
