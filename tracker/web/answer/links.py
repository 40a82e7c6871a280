"""Links to other pages, RFC 8288: the request's own query, with a parameter moved.

The other parameters stay as they were written. Links are relative references, which the client
resolves against the URL that it requested: no header, prefix or proxy can change where they lead.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote_plus

from starlette.requests import Request

from tracker.times import format_moment
from tracker.web.asked import params

_CURSORS = ("before", "after")
_PLAIN = "=&%+:,/"  # what needs no quoting in a query, beside letters and digits


def following(request: Request[Any], name: str, moment: datetime) -> dict[str, str]:
    """The header with `next`: the page where the parameter *name* is *moment*."""
    return {"Link": _link("next", _query(request, [name]), name, moment)}


def neighbours(
    request: Request[Any], older: datetime | None, newer: datetime | None, *, rising: bool
) -> dict[str, str]:
    """The header with `next` and `prev` of a listing, oldest first if it is *rising*.

    older, newer: cursors of the pages with what is older or newer; None: there is no such page.
    """
    back, forth = ("before", older), ("after", newer)
    ways = {"next": forth, "prev": back} if rising else {"next": back, "prev": forth}
    there = {rel: (name, edge) for rel, (name, edge) in ways.items() if edge}
    if not there:
        return {}
    query = _query(request, _CURSORS)
    return {"Link": ", ".join(_link(rel, query, *cursor) for rel, cursor in there.items())}


def _link(rel: str, query: str, name: str, moment: datetime) -> str:
    return f'<?{query}&{name}={format_moment(moment)}>; rel="{rel}"'


def _query(request: Request[Any], gone: Collection[str]) -> str:
    """The request's own without the parameters *gone*, and with the limit said."""
    query = quote(request.scope["query_string"].decode("latin-1"), safe=_PLAIN)
    said = [part for part in query.split("&") if _name(part) not in gone]
    if "limit" not in request.query_params:
        said.append(f"limit={params.DEFAULT_LIMIT}")
    return "&".join(filter(None, said))


def _name(part: str) -> str:
    return unquote_plus(part.partition("=")[0])
