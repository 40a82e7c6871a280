"""The stand-in as a web application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from tracker.errors import RequestError
from tracker.simulator import admin, calls
from tracker.simulator.calls import Call
from tracker.simulator.exchange import Exchange, Options, State
from tracker.simulator.faults import Live
from tracker.simulator.ledger import NONE, UNKNOWN
from tracker.simulator.methods import METHODS
from tracker.simulator.trouble import BEHAVIOURS


async def ask(request: Request[State]) -> Response:
    """Any method, GET or POST: the true answer, or what a fault makes of it."""
    call = await calls.receive(request)
    question, exchange = call.question, call.exchange
    exchange.ledger.ask(*_entry(call))
    live = exchange.faults.strike(question.method, question.index, call.us_in)
    response = await _respond(call, live)
    ok = "ok" if response.status_code == HTTPStatus.OK else "refused"
    exchange.ledger.answer(live.fault.kind if live else ok)
    return response


async def hung_up(_: Request, __: Exception) -> Response:
    """The client left before its question was complete: there is nobody to answer."""
    return Response()


ROUTES: Final = (
    Route("/api/v2", ask, methods=["GET", "POST"]),
    Route("/api/v2/{path:path}", ask, methods=["GET", "POST"]),
    Mount("/admin", routes=admin.ROUTES),
)
_HANDLERS: Final = {
    RequestError: admin.refuse,
    ClientDisconnect: hung_up,
}


def create_app(options: Options | None = None) -> Starlette:
    """A ready application."""
    exchange = Exchange(options or Options())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[State]:
        yield {"exchange": exchange}

    return Starlette(routes=ROUTES, lifespan=lifespan, exception_handlers=_HANDLERS)


async def _respond(call: Call, live: Live | None) -> Response:
    if live is None:
        return call.deliver(call.answer())
    return await BEHAVIOURS[live.fault.kind](call, live)


def _entry(call: Call) -> tuple[str, str]:
    """Method and index for the ledger; names nobody knows share one."""
    method, index = call.question.method, call.question.index
    known = method if method is not None and method in METHODS else UNKNOWN
    if index is None:
        return known, NONE
    return known, index if index in call.exchange.names else UNKNOWN
