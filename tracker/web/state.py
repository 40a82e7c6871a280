"""What the lifespan opens and every request may use."""

from typing import TypedDict

from starlette.requests import Request

from tracker.settings import Settings
from tracker.web.database import Database
from tracker.web.exports import Exports
from tracker.web.metrics import Metrics
from tracker.web.streams import Streams
from tracker.web.tracked import Tracked


class State(TypedDict):
    """The parts of the running application."""

    settings: Settings
    database: Database
    metrics: Metrics
    tracked: Tracked
    streams: Streams
    exports: Exports


AppRequest = Request[State]
