"""Responses: formats, content negotiation, Cache-Control, Link, validators and compression.

Sources: RFC 8259 (JSON); RFC 4180 (CSV, lines end with CR LF); NDJSON is one JSON object a line,
each ended by LF; RFC 9110, sections 8.8.3 (each coding has its own ETag), 12 (negotiation), 12.5.5
(Vary), 13.1.1 (412) and 13.1.2 (304); RFC 9111 (Cache-Control); RFC 8288 (Link). No value in the
CSV is a formula to a spreadsheet: values are numbers, times, names of sources and reasons, and
names of indexes, which have letters, digits, `-` and `_`.
"""

import csv
import gzip
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from hashlib import blake2b
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_plus

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from tracker import columnar, rows
from tracker.errors import NotAcceptable, PreconditionFailed
from tracker.queries.prices import LineTemplate
from tracker.times import MINUTE, format_moment
from tracker.web.params import DEFAULT_LIMIT

Row = Mapping[str, object]
Headers = dict[str, str]

MEDIA_TYPES = {
    "json": "application/json",
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}
JSON, CSV, NDJSON, ARROW, PARQUET = MEDIA_TYPES.values()
COLUMNAR = {ARROW: "arrow", PARQUET: "parquet"}  # tables that are compressed already
# No name of NDJSON is registered: a client gets the one that it accepts.
NDJSON_ALIASES = ("application/ndjson", "application/jsonl", "application/jsonlines")
CONTENT_TYPES = {name: name for name in (JSON, NDJSON, *NDJSON_ALIASES, *COLUMNAR)} | {
    CSV: f"{CSV}; charset=utf-8; header=present"
}

NO_STORE = {"Cache-Control": "no-store"}
_MAX_AGE = 60  # seconds: repair runs once a minute
# For what is past: only repair and import change it.
SETTLED = {"Cache-Control": f"max-age={_MAX_AGE}, must-revalidate"}

_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_MAX_HEADERS = 256  # cached: clients send few different ones repeatedly
_MAX_TEMPLATES = 1000
_MIN_COMPRESSED = 1000  # bytes; the headers of gzip cost more than it saves below
GZIP_LEVEL = 4  # a page in a fraction of a millisecond; higher levels save little
_CONDITIONS = frozenset((b"if-match", b"if-none-match"))
_ETAGS = re.compile(rb'(?:W/)?"[^"]*"|\*')
_PROBLEM = "application/problem+json"
_UNQUOTED = "=&%+:,/"  # what needs no quoting in a query, besides letters and digits

# A price is stored two seconds after its minute begins. One second less, because a shared
# response may be a second old.
_NEXT_PRICE = MINUTE + timedelta(seconds=1)
_MIN_AGE = 1  # seconds: the price is overdue, and may be stored at any moment


@dataclass(frozen=True, slots=True)
class Dependency:
    """What a response was computed from: an index, at this revision or a later one."""

    ticker: str
    revision: int


class DataResponse(Response):
    """Data in the media type that was negotiated.

    depends_on: what a shared copy of it is valid for; None: it cannot be shared.
    """

    def __init__(
        self,
        body: bytes,
        media_type: str,
        headers: Mapping[str, str],
        depends_on: Dependency | None = None,
    ) -> None:
        """A 200 with *body*."""
        super().__init__(body, 200, {**headers, "Vary": "Accept"}, CONTENT_TYPES[media_type])
        self.depends_on = depends_on


# Content negotiation


def negotiate(
    request: Request[Any], name: str | None, offered: tuple[str, ...] = (JSON, CSV, NDJSON)
) -> str:
    """The media type of the response: *name*, a key of MEDIA_TYPES, or what Accept prefers.

    offered: in the order of our preference, with NDJSON.

    Raises NotAcceptable, also for a table without the extra that writes it.
    """
    if name:
        media_type: str | None = MEDIA_TYPES[name]
    else:
        accept = request_header(request.scope, b"accept").decode("latin-1")
        offered = (*offered, *NDJSON_ALIASES)
        media_type = preferred(accept, offered)
    if media_type is None:
        raise NotAcceptable({"Accept": f"accepts none of {', '.join(offered)}"})
    if media_type in COLUMNAR and not columnar.is_installed():
        raise NotAcceptable({"format" if name else "Accept": columnar.MISSING})
    return media_type


@lru_cache(_MAX_HEADERS)
def preferred(accept: str, offered: tuple[str, ...]) -> str | None:
    """The media type with the highest weight, the first of equal ones; None if none is accepted.

    That of problems tells which errors a client understands: a client that accepts nothing else
    gets data all the same, because generated ones name it beside a type that they drop.
    """
    weights = {name: q for name, q in _weights(accept) if name != _PROBLEM} or {"*/*": 1.0}

    def weight(media_type: str) -> float:
        # The most specific range counts.
        ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
        return next((weights[each] for each in ranges if each in weights), 0.0)

    best = max(offered, key=weight)
    return best if weight(best) > 0 else None


