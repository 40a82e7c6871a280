"""The OpenAPI 3.1 document, built from the endpoints: their parameters, responses and problems.

Source: https://spec.openapis.org/oas/v3.1.0. A test holds it against the routes.
"""

from collections.abc import Iterable, Sequence

from tracker import __version__
from tracker.web.endpoint import RATE_LIMITED, AnyEndpoint
from tracker.web.params import Field, Schema, query_fields
from tracker.web.schemas import HEADERS, RESPONSES, SCHEMAS, header_refs

_ABOUT = (
    "Index prices of Deribit, one for each index and UTC minute. Every path takes HEAD too; any"
    " other method is a 405 and any other path a 404, with the body of the errors below."
)
_TAGS = {
    "prices": "Stored prices; times are UTC, prices are exact.",
    "udf": "The same for charting front-ends, in TradingView's UDF protocol.",
    "service": "Health, metrics and this document.",
}


def document(
    endpoints: Iterable[AnyEndpoint], servers: Sequence[str], tickers: Sequence[str]
) -> Schema:
    """The document of *endpoints* at the URLs *servers*, which serve *tickers*."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Deribit price tracker",
            "version": __version__,
            "description": _ABOUT,
        },
        "servers": [{"url": url} for url in servers],
        "tags": [{"name": name, "description": about} for name, about in _TAGS.items()],
        "paths": {each.path: {"get": _operation(each, tickers)} for each in endpoints},
        "components": {"schemas": SCHEMAS, "responses": RESPONSES, "headers": HEADERS},
    }


def _operation(endpoint: AnyEndpoint, tickers: Sequence[str]) -> Schema:
    found = {**endpoint.response, "headers": dict(endpoint.response["headers"])}
    names = [str(name) for name in endpoint.errors]
    if "ETag" in found["headers"]:
        names.insert(0, "304")
    if endpoint.path.startswith(RATE_LIMITED):
        found["headers"] |= header_refs("RateLimit", "RateLimit-Policy")
        names.append("429")
    if endpoint.links:
        operation, parameters = endpoint.links
        link = {"operationId": operation, "parameters": dict(parameters)}
        found["links"] = {operation: link}
    others = {name[-3:]: {"$ref": f"#/components/responses/{name}"} for name in names}
    fields = query_fields(endpoint.query).values()  # type: ignore[arg-type]  # types are hashable
    return {
        "operationId": endpoint.operation_id or endpoint.name,
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "parameters": [
            *(_parameter(field, tickers) for field in fields),
            *endpoint.other_parameters,
        ],
        "responses": {"200": found, **others},
    }


def _parameter(field: Field, tickers: Sequence[str]) -> Schema:
    parameter = field.parameter
    schema = parameter.schema | field.default
    if parameter.name == "ticker":
        schema |= {"enum": list(tickers)}
    if parameter.listed:
        schema = {"type": "array", "items": schema, "minItems": 1, "uniqueItems": True}
    described = {
        "name": parameter.name,
        "in": "query",
        "required": parameter.required,
        "description": parameter.description,
        "schema": schema,
    }
    if parameter.listed:
        described |= {"style": "form", "explode": True}
    return described
