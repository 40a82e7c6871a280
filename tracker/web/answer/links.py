"""Links to other pages, RFC 8288: the request's own address, with a parameter moved.

The other parameters stay as they were written.
"""

from collections.abc import Collection
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote_plus

from starlette.datastructures import URL
from starlette.requests import Request

from tracker.rows import rfc3339
from tracker.web.asked import params

_CURSORS = ("before", "after")
_PLAIN = "=&%+:,/"  # what needs no quoting in a query, beside letters and digits
_REMEMBERED = 64  # hosts by which this one is known, with as many paths


def following(request: Request[Any], name: str, moment: datetime) -> dict[str, str]:
    """The header with `next`: the page where the parameter *name* is *moment*."""
    return {"Link": _link("next", _address(request, [name]), name, moment)}


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
    address = _address(request, _CURSORS)
    return {"Link": ", ".join(_link(rel, address, *cursor) for rel, cursor in there.items())}


def _link(rel: str, address: str, name: str, moment: datetime) -> str:
    return f'<{address}&{name}={rfc3339(moment)}>; rel="{rel}"'


def _address(request: Request[Any], gone: Collection[str]) -> str:
    """The request's own without the parameters *gone*, and with the limit said."""
    query = quote(request.scope["query_string"].decode("latin-1"), safe=_PLAIN)
    said = [part for part in query.split("&") if _name(part) not in gone]
    if "limit" not in request.query_params:
        said.append(f"limit={params.DEFAULT_LIMIT}")
    scope = request.scope
    here = _here(scope["scheme"], scope["server"], request.headers.get("host"), scope["path"])
    return f"{here}?{'&'.join(filter(None, said))}"


def _name(part: str) -> str:
    return unquote_plus(part.partition("=")[0])


@lru_cache(_REMEMBERED)
def _here(scheme: str, server: tuple[str, int | None], host: str | None, path: str) -> str:
    headers = [] if host is None else [(b"host", host.encode("latin-1"))]
    scope = {"scheme": scheme, "server": server, "path": path, "headers": headers}
    return str(URL(scope={**scope, "query_string": b""}))
