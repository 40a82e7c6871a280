"""Links to other pages, RFC 8288."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request

from tracker.web.answer.wire import rfc3339
from tracker.web.asked import params


def link(request: Request[Any], rel: str, asked: Mapping[str, Any]) -> str:
    """The request's own address with the parameters *asked*, and the limit said."""
    said = {**asked, "limit": asked.get("limit", params.DEFAULT_LIMIT)}
    texts = {name: _text(value) for name, value in said.items()}
    query = urlencode(texts, safe=":,", quote_via=quote)
    return f'<{request.url.replace(query=query)}>; rel="{rel}"'


def _text(value: object) -> str:
    match value:
        case datetime():
            return rfc3339(value)
        case list():
            return ",".join(value)
        case _:
            return str(value)
