"""The OpenAPI 3.1 document, built from the endpoints: their parameters, responses and problems.

Generators of clients read it: therefore it has no list that depends on the deployment or the
machine (indexes, time zones), one type of data for each response, and objects that may grow.
Source: https://spec.openapis.org/oas/v3.1.0. A test holds it against the routes.
"""

from collections.abc import Iterable, Sequence

from tracker import __version__
from tracker.web.endpoint import RATE_LIMITED, AnyEndpoint
from tracker.web.params import Field, Schema, query_fields
from tracker.web.schemas import HEADERS, RESPONSES, SCHEMAS, header_refs

_INFO = {
    "title": "Deribit price tracker",
    "version": __version__,
    "description": "Index prices of Deribit, one for each index and UTC minute. Every path takes"
    " HEAD too; any other method is a 405 and any other path a 404, with the body of the errors"
    " below.",
    "contact": {"name": "The operator of this server"},
    "license": {"name": "MIT License", "identifier": "MIT"},
}
_TAGS = {
    "prices": "Stored prices; times are UTC, prices are exact.",
    "udf": "The same for charting front-ends, in TradingView's UDF protocol.",
    "service": "Health and metrics.",
}


def document(endpoints: Iterable[AnyEndpoint], servers: Sequence[str]) -> Schema:
    """The document of *endpoints* at the URLs *servers*."""
    return {
        "openapi": "3.1.0",
        "info": _INFO,
        "servers": [{"url": url} for url in servers],
        "security": [],  # it needs no authentication
        "tags": [{"name": name, "description": about} for name, about in _TAGS.items()],
        "paths": {
            each.path: {"get": _operation(each, each.response)}
            for each in endpoints
            if each.response
        },
        "components": {"schemas": SCHEMAS, "responses": RESPONSES, "headers": HEADERS},
    }


def _operation(endpoint: AnyEndpoint, response: Schema) -> Schema:
    found = {**response, "headers": dict(response["headers"])}
    names = [str(name) for name in endpoint.errors]
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
        "operationId": endpoint.handler.__name__,
        "summary": endpoint.summary,
        "description": endpoint.description,
        "tags": [endpoint.tag],
        "parameters": [
            *(_parameter(field) for field in fields if field.parameter.documented),
            *endpoint.other_parameters,
        ],
        "responses": {"200": found, **others},
    }


def _parameter(field: Field) -> Schema:
    parameter = field.parameter
    schema = parameter.schema | field.default
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