def request_header(scope: Scope, name: bytes) -> bytes:
    """The header of that lower-case *name*: several lines are joined; empty if it is missing."""
    return b",".join([value for each, value in scope["headers"] if each == name])


class Codings(NamedTuple):
    """How a client accepts the body of a response.

    gzip: compressed, and not less than as it is.
    identity: as it is.
    """

    gzip: bool
    identity: bool


@lru_cache(_MAX_HEADERS)
def accepted_codings(accept_encoding: bytes) -> Codings:
    """What Accept-Encoding allows. Raises NotAcceptable if that is neither gzip nor identity."""
    weights = dict(_weights(accept_encoding.decode("latin-1")))
    others = weights.get("*")
    gzip_weight = weights.get("gzip", weights.get("x-gzip", others or 0.0))
    identity_weight = weights.get("identity", 0.0 if others == 0 else None)
    if gzip_weight == 0 and identity_weight == 0:
        raise NotAcceptable({"Accept-Encoding": "accepts neither gzip nor identity"})
    return Codings(
        gzip=gzip_weight > 0 and gzip_weight >= (identity_weight or 0.0),
        identity=identity_weight != 0,
    )


def _weights(header: str) -> list[tuple[str, float]]:
    """Each element in lower case without parameters, with its weight; 1 if that is invalid."""
    found = []
    for element in header.lower().split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        qualities = (each.partition("=") for each in parameters)
        valid = (float(q) for key, _, q in qualities if key == "q" and _QUALITY.fullmatch(q))
        if name:
            found.append((name, next(valid, 1.0)))
    return found


# Rendering


def json_response(content: object, headers: Mapping[str, str] | None = None) -> Response:
    """*content* as JSON, whatever the client accepts."""
    return Response(orjson.dumps(content), 200, headers, JSON)


