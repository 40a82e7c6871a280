"""Rows as JSON, CSV or NDJSON, whichever the client asks for.

Sources: RFC 8259; RFC 4180, lines end with CR LF; one JSON object a line, each ended by LF.
Nothing in the CSV can be taken for a formula by a spreadsheet: values are numbers, negative ones
too, times, our own words, and names of indexes: letters, digits, `-` and `_`, from the operator.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from tracker.errors import NotAcceptable
from tracker.web.answer.negotiation import media_type

Row = Mapping[str, object]

MEDIA_TYPES = {
    "json": "application/json",
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
}
_OFFERED = tuple(MEDIA_TYPES.values())


def answer(
    request: Request[Any],
    content: Row | Sequence[Row],
    columns: Sequence[str],
    headers: Mapping[str, str] | None = None,
) -> Response:
    """*content*, a row or some, each with the keys *columns*, in the format asked for.

    `format=` wins over `Accept`. Raises NotAcceptable.
    """
    chosen = accepted(request)
    return sent(chosen, written(chosen, content, columns), headers or {})


def sent(chosen: str, body: bytes, headers: Mapping[str, str]) -> Response:
    """*body* as an answer of the media type *chosen*, where others might have been asked for."""
    return Response(body, 200, {**headers, "Vary": "Accept"}, content_type(chosen))


def as_json(content: object, headers: Mapping[str, str] | None = None) -> Response:
    """*content* as JSON, whatever the client asks for."""
    return Response(orjson.dumps(content), 200, headers, MEDIA_TYPES["json"])


def written(chosen: str, content: Row | Sequence[Row], columns: Sequence[str]) -> bytes:
    """*content* in the format of the media type *chosen*."""
    return _WRITERS[chosen](content, columns)


def accepted(request: Request[Any], *, offered: Sequence[str] = _OFFERED) -> str:
    """The media type that the client asks for. Raises NotAcceptable."""
    if name := request.query_params.get("format"):
        return MEDIA_TYPES[name]
    accept = ",".join(request.headers.getlist("accept"))
    if chosen := media_type(accept, tuple(offered)):
        return chosen
    raise NotAcceptable({"Accept": f"has none of {', '.join(offered)}"})


def content_type(chosen: str) -> str:
    """The media type with what it needs to be read."""
    return f"{chosen}; charset=utf-8; header=present" if chosen == MEDIA_TYPES["csv"] else chosen


def _json(content: Row | Sequence[Row], _: Sequence[str]) -> bytes:
    return orjson.dumps(content)


def _csv(content: Row | Sequence[Row], columns: Sequence[str]) -> bytes:
    """A header line, then the rows; what is null is empty."""
    lines = io.StringIO(newline="")
    writer = csv.DictWriter(lines, columns, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(_rows(content))
    return lines.getvalue().encode()


def _ndjson(content: Row | Sequence[Row], _: Sequence[str]) -> bytes:
    return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in _rows(content))


def _rows(content: Row | Sequence[Row]) -> Sequence[Row]:
    return [content] if isinstance(content, Mapping) else content


_WRITERS: dict[str, Callable[[Row | Sequence[Row], Sequence[str]], bytes]] = dict(
    zip(_OFFERED, (_json, _csv, _ndjson), strict=True)
)
