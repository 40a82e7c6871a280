"""GET /prices/stream: every price that is stored, as it is stored, by Server-Sent Events."""

from starlette.responses import Response

from tracker import queries
from tracker.errors import BadRequest, DatabaseDown, NotNow
from tracker.models import parse_ticker
from tracker.web.asked import params
from tracker.web.live.follower import Follower
from tracker.web.live.position import Position, positions
from tracker.web.live.streams import EventStream
from tracker.web.state import AppRequest

_STREAM: params.Readers = {"ticker": params.Each(parse_ticker), "last_event_id": positions}
_HEADER = "Last-Event-ID"
_PATIENCE = 1.0  # seconds until the feed is back, if the database is


async def stream(request: AppRequest) -> Response:
    """GET /prices/stream: an event for each price that is stored, from now or from an id on."""
    asked = params.read(request.query_params, _STREAM, "ticker")
    known = _last_seen(request) or asked.get("last_event_id", {})
    for ticker in asked["ticker"]:
        await request.state["tracked"].require(ticker, request.state["database"])
    await _demand_feed(request)
    streams = request.state["streams"]
    if streams.full:
        raise NotNow({"stream": f"has {streams.limit} clients, and takes no more for now"})
    if request.method == "HEAD":
        return EventStream(streams)
    return EventStream(streams, Follower(streams.feed, streams.read, asked["ticker"], known))


def _last_seen(request: AppRequest) -> dict[str, Position]:
    """What a client that was cut off had; browsers then send the id beside the parameters."""
    text = request.headers.get(_HEADER, "")
    try:
        return positions(text) if text else {}
    except ValueError as error:
        raise BadRequest({_HEADER: str(error)}) from None


async def _demand_feed(request: AppRequest) -> None:
    """Raises DatabaseDown, MigrationsPending."""
    feed = request.state["streams"].feed
    if not feed.current:
        await request.state["primary"].run(queries.revisions)
        if not await feed.ready(_PATIENCE):
            raise DatabaseDown("the feed does not hear it")
