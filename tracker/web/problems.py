"""Errors as clients see them: problem details with a status, never internals.

Source: RFC 9457 (problem details; section 3.1.1: a type is a URI that people can read about),
RFC 9110 and RFC 6585 (statuses).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from http import HTTPStatus
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from tracker.errors import (
    BadRequest,
    DatabaseDown,
    MigrationsPending,
    NotAcceptable,
    NotFound,
    PreconditionFailed,
    RequestError,
    ServiceUnavailable,
    shorten,
)

MEDIA_TYPE = "application/problem+json"

# The one place where an error gets its status.
STATUSES: dict[type[Exception], HTTPStatus] = {
    BadRequest: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotFound: HTTPStatus.NOT_FOUND,
    NotAcceptable: HTTPStatus.NOT_ACCEPTABLE,
    PreconditionFailed: HTTPStatus.PRECONDITION_FAILED,
    ServiceUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    DatabaseDown: HTTPStatus.SERVICE_UNAVAILABLE,
    MigrationsPending: HTTPStatus.SERVICE_UNAVAILABLE,
}

# The names of RFC 9110, which Python has from 3.13 on.
_PHRASES = {
    HTTPStatus.REQUEST_URI_TOO_LONG: "URI Too Long",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Unprocessable Content",
}

RETRY_AFTER = {"Retry-After": "5"}  # seconds
_ALLOW = {"Allow": "GET, HEAD, OPTIONS"}


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A type of problem: its anchor on /problems, what it means, and what the client can do."""

    anchor: str
    meaning: str
    remedy: str


PROBLEM_TYPES = {
    HTTPStatus.BAD_REQUEST: ProblemType(
        "malformed",
        "The request is not valid HTTP, or its Host is missing, repeated or invalid.",
        "Percent-encode bytes above 127 in the URL.",
    ),
    HTTPStatus.NOT_FOUND: ProblemType(
        "not-found",
        "No such price is stored, or no such path is served.",
        "Request another moment, or allow a tolerance; /prices/gaps lists the missing minutes and"
        " their reasons. /docs lists the paths.",
    ),
    HTTPStatus.METHOD_NOT_ALLOWED: ProblemType(
        "method-not-allowed",
        "The path is served, but not with this method.",
        "Use GET or HEAD: the API is read-only.",
    ),
    HTTPStatus.NOT_ACCEPTABLE: ProblemType(
        "not-acceptable",
        "Accept allows none of the formats, or Accept-Encoding neither gzip nor identity.",
        "Accept one of them; format= overrides Accept.",
    ),
    HTTPStatus.REQUEST_TIMEOUT: ProblemType(
        "slow-request",
        "The request was not complete within some seconds.",
        "Send it in one piece.",
    ),
    HTTPStatus.PRECONDITION_FAILED: ProblemType(
        "precondition-failed",
        "The response has another ETag than If-Match, or none, as exports and health do.",
        "Request it without the condition; If-None-Match saves the transfer of an unchanged one.",
    ),
    HTTPStatus.REQUEST_URI_TOO_LONG: ProblemType(
        "long-address",
        "Path and query together are too long.",
        "No request here needs as much: look for repeated parts.",
    ),
    HTTPStatus.UNPROCESSABLE_ENTITY: ProblemType(
        "invalid-parameter",
        "A parameter is missing, malformed, repeated, or unknown at this path.",
        "Correct each one that errors names; the same request would fail again.",
    ),
    HTTPStatus.TOO_MANY_REQUESTS: ProblemType(
        "too-many-requests",
        "This client has reached the limit of requests for a period.",
        "Retry after the seconds in Retry-After; RateLimit in each response gives the remaining"
        " requests. To follow prices, use /prices/stream: it counts as one request.",
    ),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: ProblemType(
        "long-headers",
        "The headers together are too long.",
        "Send fewer: cookies, for example, have no effect here.",
    ),
    HTTPStatus.INTERNAL_SERVER_ERROR: ProblemType(
        "server-error",
        "The server failed because of an error in its own code.",
        "Report it with the request_id: the log has the reason under it.",
    ),
    HTTPStatus.NOT_IMPLEMENTED: ProblemType(
        "unknown-method",
        "No path is served with this method; methods are in capitals.",
        "Use GET or HEAD: the API is read-only.",
    ),
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: ProblemType(
        "http-version",
        "The request names a newer version of HTTP than this server has.",
        "Use HTTP/1.1; a proxy in front may offer newer ones.",
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: ProblemType(
        "unavailable",
        "Temporarily unavailable: the database does not respond or is not yet migrated, prices are"
        " stale, too many clients are connected, or the response took too long.",
        "Retry after the seconds in Retry-After.",
    ),
}


def problem_type(status: HTTPStatus, scope: Scope) -> str:
    """The URI of the explanation of *status*, relative to that of the request.

    It resolves behind a proxy that has removed a prefix from the path, and behind one that has not.
    """
    if status not in PROBLEM_TYPES:
        return "about:blank"
    path = scope["raw_path"].decode("latin-1")
    path = path.removeprefix(scope["state"]["settings"].web_root_path)
    return f"{'../' * (path.count('/') - 1)}problems#{PROBLEM_TYPES[status].anchor}"


def problem_document(
    status: HTTPStatus,
    errors: Mapping[str, str],
    scope: Scope,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, str] | None = None,
) -> Response:
    """A problem document; *errors* maps the names of parameters or parts to reasons.

    scope: that of the request.
    members: more members of the document.
    """
    body = {
        "type": problem_type(status, scope),
        "title": _PHRASES.get(status, status.phrase),
        "status": status.value,
        "detail": join_reasons(errors),
        "errors": [{"name": name, "reason": why} for name, why in errors.items()],
        "request_id": scope["request_id"],
        **(members or {}),
    }
    sent = {"Cache-Control": "no-store", **(headers or {})}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        sent |= RETRY_AFTER
    return Response(orjson.dumps(body), status.value, sent, MEDIA_TYPE)


