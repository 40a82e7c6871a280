"""Links to other pages, RFC 8288."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request

from tracker.rows import rfc3339
from tracker.web.asked import params


def link(request: Request[Any], rel: str, asked: Mapping[str, Any]) -> str:
    """The request's own address with the parameters *asked*, and the limit said."""
    said = {**asked, "limit": asked.get("limit", params.DEFAULT_LIMIT)}
    texts = {name: _text(value) for name, value in said.items()}
    query = urlencode(texts, safe=":,", quote_via=quote)
    return f'<{request.url.replace(query=query)}>; rel="{rel}"'


def neighbours(
    request: Request[Any],
    asked: Mapping[str, Any],
    older: datetime | None,
    newer: datetime | None,
    *,
    rising: bool,
) -> dict[str, str]:
    """The header with `next` and `prev` of a listing, oldest first if it is *rising*.

    older, newer: cursors of the pages with what is older or newer; None: there is no such page.
    Every other parameter stays as it was asked.
    """
    back, forth = ("before", older), ("after", newer)
    ways = {"next": forth, "prev": back} if rising else {"next": back, "prev": forth}
    kept = {name: value for name, value in asked.items() if name not in {"before", "after"}}
    found = [link(request, rel, {**kept, name: edge}) for rel, (name, edge) in ways.items() if edge]
    return {"Link": ", ".join(found)} if found else {}


def _text(value: object) -> str:
    match value:
        case datetime():
            return rfc3339(value)
        case list():
            return ",".join(value)
        case _:
            return str(value)
