"""What the lifespan opens and every request may use."""

from typing import TypedDict

from starlette.requests import Request

from tracker.settings import Settings
from tracker.web.live.streams import Streams
from tracker.web.metrics import Metrics
from tracker.web.reading.database import Database
from tracker.web.reading.exports import Exports
from tracker.web.reading.pages import Pages
from tracker.web.reading.tracked import Tracked


class State(TypedDict):
    """The parts of the running application.

    database: what requests are answered from; a replica, if there is one.
    primary: the one that is written, for what a replica cannot tell.
    """

    settings: Settings
    database: Database
    primary: Database
    metrics: Metrics
    tracked: Tracked
    streams: Streams
    exports: Exports
    pages: Pages


AppRequest = Request[State]
