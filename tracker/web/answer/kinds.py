"""Every kind of error: where it is told of, what it means and what to do.

Source: RFC 9457, section 3.1.1 (a type is a URI that people can read about it).
"""

from dataclasses import dataclass
from http import HTTPStatus


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of error: where it stands on the page, what it means, and what to do."""

    anchor: str
    meaning: str
    remedy: str


KINDS = {
    HTTPStatus.BAD_REQUEST: Kind(
        "malformed",
        "What came was no HTTP.",
        "Bytes above 127 in an address have to be written with %.",
    ),
    HTTPStatus.NOT_FOUND: Kind(
        "not-found",
        "What was asked for is not stored, or no such path is served.",
        "Ask for another moment, or with a tolerance; /prices/gaps says which minutes are missing"
        " and why. /docs lists the paths.",
    ),
    HTTPStatus.METHOD_NOT_ALLOWED: Kind(
        "method-not-allowed",
        "The path is served, but not by this method.",
        "Use GET or HEAD: nothing can be changed here.",
    ),
    HTTPStatus.NOT_ACCEPTABLE: Kind(
        "not-acceptable",
        "None of the formats that there are is among those that Accept names.",
        "Accept one of them, or ask with format=, which wins over Accept.",
    ),
    HTTPStatus.REQUEST_TIMEOUT: Kind(
        "slow-request",
        "The request was not complete after some seconds.",
        "Send all of it at once.",
    ),
    HTTPStatus.REQUEST_URI_TOO_LONG: Kind(
        "long-address",
        "Path and query together are too long.",
        "No question here needs so much: look for what is in it twice.",
    ),
    HTTPStatus.UNPROCESSABLE_ENTITY: Kind(
        "invalid-parameter",
        "A parameter is missing, malformed, given twice, or not known at this path.",
        "Mend each of those that errors names; the same request would fail again.",
    ),
    HTTPStatus.TOO_MANY_REQUESTS: Kind(
        "too-many-requests",
        "This client has made as many requests as one may make in that time.",
        "Ask again after the seconds that Retry-After says; RateLimit says with each answer what is"
        " left. Whoever wants prices as they come follows /prices/stream: it counts once.",
    ),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: Kind(
        "long-headers",
        "The headers together are too long.",
        "Send fewer of them: cookies, say, are of no use here.",
    ),
    HTTPStatus.INTERNAL_SERVER_ERROR: Kind(
        "server-error",
        "Our own code failed.",
        "Report it with the request_id: the log has the reason under it.",
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: Kind(
        "unavailable",
        "Not now: the database is away or not yet migrated, prices are stale, too many others are"
        " being served, or an answer was not found in time.",
        "Ask again after the seconds that Retry-After says.",
    ),
}


def type_of(status: HTTPStatus) -> str:
    """Where the page says more on errors with that *status*."""
    return f"/problems#{KINDS[status].anchor}" if status in KINDS else "about:blank"