def render(media_type: str, content: Row | Sequence[Row], columns: Sequence[str]) -> bytes:
    """One row or several in *media_type*; null is empty in CSV."""
    if media_type == JSON:
        return orjson.dumps(content)
    listed = [content] if isinstance(content, Mapping) else content
    if media_type != CSV:
        return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in listed)
    lines = io.StringIO(newline="")
    writer = csv.DictWriter(lines, columns, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(listed)
    return lines.getvalue().encode()


def render_flagged(media_type: str, listed: Sequence[Row], columns: Sequence[str]) -> bytes:
    """Rows with `filled`, which is true or false in every format."""
    if media_type == CSV:
        listed = [rows.with_text_flag(row) for row in listed]
    return render(media_type, listed, columns)


@dataclass(frozen=True)
class PriceFormat:
    """How PostgreSQL writes prices as lines: in a media type, with some of rows.EXTRA_COLUMNS.

    PostgreSQL renders the lines: that is several times faster than converting rows here.
    """

    media_type: str
    extras: tuple[str, ...] = ()

    @cached_property
    def line_end(self) -> str:
        """What ends a line."""
        return "\r\n" if self.media_type == CSV else "\n"

    @cached_property
    def header(self) -> str:
        """The line above the first price."""
        names = ",".join((*rows.PRICE_COLUMNS, *self.extras))
        return names + self.line_end if self.media_type == CSV else ""

    @lru_cache(_MAX_TEMPLATES)  # noqa: B019 -- there are a dozen formats
    def template(self, ticker: str) -> LineTemplate:
        """The texts between the values of a line, without its end.

        `%1$s` and so on are arguments of PostgreSQL's format(): source, observed_at as text,
        observed_at as JSON.
        """
        if self.media_type == CSV:
            cells = {"source": ",%1$s", "observed_at": ",%2$s"}
            return {
                "before_id": "",
                "before_price": f",{ticker},",
                "before_day": ",",
                "before_time": "T",
                "after_time": "Z" + "".join(cells[name] for name in self.extras),
            }
        members = {"source": ',"source":"%1$s"', "observed_at": ',"observed_at":%3$s'}
        return {
            "before_id": '{"id":',
            "before_price": f',"ticker":"{ticker}","price":"',
            "before_day": '","created_at":"',
            "before_time": "T",
            "after_time": 'Z"' + "".join(members[name] for name in self.extras) + "}",
        }

    def render_list(self, text: str | None) -> bytes:
        """A list of the lines of *text*, with LF between two; None: an empty list."""
        if self.media_type == JSON:
            return b"[%b]" % (text or "").replace("\n", ",").encode()
        lines = text.replace("\n", self.line_end) + self.line_end if text else ""
        return (self.header + lines).encode()

    def render_one(self, text: str) -> bytes:
        """A single line."""
        return text.encode() if self.media_type == JSON else self.render_list(text)


# Cache-Control: until the response can next change. Then a client revalidates it by its ETag.


def until_next_price(newest: datetime | None, now: datetime) -> Headers:
    """Fresh until the price after the minute *newest* is due; None: it is overdue."""
    left = _NEXT_PRICE - (now - newest) if newest else timedelta()
    seconds = min(max(int(left.total_seconds()), _MIN_AGE), _MAX_AGE)
    return {"Cache-Control": f"max-age={seconds}, must-revalidate"}


# Link: the request's own query with one parameter changed, as a relative reference, which the
# client resolves against the URL that it requested: no header, prefix or proxy can change it.


def page_links(
    request: Request[Any], older: datetime | None, newer: datetime | None, *, ascending: bool
) -> Headers:
    """The header with `next` and `prev`.

    older, newer: cursors of the pages with older and with newer rows; None: no such page.
    """
    before, after = ("before", older), ("after", newer)
    cursors = {"next": after, "prev": before} if ascending else {"next": before, "prev": after}
    return link_header(request, {rel: {name: at} for rel, (name, at) in cursors.items() if at})


def link_header(request: Request[Any], cursors: Mapping[str, Mapping[str, datetime]]) -> Headers:
    """The header with a link for each relation, by the moments of the parameters of its page."""
    if not cursors:
        return {}
    replaced = {name for cursor in cursors.values() for name in cursor}
    if not {"before", "after"} <= request.query_params.keys():  # both together bound every page
        replaced |= {"before", "after"}
    query = quote(request.scope["query_string"].decode("latin-1"), safe=_UNQUOTED)
    parts = [part for part in query.split("&") if part]
    parts = [part for part in parts if unquote_plus(part.partition("=")[0]) not in replaced]
    if "limit" not in request.query_params:
        parts.append(f"limit={DEFAULT_LIMIT}")
    base = "&".join(parts)
    links = (
        f"<?{base}&{'&'.join(f'{name}={format_moment(at)}' for name, at in cursor.items())}>;"
        f' rel="{rel}"'
        for rel, cursor in cursors.items()
    )
    return {"Link": ", ".join(links)}


# Validators and compression, of any response


def finish_response(scope: Scope, response: Response) -> Response:
    """*response* with its ETag, or as 304, and compressed where the client accepts that.

    Only a 200 with a body of known length: not problems, streams or exports. Its headers are a dict
    meanwhile, because Starlette's search the list for each name. If-Modified-Since and
    If-Unmodified-Since have no effect, because no response has a date of modification. Raises
    NotAcceptable, PreconditionFailed.
    """
    headers = dict(response.raw_headers)  # no name is repeated
    if response.status_code != HTTPStatus.OK or b"content-length" not in headers:
        return response
    vary = headers.get(b"vary")
    headers[b"vary"] = vary + b", Accept-Encoding" if vary else b"Accept-Encoding"
    body = bytes(response.body)
    codings = accepted_codings(request_header(scope, b"accept-encoding"))
    compressed = codings.gzip and (
        not codings.identity
        or (len(body) >= _MIN_COMPRESSED and response.media_type not in COLUMNAR)
    )
    if headers.setdefault(b"cache-control", b"no-cache") != b"no-store":
        digest = blake2b(body, digest_size=16).hexdigest().encode()
        headers[b"etag"] = b'"%s-gzip"' % digest if compressed else b'"%s"' % digest
    if [name for name, _ in scope["headers"] if name in _CONDITIONS]:
        etag = headers.get(b"etag")
        require_match(scope, etag)
        if etag and _is_known(scope, etag):
            del headers[b"content-type"], headers[b"content-length"]
            response.status_code, response.body = HTTPStatus.NOT_MODIFIED, b""
            response.raw_headers = list(headers.items())
            return response
    if compressed:
        response.body = gzip.compress(body, GZIP_LEVEL, mtime=0)
        headers[b"content-encoding"] = b"gzip"
        headers[b"content-length"] = b"%d" % len(response.body)
    response.raw_headers = list(headers.items())
    return response


def require_match(scope: Scope, etag: bytes | None) -> None:
    """Raises PreconditionFailed unless If-Match, if the request has it, has *etag* or is `*`.

    etag: that of the response; None: it has none. A weak one matches none.
    """
    condition = request_header(scope, b"if-match")
    if condition and not {etag, b"*"} & set(_ETAGS.findall(condition)):
        raise PreconditionFailed({"If-Match": "does not have the current ETag"})


def _is_known(scope: Scope, etag: bytes) -> bool:
    """Whether If-None-Match has *etag*, also as a weak one, or is `*`."""
    known = _ETAGS.findall(request_header(scope, b"if-none-match"))
    return any(each.removeprefix(b"W/") in (etag, b"*") for each in known)
