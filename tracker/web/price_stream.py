"""GET /prices/stream: its parameters, its documentation, and who may subscribe."""

from dataclasses import dataclass, replace
from typing import Annotated

import orjson
from starlette.responses import Response

from tracker import queries
from tracker.errors import BadRequest, DatabaseDown, ServiceUnavailable
from tracker.web import params, schemas
from tracker.web.endpoint import AppRequest, endpoint, require_tickers
from tracker.web.params import Parameter
from tracker.web.prices import PRICE_PROPERTIES
from tracker.web.responses import require_match
from tracker.web.stream.events import ID_PATTERN, Position, parse_position
from tracker.web.stream.responses import EventStream, Subscriber

_HEADER = "Last-Event-ID"
_FEED_TIMEOUT = 1.0  # seconds until the feed is current again, if the database is available

_RESUME = (
    "The id of the last event that was received, of whichever indexes: the stream continues after"
    " it, with each minute that changed since once, as it is now."
)
TICKERS = replace(
    params.TICKERS,
    description="The indexes to follow: separated by commas, or repeated; default: all, also those"
    " that become known later.",
)
LAST_EVENT_ID = Parameter(
    "last_event_id",
    parse_position,
    {"type": "string", "pattern": ID_PATTERN, "examples": ["120", "121.1.1"]},
    f"{_RESUME} The header wins.",
)

PRICE_EVENT = schemas.model(
    "PriceEvent",
    PRICE_PROPERTIES,
    description="`event: price`: a price that was stored, repaired or changed, in the order of"
    " commits",
)
READY_EVENT = schemas.model(
    "ReadyEvent",
    {"heartbeat": {"type": "number", "description": "Seconds between comments"}},
    description="`event: ready`: the first one, whose id the stream can be resumed from",
)
RESET_EVENT = schemas.model(
    "ResetEvent",
    {
        "ticker": schemas.TICKER,
        "from": schemas.or_null(schemas.MINUTE, "The first minute; null: as far as there are any"),
        "to": schemas.or_null(schemas.MINUTE, "The last minute; null: as far as there are any"),
    },
    description="`event: reset`: too much has changed, read the prices of these minutes again",
)
END_EVENT = schemas.model(
    "EndEvent",
    {"reason": schemas.TEXT},
    description="`event: dropped`: the client read too slowly; `event: bye`: the server stops. The"
    " stream ends with it",
)
STREAM_EVENT = schemas.named_schema(
    "StreamEvent",
    {
        "oneOf": [schemas.ref(each) for each in (READY_EVENT, PRICE_EVENT, RESET_EVENT, END_EVENT)],
        "description": "The data of an event",
    },
)

_EXAMPLE = {
    "id": 241,
    "ticker": "btc_usd",
    "price": "68241.50",
    "created_at": "2024-01-15T12:00:00Z",
    "source": "poll",
    "observed_at": "2024-01-15T12:00:01.250000Z",
}
_DESCRIPTION = (
    "Server-Sent Events; the schema is that of the data of each, which is JSON. A price:\n\n"
    "    id: 121.1.1\n"
    "    event: price\n"
    f"    data: {orjson.dumps(_EXAMPLE).decode()}\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamQuery:
    """The indexes to subscribe to, and from where on."""

    tickers: Annotated[tuple[str, ...], TICKERS] = ()
    last_event_id: Annotated[Position | None, LAST_EVENT_ID] = None


@endpoint(
    "/prices/stream",
    "stream",
    summary="Prices as they are stored, until the client disconnects",
    description="Deleted prices have no event. A comment comes after 15 seconds without an event.",
    response=schemas.response(
        {"text/event-stream": {"schema": schemas.ref(STREAM_EVENT), "example": _EXAMPLE}},
        "Cache-Control",
        description=_DESCRIPTION,
    ),
    errors=(412, 422, 500, 503),
    other_parameters=(
        {
            "name": _HEADER,
            "in": "header",
            "required": False,
            "description": f"{_RESUME} Browsers send it by themselves.",
            "schema": LAST_EVENT_ID.schema,
        },
    ),
)
async def stream_prices(request: AppRequest, query: StreamQuery) -> Response:
    """An event for each price that is stored, from now or from an id on."""
    resume = _last_event_id(request) or query.last_event_id
    await require_tickers(request, query.tickers)
    require_match(request.scope, None)
    feed, streams = request.state["feed"], request.state["streams"]
    if not feed.current:
        await request.state["primary"].run(queries.revisions)  # raises the reason
        if not await feed.wait_until_current(_FEED_TIMEOUT):
            raise DatabaseDown("the feed is not connected to it")
    if streams.full:
        raise ServiceUnavailable({"stream": f"has {streams.limit} clients, the maximum"})
    if request.method == "HEAD":
        return EventStream(streams)
    return EventStream(streams, Subscriber(streams, query.tickers or None, resume))


def _last_event_id(request: AppRequest) -> Position | None:
    """The header of a client that was cut off; browsers then send it besides the parameters."""
    text = request.headers.get(_HEADER, "")
    try:
        return parse_position(text) if text else None
    except ValueError as error:
        raise BadRequest({_HEADER: str(error)}) from None
