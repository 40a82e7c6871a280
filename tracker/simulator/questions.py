"""From a request to the question in it: the query string of a GET, or a JSON-RPC body."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson

from tracker.simulator.wire import Refusal, invalid

_PUBLIC: Final = "public/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a client wants to know.

    method: without ``public/``; None if it names no public method.
    params: strings from a query string, anything JSON from a body.
    reply: what the answer echoes: the ``id`` of a body, nothing for a plain GET.
    refusal: why the request is no question at all.
    """

    method: str | None = None
    params: Mapping[str, object] = field(default_factory=dict)
    reply: Mapping[str, object] = field(default_factory=dict)
    refusal: Refusal | None = None

    @property
    def index(self) -> str | None:
        """The index it names, known or not."""
        name = self.params.get("index_name")
        return name if isinstance(name, str) else None


def read(path: str, query: Mapping[str, str], body: bytes, *, post: bool) -> Question:
    """The question asked of *path* (what follows ``/api/v2/``); never raises."""
    if not body and not post:
        return Question(method=_bare(path), params=query)
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Question(method=_bare(path), refusal=Refusal(-32700, "Parse error"))
    return _from_message(path, message)


def _from_message(path: str, message: object) -> Question:
    """The question of a JSON-RPC *message*; its own method goes before that of *path*."""
    reply = _echo(message)
    fields = message if isinstance(message, dict) else {}
    method, params = fields.get("method", path), fields.get("params", {})
    if fields.get("jsonrpc") != "2.0" or not reply or not isinstance(method, str):
        return Question(reply=reply, refusal=Refusal(-32600, "Invalid Request"))
    if not isinstance(params, dict):
        refusal = invalid("params", "must be an object")
        return Question(method=_bare(method), reply=reply, refusal=refusal)
    return Question(method=_bare(method), params=params, reply=reply)


def _echo(message: object) -> Mapping[str, object]:
    """The id to send back; the exchange refuses a message that has none."""
    return {"id": message["id"]} if isinstance(message, dict) and "id" in message else {}


def _bare(method: str) -> str | None:
    return method.removeprefix(_PUBLIC) if method.startswith(_PUBLIC) else None
