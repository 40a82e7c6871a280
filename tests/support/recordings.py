"""Recorded responses of the exchange, and how tests parse them."""

from typing import Any

from tracker.models import Quote
from tracker.recorder.deribit import HttpResponse, parse_envelope, parse_quote

PRODUCTION = (
    b'{"jsonrpc":"2.0","result":{"estimated_delivery_price":83065.3,"index_price":83065.3},'
    b'"usIn":1790660367085468,"usOut":1790660367085908,"usDiff":440,"testnet":false}'
)
TESTNET = PRODUCTION.replace(b'"testnet":false', b'"testnet":true')
UNKNOWN_INDEX = (
    b'{"usOut":1703446335056501,"usIn":1703446335056492,"usDiff":9,"testnet":false,'
    b'"jsonrpc":"2.0","error":{"message":"Invalid params",'
    b'"data":{"reason":"invalid index","param":"index_name"},"code":-32602}}'
)
MAINTENANCE = b'{"jsonrpc":"2.0","error":{"message":"system_maintenance","code":11051}}'


def parse_btc(content: bytes, status: int = 200, **headers: Any) -> Quote:
    """The quote of btc_usd in production."""
    return parse_quote(parse_response(content, status, **headers), "btc_usd")


def parse_response(
    content: bytes, status: int = 200, *, testnet: bool = False, **headers: Any
) -> dict[str, Any]:
    """The JSON-RPC object of a response, of production if nothing else is given."""
    return parse_envelope(HttpResponse(content, status, headers), testnet=testnet)
