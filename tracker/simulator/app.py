"""The simulator's routes: Deribit's API in /api/v2; faults, counts and true prices in /admin."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from email.utils import format_datetime
from http import HTTPStatus
from typing import Annotated, Final

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tracker.simulator.calls import json_response, receive_call
from tracker.simulator.exchange import Exchange, Options, State
from tracker.simulator.faults import Fault, KnownName, describe_errors
from tracker.simulator.responses import RESPONSES
from tracker.times import EPOCH

_MAX_SECOND: Final = 10**11  # distance from 1970


async def call_method(request: Request[State]) -> Response:
    """Any method, GET or POST: the correct response, or what a fault makes of it."""
    call = await receive_call(request)
    exchange, method, index = call.exchange, call.message.method, call.message.index
    known_method = method if method in exchange.known_names["method"] else "unknown"
    known_index = index if index in exchange.known_names["index"] else "unknown"
    exchange.requests[known_method, "-" if index is None else known_index] += 1
    injected = exchange.active_fault(method, index, call.us_in)
    if injected is None:
        response = call.respond(*call.reply())
        outcome = "ok" if response.status_code == HTTPStatus.OK else "refused"
    else:
        injected.use(call.us_in)
        response = await RESPONSES[injected.fault.kind](call, injected)
        outcome = injected.fault.kind
    exchange.responses[outcome] += 1
    return response


async def inject_fault(request: Request[State]) -> Response:
    """POST /admin/faults {kind, …} -> 201 and the fault with its id."""
    exchange, body = request.state["exchange"], await request.body()
    fault = Fault.model_validate_json(body, strict=True, context=exchange.known_names)
    return json_response(exchange.inject(fault).as_json(), 201)


async def list_faults(request: Request[State]) -> Response:
    """GET /admin/faults -> the active ones in order of injection."""
    exchange = request.state["exchange"]
    active = [each.as_json() for each in exchange.faults if each.is_active(exchange.now())]
    return json_response(active)


async def clear_faults(request: Request[State]) -> Response:
    """DELETE /admin/faults -> 204. Calls that wait because of a fault receive their response."""
    exchange = request.state["exchange"]
    for injected in exchange.faults:
        injected.remove(exchange.now())
    return Response(status_code=204)


async def remove_fault(request: Request[State]) -> Response:
    """DELETE /admin/faults/{id} -> 204, or 404 for an unknown id."""
    exchange, number = request.state["exchange"], int(request.path_params["id"])
    if not 1 <= number <= len(exchange.faults):
        return _errors({"id": f"no such fault: {number}"}, 404)
    exchange.faults[number - 1].remove(exchange.now())
    return Response(status_code=204)


async def show_counts(request: Request[State]) -> Response:
    """GET /admin/counts -> calls by method and index, responses by outcome."""
    exchange = request.state["exchange"]
    calls: dict[str, dict[str, int]] = defaultdict(dict)
    for (method, index), count in sorted(exchange.requests.items()):
        calls[method][index] = count
    total = exchange.requests.total()
    return json_response({"total": total, "asked": calls, "answers": exchange.responses})


class IndexQuery(BaseModel):
    """The parameters of /admin/served."""

    model_config = ConfigDict(extra="forbid")

    index: KnownName


class MomentQuery(IndexQuery):
    """The parameters of /admin/truth; exactly one of *at* and *second* is required."""

    at: AwareDatetime | None = None
    second: Annotated[int, Field(gt=-_MAX_SECOND, lt=_MAX_SECOND)] | None = Field(
        default=None, validate_default=True
    )

    @field_validator("second")
    @classmethod
    def _check_one(cls, second: int | None, info: ValidationInfo) -> int | None:
        if "at" in info.data and (second is None) == (info.data["at"] is None):
            raise ValueError("exactly one of second and at is required")
        return second


async def list_served_prices(request: Request[State]) -> Response:
    """GET /admin/served?index= -> the latest prices in valid responses, oldest first."""
    exchange = request.state["exchange"]
    query = IndexQuery.model_validate(dict(request.query_params), context=exchange.known_names)
    prices = exchange.served_prices[query.index]
    return json_response([{"usOut": us_out, "price": f"{price:f}"} for us_out, price in prices])


async def show_true_price(request: Request[State]) -> Response:
    """GET /admin/truth?index=&second= (or at=, RFC 3339) -> the price of that second.

    Frozen prices are true; no other fault affects the truth.
    """
    exchange = request.state["exchange"]
    query = MomentQuery.model_validate(dict(request.query_params), context=exchange.known_names)
    second = query.second if query.at is None else int(query.at.timestamp() // 1)
    assert second is not None  # one of both is validated
    price = f"{exchange.price(query.index, second):f}"
    return json_response({"index": query.index, "second": second, "price": price})


_ADMIN_ROUTES: Final = (
    Route("/faults", inject_fault, methods=["POST"]),
    Route("/faults", list_faults),
    Route("/faults", clear_faults, methods=["DELETE"]),
    Route("/faults/{id:int}", remove_fault, methods=["DELETE"]),
    Route("/counts", show_counts),
    Route("/served", list_served_prices),
    Route("/truth", show_true_price),
)
_ROUTES: Final = (
    Route("/api/v2", call_method, methods=["GET", "POST"]),
    Route("/api/v2/{path:path}", call_method, methods=["GET", "POST"]),
    Mount("/admin", routes=_ADMIN_ROUTES),
)


class _DateHeader:
    """ASGI middleware that adds Date, by the exchange's clock instead of the server's."""

    def __init__(self, app: ASGIApp, exchange: Exchange) -> None:
        self._app = app
        self._exchange = exchange

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_date(message: Message) -> None:
            if message["type"] == "http.response.start":
                now = EPOCH + timedelta(microseconds=self._exchange.now())
                date = format_datetime(now, usegmt=True).encode()
                message["headers"] = [*message["headers"], (b"date", date)]
            await send(message)

        await self._app(scope, receive, send_with_date)


def create_app(options: Options | None = None) -> Starlette:
    """The application of one simulator."""
    exchange = Exchange(options or Options())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[State]:
        yield {"exchange": exchange}

    return Starlette(
        routes=_ROUTES,
        lifespan=lifespan,
        middleware=[Middleware(_DateHeader, exchange)],
        exception_handlers={
            ValidationError: _reject_parameters,
            ClientDisconnect: _discard_response,
        },
    )


async def _reject_parameters(_: Request, error: Exception) -> Response:
    return _errors(describe_errors(error) if isinstance(error, ValidationError) else {}, 422)


async def _discard_response(_: Request, __: Exception) -> Response:
    return Response()


def _errors(reasons: Mapping[str, str], status: int) -> Response:
    errors = [{"name": name, "reason": reason} for name, reason in reasons.items()]
    return json_response({"errors": errors}, status)
