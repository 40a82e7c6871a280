"""The stream of prices, as it is described."""

from collections.abc import Sequence

from tracker.models import INDEX_NAME
from tracker.web.openapi.parameters import query
from tracker.web.openapi.parts import TEXT, Schema, found, operation

_EXAMPLE = """\
retry: 1000
id: btc_usd:120,eth_usd:98

id: btc_usd:121,eth_usd:98
event: price
data: {"id":241,"ticker":"btc_usd","price":"68241.50","created_at":"2024-01-15T12:00:00Z",\
"source":"poll","observed_at":"2024-01-15T12:00:01.250000Z"}

:
id: btc_usd:121,eth_usd:98

"""

_ABOUT = (
    "Server-Sent Events. `price`: a price that was stored, repaired or changed, with its source;"
    " an index's prices in the order of their commits. `reset`: too much has changed, read the"
    " prices of `ticker` from minute `from` to minute `to` anew; null: as far as there are."
    " `dropped`: it was read too slowly; `bye`: the server stops; with these it ends."
    " What is deleted is not told. A comment comes after 15 seconds without an event."
)
_RESUME = (
    "The id of the last event that was seen: the stream goes on behind it, each minute that"
    " changed since once, as it is now. An index that it does not name begins now."
)
_PLACE = rf"{INDEX_NAME}:[0-9]{{1,18}}(\.[1-9][0-9]{{0,3}})?"
_LAST_ID: Schema = {
    "type": "string",
    "pattern": f"^{_PLACE}(,{_PLACE})*$",
    "examples": ["btc_usd:120,eth_usd:98.3"],
}

PATHS: Schema = {
    "/prices/stream": operation(
        "stream",
        "Prices as they are stored, until the client goes away",
        found({"text/event-stream": {"schema": TEXT, "example": _EXAMPLE}}, "Cache-Control")
        | {"description": _ABOUT},
        "stream_tickers last_event_id last_event_id_header",
        errors="422 500 503",
    ),
}

SCHEMAS: Schema = {}

PARAMETERS: Schema = {
    "last_event_id": query("last_event_id", f"{_RESUME} The header wins.", _LAST_ID),
    "last_event_id_header": {
        **query("Last-Event-ID", f"{_RESUME} Browsers send it by themselves.", _LAST_ID),
        "in": "header",
    },
}


def tickers(names: Sequence[str]) -> Schema:
    """The indexes to follow, some of *names*."""
    schema = {
        "type": "array",
        "items": {"type": "string", "enum": list(names)},
        "minItems": 1,
        "uniqueItems": True,
    }
    about = "The indexes to follow: the parameter may be repeated."
    return {**query("ticker", about, schema, required=True), "style": "form", "explode": True}
