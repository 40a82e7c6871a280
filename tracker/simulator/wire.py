"""What goes over the wire: numbers written as the exchange writes them, and envelopes."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import orjson

MAINTENANCE: Final = b'{"jsonrpc":"2.0","error":{"message":"system_maintenance","code":11051}}'
PAGE: Final = (
    b"<!DOCTYPE html>\n<html><head><title>Just a moment</title></head>"
    b"<body><h1>The page you asked for is not available</h1></body></html>\n"
)
_TINY: Final = -3  # numbers below a thousandth are written with an exponent


class Refusal(Exception):
    """An error the exchange answers with: JSON-RPC *code*, *message* and *data*."""

    def __init__(
        self, code: int, message: str, data: Mapping[str, str] | None = None, *, status: int = 400
    ) -> None:
        """What stands under ``error``, and the HTTP *status* it comes with."""
        super().__init__(message)
        self.status = status
        self.error: dict[str, object] = {"code": code, "message": message}
        if data is not None:
            self.error["data"] = data


def invalid(param: str, reason: str) -> Refusal:
    """The error for a parameter that is missing or wrong."""
    return Refusal(-32602, "Invalid params", {"reason": reason, "param": param})


def number(value: Decimal) -> str:
    """*value* as a JSON number, exact: 40000.0, 81123.215, 2.533e-4."""
    if value and value.adjusted() < _TINY:
        mantissa, _, power = f"{value:e}".partition("e")
        return f"{_trimmed(mantissa)}e{power}"
    return _trimmed(f"{value:f}")


def _trimmed(digits: str) -> str:
    whole, _, decimals = digits.partition(".")
    return f"{whole}.{decimals.rstrip('0') or '0'}"


def encode(body: object) -> bytes:
    """*body* as JSON, Decimals exact."""
    return orjson.dumps(body, default=_fragment)


def _fragment(value: object) -> orjson.Fragment:
    if isinstance(value, Decimal):
        return orjson.Fragment(number(value))
    raise TypeError(f"not for the wire: {value!r}")


def envelope(
    content: Mapping[str, object], *, us_in: int, us_out: int, testnet: bool
) -> dict[str, object]:
    """*content* (``result`` or ``error``, and ``id``) with what stands around it.

    Times in microseconds since 1970.
    """
    times = {"usIn": us_in, "usOut": us_out, "usDiff": us_out - us_in}
    return {"jsonrpc": "2.0", **content, **times, "testnet": testnet}
