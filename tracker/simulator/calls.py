"""JSON-RPC over HTTP: parse a request into a call, and render its response as Deribit does."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from tracker.simulator.exchange import METHODS, Exchange, RpcError, State, invalid_parameter

JSON: Final = "application/json"
_PUBLIC: Final = "public/"
_MIN_EXPONENT: Final = -3  # numbers below a thousandth have an exponent


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """The JSON-RPC message of a request.

    method: without ``public/``; None for any other method.
    params: strings from a query string, any JSON value from a body.
    echo: fields to return: the ``id`` of a body, nothing for a plain GET.
    error: why the request is invalid.
    """

    method: str | None = None
    params: Mapping[str, object] = field(default_factory=dict)
    echo: Mapping[str, object] = field(default_factory=dict)
    error: RpcError | None = None

    @property
    def index(self) -> str | None:
        """The index in its parameters, known or not."""
        name = self.params.get("index_name")
        return name if isinstance(name, str) else None


def parse_message(path: str, query: Mapping[str, str], body: bytes, *, post: bool) -> Message:
    """The message in a request to *path* (after ``/api/v2/``). It never raises.

    A GET without a body has its method in the path and its parameters in the query string. The
    method in a body takes precedence over that in the path.
    """
    if not body and not post:
        return Message(method=_public_method(path), params=query)
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Message(method=_public_method(path), error=RpcError(-32700, "Parse error"))
    fields = content if isinstance(content, dict) else {}
    echo = {name: fields[name] for name in ("id",) if name in fields}
    method, params = fields.get("method", path), fields.get("params", {})
    if fields.get("jsonrpc") != "2.0" or not echo or not isinstance(method, str):
        return Message(echo=echo, error=RpcError(-32600, "Invalid Request"))
    if not isinstance(params, dict):
        error = invalid_parameter("params", "must be an object")
        return Message(method=_public_method(method), echo=echo, error=error)
    return Message(method=_public_method(method), params=params, echo=echo)


def _public_method(method: str) -> str | None:
    return method.removeprefix(_PUBLIC) if method.startswith(_PUBLIC) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request and its message, received at *us_in*: microseconds by the exchange's clock."""

    request: Request[State]
    exchange: Exchange
    message: Message
    us_in: int

    def reply(self, us_out: int | None = None) -> tuple[int, dict[str, object]]:
        """HTTP status and body of the correct response at *us_out* (default: now)."""
        us_out = us_out or max(self.us_in, self.exchange.now())
        try:
            status, content = 200, {"result": self._result(us_out)}
        except RpcError as error:
            status, content = error.status, {"error": error.error}
        times = {"usIn": self.us_in, "usOut": us_out, "usDiff": us_out - self.us_in}
        testnet = self.exchange.options.testnet
        body = {"jsonrpc": "2.0", **self.message.echo, **content, **times, "testnet": testnet}
        return status, body

    def respond(self, status: int, body: dict[str, object]) -> Response:
        """Render a reply that clients may trust, and record its price."""
        match body:
            case {"result": {"index_price": Decimal() as price}, "usOut": int(us_out)}:
                self.exchange.served_prices[str(self.message.index)].append((us_out, price))
        return json_response(body, status)

    async def wait(self, seconds: float | None, stopped: asyncio.Event) -> bool:
        """Wait *seconds* (None: without limit) or until *stopped*. False if the client left."""
        leaving = asyncio.create_task(self.wait_for_disconnect())
        stopping = asyncio.create_task(stopped.wait())
        try:
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait((leaving, stopping), timeout=seconds, return_when=first)
            return not leaving.done()
        finally:
            leaving.cancel()
            stopping.cancel()

    async def wait_for_disconnect(self) -> None:
        """Return when the client has closed the connection."""
        while (await self.request.receive())["type"] != "http.disconnect":
            pass

    def _result(self, us_out: int) -> object:
        if self.message.error is not None:
            raise self.message.error
        method = METHODS.get(self.message.method or "")
        if method is None:
            raise RpcError(-32601, "Method not found")
        return method(self.exchange, self.message.params, us_out)


async def receive_call(request: Request[State]) -> Call:
    """The call in *request*. Raises ClientDisconnect."""
    exchange = request.state["exchange"]
    body = await request.body()
    path = str(request.path_params.get("path", ""))
    message = parse_message(path, request.query_params, body, post=request.method == "POST")
    return Call(request=request, exchange=exchange, message=message, us_in=exchange.now())


def json_response(body: object, status: int = 200) -> Response:
    """*body* as JSON."""
    return Response(encode(body), status, media_type=JSON)


def encode(body: object) -> bytes:
    """*body* as JSON, with exact Decimals."""
    return orjson.dumps(body, default=_encode_decimal)


def _encode_decimal(value: object) -> orjson.Fragment:
    if isinstance(value, Decimal):
        return orjson.Fragment(format_number(value))
    raise TypeError(f"not serializable: {value!r}")


def format_number(value: Decimal) -> str:
    """*value* as Deribit writes it, exact: 40000.0, 81123.215, 2.533e-4."""
    if value and value.adjusted() < _MIN_EXPONENT:
        mantissa, _, power = f"{value:e}".partition("e")
        return f"{_trim_zeros(mantissa)}e{power}"
    return _trim_zeros(f"{value:f}")


def _trim_zeros(digits: str) -> str:
    whole, _, decimals = digits.partition(".")
    return f"{whole}.{decimals.rstrip('0') or '0'}"
