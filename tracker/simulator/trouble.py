"""What each kind of fault does to a call."""

import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.responses import Response

from tracker.simulator import wire
from tracker.simulator.calls import JSON, Answer, Call, written
from tracker.simulator.exchange import SECOND
from tracker.simulator.faults import FROZEN, Live

Behaviour = Callable[[Call, Live], Awaitable[Response]]

_INTERNAL: Final = 11094
_TOO_MANY: Final = 10028
_MESSAGES: Final = {
    10001: "error",
    _TOO_MANY: "too_many_requests",
    10040: "retry",
    10041: "settlement_in_progress",
    10047: "matching_engine_queue_full",
    10066: "too_many_concurrent_requests",
    11051: "system_maintenance",
    _INTERNAL: "internal_server_error",
}
# Closing such a socket sends RST at once and throws away what was queued.
_NO_LINGER: Final = struct.pack("ii", 1, 0)


async def latency(call: Call, live: Live) -> Response:
    """The true answer, late."""
    return await _late(call, live, live.fault.delay)


async def timeout(call: Call, live: Live) -> Response:
    """No answer before the fault has ended."""
    remaining = None if live.until is None else max(live.until - call.exchange.now(), 0) / SECOND
    return await _late(call, live, remaining)


async def reset(call: Call, _: Live) -> Response:
    """The connection is torn down with a TCP RST; needs the server of serving.py."""
    transport = call.request.scope["extensions"]["tcp"]["transport"]
    end = transport.get_extra_info("socket")
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()
    await call.left()
    return Response()


async def rate_limit(call: Call, live: Live) -> Response:
    """429: an empty body, or a JSON-RPC error if a code was asked for."""
    response = Response(status_code=429)
    if live.fault.code is not None:
        response = written(_failed(call, live.fault.code, status=429))
    if live.fault.retry_after is not None:
        response.headers["Retry-After"] = str(live.fault.retry_after)
    return response


async def maintenance(_: Call, __: Live) -> Response:
    """503 with the recorded body, and nothing around it."""
    return Response(wire.MAINTENANCE, 503, media_type=JSON)


async def error(call: Call, live: Live) -> Response:
    """A JSON-RPC error inside HTTP 200."""
    return written(_failed(call, _INTERNAL if live.fault.code is None else live.fault.code))


async def html(_: Call, live: Live) -> Response:
    """A page for people, as from a proxy."""
    return Response(wire.PAGE, live.fault.code or 502, media_type="text/html")


async def truncated(call: Call, _: Live) -> Response:
    """The first half of the true answer."""
    answer = call.answer()
    whole = wire.encode(answer.body)
    return Response(whole[: len(whole) // 2], answer.status, media_type=JSON)


async def testnet(call: Call, _: Live) -> Response:
    """The true answer with the flag of the other net."""
    answer = call.answer()
    answer.body["testnet"] = not answer.body["testnet"]
    return written(answer)


async def frozen(call: Call, _: Live) -> Response:
    """The true answer of a market that stands still (see Faults.stands).

    Timed at its arrival: a last call must not answer for a second in which it is over.
    """
    return call.deliver(call.answer(call.us_in))


async def missing(call: Call, _: Live) -> Response:
    """The true answer without the price; for any other method, without its result."""
    answer = call.answer()
    match answer.body:
        case {"result": dict() as result} if "index_price" in result:
            del result["index_price"]
        case _:
            answer.body.pop("result", None)
    return written(answer)


async def wrong_status(call: Call, live: Live) -> Response:
    """The true answer under a status that belies it."""
    answer = call.answer()
    answer.status = live.fault.code or 500
    return call.deliver(answer)


BEHAVIOURS: Final[Mapping[str, Behaviour]] = {
    "latency": latency,
    "timeout": timeout,
    "reset": reset,
    "rate_limit": rate_limit,
    "maintenance": maintenance,
    "error": error,
    "html": html,
    "truncated": truncated,
    "testnet": testnet,
    FROZEN: frozen,
    "missing": missing,
    "wrong_status": wrong_status,
}


async def _late(call: Call, live: Live, seconds: float | None) -> Response:
    if await call.hold(seconds, live.over):
        return Response()
    return call.deliver(call.answer())


def _failed(call: Call, code: int, status: int = 200) -> Answer:
    """An error answer with the words the exchange has for *code*, where we know them."""
    failure = {"error": {"code": code, "message": _MESSAGES.get(code, "error")}}
    answer = call.answer()
    kept = {name: value for name, value in answer.body.items() if name not in ("result", "error")}
    return Answer(status=status, body={**kept, **failure})