def join_reasons(errors: Mapping[str, str]) -> str:
    """All *errors* in one line."""
    return "; ".join(f"{name}: {why}" for name, why in errors.items())


def unavailable(request: Request[Any], errors: Mapping[str, str]) -> Response:
    """503 with the reasons and Retry-After."""
    return problem_document(HTTPStatus.SERVICE_UNAVAILABLE, errors, request.scope)


def server_error(request: Request[Any]) -> Response:
    """500; the log has the reason, under the id of the request."""
    errors = {"server": "an internal error"}
    return problem_document(HTTPStatus.INTERNAL_SERVER_ERROR, errors, request.scope)


def error_reasons(error: Exception) -> dict[str, str]:
    """The errors of the problem document: the exception itself may name hosts and tables."""
    if isinstance(error, MigrationsPending):
        return {"migrations": "are pending"}
    if isinstance(error, DatabaseDown):
        return {"database": "does not respond"}
    assert isinstance(error, RequestError)  # the others of STATUSES
    return dict(error.errors)


async def handle_http_exception(request: Request[Any], error: Exception) -> Response:
    """Starlette's handler of a path or method that is not served: 404 or 405.

    OPTIONS of a path that is served, or of the server (`*`), is a 204 with the methods.
    """
    assert isinstance(error, HTTPException)  # it is registered for nothing else
    status = HTTPStatus(error.status_code)
    is_served = status == HTTPStatus.METHOD_NOT_ALLOWED
    if request.method == "OPTIONS" and (is_served or request.scope["path"] == "*"):
        return Response(None, HTTPStatus.NO_CONTENT.value, _ALLOW)
    errors = {
        HTTPStatus.NOT_FOUND: {"path": f"does not exist: {shorten(request.scope['path'])!r}"},
        HTTPStatus.METHOD_NOT_ALLOWED: {"method": "must be GET or HEAD"},
    }.get(status, {"request": status.phrase})
    return problem_document(status, errors, request.scope, _ALLOW if is_served else error.headers)


async def handle_unexpected(request: Request[Any], _: Exception) -> Response:
    """Starlette's handler of an unexpected error: 500."""
    return server_error(request)


def problems_page() -> str:
    """The page that explains every problem type, as HTML."""
    sections = "\n".join(
        f"""    <section id="{each.anchor}">
      <h2>{status.value} {escape(_PHRASES.get(status, status.phrase))}</h2>
      <p>{escape(each.meaning)}</p>
      <p>{escape(each.remedy)}</p>
    </section>"""
        for status, each in PROBLEM_TYPES.items()
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>Deribit price tracker: errors</title>
</head>
<body>
  <main>
    <h1>Errors</h1>
    <p>Each error is an <code>application/problem+json</code> (RFC 9457). Its <code>errors</code>
    name every invalid parameter or unavailable part with the reason; its <code>request_id</code>
    leads to the line in the log.</p>
{sections}
  </main>
</body>
</html>
"""
