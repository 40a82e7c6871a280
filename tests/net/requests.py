"""Requests as bytes on a socket, and responses as a recording holds them.

Nothing between the case and the socket: a client library would repair addresses and headers.
"""

import gzip
import http.client
import json
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from http import HTTPStatus
from typing import Any

from tests.net.product import Web
from tests.net.recordings import TEXT, shape, shortened

COMMON = "<common headers>"
RECEIVE_TIMEOUT = 90.0  # seconds

_DATE = re.compile(r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT")
_REQUEST_ID = re.compile(r"[0-9a-f]{32}")
_ETAG = re.compile(r'"[0-9a-f]{32}(-gzip)?"')
_CURSOR = re.compile(r"\b(before|after|start_date|end_date)=\d{4}-\d\d-\d\dT[\d:.]+Z(?=[&>])")
_MAX_AGE = re.compile(r"max-age=\d+")
_RESET = re.compile(r"\bt=\d+")
_SECONDS = re.compile(r"\d+")
_FIRST_ERROR = 400
_JSON_TYPES = ("application/json", "application/problem+json")
_PAGES = re.compile(r"(/v1)?/(docs|openapi\.json|page/[^?]*)?(\?.*)?")

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One request.

    target: path and query as they are sent.
    headers: all but Host, unless it is among them; "Host" with an empty value sends none.
    varies: whether the response depends on the time of the run; its structure is recorded.
    is_text: whether the body is text for people; pages, their files and the OpenAPI document are.
    """

    target: str
    method: str = "GET"
    headers: Headers = ()
    varies: bool = False
    is_text: bool = False

    @property
    def name(self) -> str:
        """The request in one line; long parts are cut."""
        sent = "".join(f" [{name}: {_cut(value)}]" for name, value in self.headers)
        return f"{self.method} {_cut(self.target)}{sent}"


@dataclass(frozen=True, slots=True)
class Received:
    """A response as it came."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """The value of a header, "" if it is not there."""
        return next((value for key, value in self.headers if key == name), "")


@dataclass(frozen=True, slots=True)
class Seen:
    """A response as it is recorded: behaviour and texts."""

    behaviour: Any
    texts: Any


def get(target: str, method: str = "GET", **headers: str) -> Case:
    """A case; a header's name has "_" for "-"."""
    return Case(target, method, tuple((name.replace("_", "-"), headers[name]) for name in headers))


def varying(target: str, method: str = "GET", **headers: str) -> Case:
    """The same, whose response depends on the time of the run."""
    return Case(target, method, get(target, **headers).headers, varies=True)


def send(web: Web, case: Case) -> Received:
    """The response to *case*, over a connection of its own."""
    given = {name.lower() for name, _ in case.headers}
    host = () if "host" in given else (("Host", web.host),)
    lines = [
        f"{name}: {value}\r\n" for name, value in (*host, *case.headers) if value or name != "Host"
    ]
    head = f"{case.method} {case.target} HTTP/1.1\r\n{''.join(lines)}\r\n"
    return send_raw(web, head.encode("latin-1"), case.method)


def send_raw(web: Web, data: bytes, method: str = "GET") -> Received:
    """The first response to *data*, whatever these bytes are."""
    with socket.create_connection(("127.0.0.1", web.port), timeout=RECEIVE_TIMEOUT) as line:
        line.sendall(data)
        response = http.client.HTTPResponse(line, method=method)
        response.begin()
        headers = tuple((name.lower(), value) for name, value in response.getheaders())
        body = response.read()
        response.close()
        return Received(response.status, headers, body)


@cache
def common_headers(web: Web) -> frozenset[str]:
    """The header lines that every response of *web* is expected to have, as they are recorded.

    They are recorded once, and not again with each response: a change of one is one difference.
    """
    case = get("/health/live")
    return frozenset(
        line
        for line in _header_lines(web, case, send(web, case))
        if not line.startswith(("content-length", "content-type", "cache-control", "vary"))
    )


def observe(web: Web, case: Case, received: Received) -> Seen:
    """*received* with a mark in the place of all that varies between runs, once it is checked."""
    is_page = _PAGES.fullmatch(case.target) is not None
    lines = _header_lines(web, replace(case, is_text=case.is_text or is_page), received)
    common = common_headers(web)
    headers = [
        *(line for line in lines if line not in common),
        *(f"absent: {line}" for line in sorted(common - set(lines))),
    ]
    body, texts = _body(case, received)
    if is_page and texts is None and received.body:
        body, texts = TEXT, body
    return Seen({"status": received.status, "headers": headers, "body": body}, texts)


def observe_all(web: Web, cases: Iterable[Case]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Behaviour and texts of *cases*, by their names; and the headers that they share."""
    behaviour: dict[str, Any] = {COMMON: sorted(common_headers(web))}
    texts: dict[str, Any] = {}
    for case in cases:
        assert case.name not in behaviour, f"{case.name} is in the table twice"
        seen = observe(web, case, send(web, case))
        behaviour[case.name] = seen.behaviour
        if seen.texts is not None:
            texts[case.name] = seen.texts
    return behaviour, texts


def _cut(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:80]}…({len(text)} characters)"


def _header_lines(web: Web, case: Case, received: Received) -> list[str]:
    return [
        f"{name}: {_header(case, received, name, value)}".replace(web.host, "<host>")
        for name, value in sorted(received.headers)
    ]


def _header(  # noqa: C901 -- one case for each header
    case: Case, received: Received, name: str, value: str
) -> str:
    is_echoed = value in (sent for _, sent in case.headers)
    match name:
        case "date":
            shown = _marked(value, _DATE, "<date>")
        case "x-request-id" if not is_echoed:
            shown = _marked(value, _REQUEST_ID, "<request id>")
        case "content-length" if case.method != "HEAD":
            assert int(value) == len(received.body), case.name
            shown = "<length>"
        case "content-length" if case.varies or case.is_text or received.status >= _FIRST_ERROR:
            shown = "<number>"
        case "etag" if case.varies or case.is_text:
            shown = _marked(value, _ETAG, "<etag>")
        case "allow":
            shown = ", ".join(sorted(value.split(", ")))
        case "ratelimit":
            shown = _RESET.sub("t=<seconds>", value)
        case "retry-after" if received.status == HTTPStatus.TOO_MANY_REQUESTS:
            shown = _marked(value, _SECONDS, "<seconds>")
        case "link" if case.varies:
            shown = _CURSOR.sub(r"\1=<moment>", value)
        case "cache-control" if case.varies:
            shown = _MAX_AGE.sub("max-age=<seconds>", value)
        case _:
            shown = value
    return shown


def _marked(value: str, form: re.Pattern[str], mark: str) -> str:
    assert form.fullmatch(value), f"{value!r} is not {mark}"
    return mark


def _body(case: Case, received: Received) -> tuple[Any, Any]:
    """The recorded part of the body, and its texts or None."""
    packed = received.header("content-encoding") == "gzip"
    text = (gzip.decompress(received.body) if packed else received.body).decode()
    media_type = received.header("content-type").partition(";")[0]
    if media_type == "application/problem+json" and text:
        return _problem(case, received, json.loads(text))
    if case.is_text and text:
        return TEXT, text.split("\n")
    if case.varies:
        return _varying(media_type, text), None
    if media_type in _JSON_TYPES:
        text = text.replace("},{", "},\n{").replace("[{", "[\n{").replace("],[", "],\n[")
    short = shortened(text)
    return (text.split("\n") if short is text else short), None


def _problem(case: Case, received: Received, content: dict[str, Any]) -> tuple[Any, Any]:
    assert content["request_id"] == received.header("x-request-id")
    texts = {
        "detail": content["detail"],
        "errors": {each["name"]: each["reason"] for each in content["errors"]},
    }
    marked = {
        **content,
        "request_id": "<request id>",
        "detail": TEXT,
        "errors": [{**each, "reason": TEXT} for each in content["errors"]],
    }
    if "errmsg" in content:
        assert content["errmsg"] == content["detail"]
        marked["errmsg"] = "<detail>"
    if case.varies:
        texts = _without_numbers(texts)
    return json.dumps(marked, separators=(",", ":"), ensure_ascii=False), texts


def _without_numbers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_numbers(each) for name, each in value.items()}
    return re.sub(r"\d+", "<n>", value)


def _varying(media_type: str, text: str) -> Any:
    match media_type:
        case "application/json" if text:
            return shape(json.loads(text))
        case "application/x-ndjson":
            return shape([json.loads(line) for line in text.splitlines()])
        case "text/csv":
            return text.split("\n")[:1]
    return re.sub(r"\d+", "<n>", text)
