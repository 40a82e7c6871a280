"""The admin endpoints: order faults, read the books, ask for the truth."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tracker.errors import BadRequest, NotFound, RequestError
from tracker.simulator.calls import JSON
from tracker.simulator.exchange import Exchange, State
from tracker.simulator.faultspec import parse
from tracker.simulator.methods import METHODS

_FARTHEST: Final = 10**11  # seconds either side of 1970


async def add(request: Request[State]) -> Response:
    """POST /admin/faults {kind, …} -> 201 and the fault with its id."""
    exchange = request.state["exchange"]
    fields = _object(await request.body())
    names, methods = frozenset(exchange.names), frozenset(METHODS)
    fault = parse(fields, indexes=names, methods=methods)
    return _json(exchange.faults.add(fault).shown(), 201)


async def show(request: Request[State]) -> Response:
    """GET /admin/faults -> those in force, first come first."""
    return _json([live.shown() for live in request.state["exchange"].faults.live()])


async def clear(request: Request[State]) -> Response:
    """DELETE /admin/faults -> 204; calls that hang because of one are answered."""
    request.state["exchange"].faults.clear()
    return Response(status_code=204)


async def remove(request: Request[State]) -> Response:
    """DELETE /admin/faults/{id} -> 204, or 404 if there was none of that id."""
    number = int(request.path_params["id"])
    if not request.state["exchange"].faults.remove(number):
        raise NotFound({"id": f"no such fault: {number}"})
    return Response(status_code=204)


async def counts(request: Request[State]) -> Response:
    """GET /admin/counts -> calls by method and index, answers by outcome."""
    return _json(request.state["exchange"].ledger.counts())


async def served(request: Request[State]) -> Response:
    """GET /admin/served?index= -> the latest prices that went out, oldest first."""
    exchange = request.state["exchange"]
    query = _query(request, "index")
    return _json(exchange.ledger.served(_index(exchange, query)))


async def truth(request: Request[State]) -> Response:
    """GET /admin/truth?index=&second= (or at=, RFC 3339) -> the price of that second.

    A freeze that was in force in that second is part of the truth; no other fault is.
    """
    exchange = request.state["exchange"]
    query = _query(request, "index", "second", "at")
    index, second = _index(exchange, query), _moment(query)
    price = f"{exchange.price(index, second):f}"
    return _json({"index": index, "second": second, "price": price})


ROUTES: Final = (
    Route("/faults", add, methods=["POST"]),
    Route("/faults", show),
    Route("/faults", clear, methods=["DELETE"]),
    Route("/faults/{id:int}", remove, methods=["DELETE"]),
    Route("/counts", counts),
    Route("/served", served),
    Route("/truth", truth),
)


async def refuse(_: Request, error: Exception) -> Response:
    """422, or 404 for what is not there, naming each culprit."""
    status = 404 if isinstance(error, NotFound) else 422
    found = error.errors.items() if isinstance(error, RequestError) else ()
    return _json({"errors": [{"name": name, "reason": why} for name, why in found]}, status)


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type=JSON)


def _object(body: bytes) -> Mapping[str, object]:
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest({"body": f"is not JSON: {error}"}) from error
    if not isinstance(fields, dict):
        raise BadRequest({"body": "must be a JSON object"})
    return fields


def _query(request: Request[State], *known: str) -> Mapping[str, str]:
    query = request.query_params
    if unknown := {name: "is unknown" for name in query if name not in known}:
        raise BadRequest(unknown)
    return query


def _index(exchange: Exchange, query: Mapping[str, str]) -> str:
    index = query.get("index", "")
    if index not in exchange.names:
        raise BadRequest({"index": f"is not a known index: {index!r}" if index else "is required"})
    return index


def _moment(query: Mapping[str, str]) -> int:
    """The second asked for; of *second* and *at* exactly one must be given."""
    if ("second" in query) == ("at" in query):
        raise BadRequest({"second": "give either second or at"})
    return _second(query["second"]) if "second" in query else _at(query["at"])


def _second(text: str) -> int:
    try:
        second = int(text)
    except ValueError:
        second = _FARTHEST
    if abs(second) >= _FARTHEST:
        raise BadRequest({"second": "must be whole seconds since 1970"})
    return second


def _at(text: str) -> int:
    """The second that contains the time in *text*."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadRequest({"at": f"is not an RFC 3339 time: {text!r}"}) from None
    if moment.tzinfo is None:
        raise BadRequest({"at": f"says no offset: {text!r}"})
    return int(moment.timestamp() // 1)
