"""Errors as the client sees them: problem details, never internals.

Source: RFC 9457 (problem details), RFC 9110 (statuses).
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from tracker.errors import (
    BadRequest,
    DatabaseDown,
    MigrationsPending,
    NotAcceptable,
    NotFound,
    NotNow,
    RequestError,
)
from tracker.web.answer.kinds import type_of

MEDIA_TYPE = "application/problem+json"

# The one place where an error meets its status.
STATUS: dict[type[Exception], HTTPStatus] = {
    BadRequest: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotFound: HTTPStatus.NOT_FOUND,
    NotAcceptable: HTTPStatus.NOT_ACCEPTABLE,
    NotNow: HTTPStatus.SERVICE_UNAVAILABLE,
    DatabaseDown: HTTPStatus.SERVICE_UNAVAILABLE,
    MigrationsPending: HTTPStatus.SERVICE_UNAVAILABLE,
}

RETRY_AFTER = {"Retry-After": "5"}  # seconds
_ROUTE = {
    HTTPStatus.NOT_FOUND: {"path": "there is nothing here"},
    HTTPStatus.METHOD_NOT_ALLOWED: {"method": "this path takes GET and HEAD only"},
}


def problem(
    status: HTTPStatus,
    errors: Mapping[str, str],
    request_id: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem document; *errors* maps the name of each culprit to the reason."""
    body = {
        "type": type_of(status),
        "title": status.phrase,
        "status": status.value,
        "detail": "; ".join(f"{name}: {why}" for name, why in errors.items()),
        "errors": [{"name": name, "reason": why} for name, why in errors.items()],
        "request_id": request_id,
    }
    return Response(
        orjson.dumps(body),
        status.value,
        {"Cache-Control": "no-store", **(headers or {})},
        MEDIA_TYPE,
    )


async def refuse(request: Request[Any], error: Exception) -> Response:
    """The answer to a deliberate error of STATUS."""
    if isinstance(error, DatabaseDown | MigrationsPending):
        return unready(request, reasons(error))
    assert isinstance(error, RequestError)  # what else STATUS has
    if isinstance(error, NotNow):
        return unready(request, error.errors)
    return problem(STATUS[type(error)], error.errors, request.scope["request_id"])


async def refuse_route(request: Request[Any], error: Exception) -> Response:
    """The answer to a path or method that is not served: 404 or 405."""
    assert isinstance(error, HTTPException)  # it is registered for nothing else
    status = HTTPStatus(error.status_code)
    errors = _ROUTE.get(status, {"request": status.phrase})
    return problem(status, errors, request.scope["request_id"], error.headers)


async def fail(request: Request[Any], _: Exception) -> Response:
    """The answer when our own code fails; the log has the reason, under the request's id."""
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return problem(status, {"server": "an error of ours"}, request.scope["request_id"])


def unready(request: Request[Any], why: Mapping[str, str]) -> Response:
    """503 with the reasons, and when to come back."""
    status = HTTPStatus.SERVICE_UNAVAILABLE
    return problem(status, why, request.scope["request_id"], RETRY_AFTER)


def reasons(error: DatabaseDown | MigrationsPending) -> dict[str, str]:
    """What the client is told; the error itself names hosts and tables."""
    if isinstance(error, MigrationsPending):
        return {"migrations": "are pending"}
    return {"database": "does not answer"}
