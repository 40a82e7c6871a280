"""The OpenAPI 3.1 document: every path, parameter, answer and error.

Source: https://spec.openapis.org/oas/v3.1.0. A test holds it against the routes.
"""

from collections.abc import Sequence

from tracker import __version__
from tracker.web.openapi import (
    candles,
    errors,
    missing,
    parameters,
    prices,
    service,
    stream,
    tickers,
    udf,
)
from tracker.web.openapi.leads import led
from tracker.web.openapi.limits import limited
from tracker.web.openapi.parts import Schema

_ABOUT = (
    "Index prices of Deribit, one for each index and UTC minute. Every path takes HEAD too; any"
    " other method is a 405 and any other path a 404, with the body of the errors below."
)
_TAGS = {
    "prices": "Stored prices; times are UTC, prices are exact.",
    "udf": "The same for charting front-ends, in TradingView's UDF protocol.",
    "service": "Health, metrics and this document.",
}
_RESOURCES = (prices, stream, candles, missing, tickers, udf, service)


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
        "tags": [{"name": name, "description": about} for name, about in _TAGS.items()],
        "paths": limited(led(_paths())),
        "components": {
            "parameters": {
                **parameters.PARAMETERS,
                **candles.PARAMETERS,
                **stream.PARAMETERS,
                **udf.PARAMETERS,
                "ticker": parameters.ticker(tickers),
                "stream_tickers": stream.tickers(tickers),
            },
            "schemas": errors.SCHEMAS
            | {
                name: schema for resource in _RESOURCES for name, schema in resource.SCHEMAS.items()
            },
            "responses": errors.RESPONSES | udf.RESPONSES,
            "headers": errors.HEADERS,
        },
    }


def _paths() -> Schema:
    return {path: item for resource in _RESOURCES for path, item in resource.PATHS.items()}
