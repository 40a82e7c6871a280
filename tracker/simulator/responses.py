"""How each kind of fault changes the response to a call."""

import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.responses import Response

from tracker.simulator.calls import JSON, Call, encode, json_response
from tracker.simulator.faults import SECOND, InjectedFault

_MAINTENANCE: Final = (
    b'{"jsonrpc":"2.0","error":{"message":"system_maintenance","code":11051}}'  # as recorded
)
_PAGE: Final = (
    b"<!DOCTYPE html>\n<html><head><title>Just a moment</title></head>"
    b"<body><h1>The requested page is not available</h1></body></html>\n"
)
_MESSAGES: Final = {
    10028: "too_many_requests",
    10040: "retry",
    10041: "settlement_in_progress",
    10047: "matching_engine_queue_full",
    10066: "too_many_concurrent_requests",
    11051: "system_maintenance",
    11094: "internal_server_error",
}
# Closing a socket with this option sends a TCP RST and discards queued bytes.
_LINGER_ZERO: Final = struct.pack("ii", 1, 0)


async def latency(call: Call, injected: InjectedFault) -> Response:
    """The correct response, ``delay`` seconds late."""
    return await _respond_late(call, injected, injected.fault.delay)


async def timeout(call: Call, injected: InjectedFault) -> Response:
    """No response until the ``seconds`` of the fault are over, or until its removal."""
    seconds = injected.fault.seconds
    if seconds is not None:
        seconds = max(seconds - (call.exchange.now() - injected.began_at) / SECOND, 0)
    return await _respond_late(call, injected, seconds)


async def reset(call: Call, _: InjectedFault) -> Response:
    """A TCP RST instead of a response. It needs the protocol in main.py."""
    transport = call.request.scope["extensions"]["tcp"]["transport"]
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    transport.abort()
    await call.wait_for_disconnect()
    return Response()


async def rate_limit(call: Call, injected: InjectedFault) -> Response:
    """HTTP 429 with an empty body, or with a JSON-RPC error if the fault has a ``code``."""
    code, retry_after = injected.fault.code, injected.fault.retry_after
    response = Response(status_code=429) if code is None else _respond_error(call, code, 429)
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response


async def maintenance(_: Call, __: InjectedFault) -> Response:
    """HTTP 503 with the recorded body, which has no envelope."""
    return Response(_MAINTENANCE, 503, media_type=JSON)


async def error(call: Call, injected: InjectedFault) -> Response:
    """HTTP 200 with a JSON-RPC error."""
    code = injected.fault.code
    return _respond_error(call, 11094 if code is None else code, 200)


async def html(_: Call, injected: InjectedFault) -> Response:
    """An HTML page, like that of a proxy."""
    return Response(_PAGE, injected.fault.code or 502, media_type="text/html")


async def truncated(call: Call, _: InjectedFault) -> Response:
    """The first half of the correct body, with a matching Content-Length."""
    status, body = call.reply()
    content = encode(body)
    return Response(content[: len(content) // 2], status, media_type=JSON)


async def testnet(call: Call, _: InjectedFault) -> Response:
    """The correct response with the opposite ``testnet`` flag."""
    status, body = call.reply()
    return json_response({**body, "testnet": not body["testnet"]}, status)


async def frozen(call: Call, _: InjectedFault) -> Response:
    """The correct response of a frozen market (see Exchange.price).

    It carries the time of the request, because the fault may end before the response.
    """
    return call.respond(*call.reply(call.us_in))


async def locked(call: Call, injected: InjectedFault) -> Response:
    """The response of a frozen market; public/status names the index (see Exchange.locked)."""
    return await frozen(call, injected)


async def missing(call: Call, _: InjectedFault) -> Response:
    """The correct response without its price, or without its result for other methods."""
    status, body = call.reply()
    match body:
        case {"result": dict() as result} if "index_price" in result:
            del result["index_price"]
        case _:
            body.pop("result", None)
    return json_response(body, status)


async def wrong_status(call: Call, injected: InjectedFault) -> Response:
    """The correct body under another HTTP status."""
    _, body = call.reply()
    return call.respond(injected.fault.code or 500, body)


async def _respond_late(call: Call, injected: InjectedFault, seconds: float | None) -> Response:
    if await call.wait(seconds, injected.removed):
        return call.respond(*call.reply())
    return Response()  # the client has disconnected


def _respond_error(call: Call, code: int, status: int) -> Response:
    """The error *code* with Deribit's message for it, where that is known, in an envelope."""
    _, body = call.reply()
    envelope = {name: value for name, value in body.items() if name not in ("result", "error")}
    failure = {"code": code, "message": _MESSAGES.get(code, "error")}
    return json_response({**envelope, "error": failure}, status)


RESPONSES: Final[Mapping[str, Callable[[Call, InjectedFault], Awaitable[Response]]]] = {
    each.__name__: each
    for each in (
        *(latency, timeout, reset, rate_limit, maintenance, error, html),
        *(truncated, testnet, frozen, locked, missing, wrong_status),
    )
}
