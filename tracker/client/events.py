"""Events of the stream, and a parser of Server-Sent Events."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from tracker.client.values import parse_moment, parse_price
from tracker.models import SourcedPrice


@dataclass(frozen=True, slots=True)
class Reset:
    """Prices of *ticker* from minute *first* to *last* must be read again; None: unbounded."""

    ticker: str
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True, slots=True)
class Connected:
    """The stream is open; *resumed* after the last event received, or at the newest price."""

    resumed: bool


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The stream is closed; the client reconnects by itself."""


StreamEvent: TypeAlias = SourcedPrice | Reset | Connected | Disconnected


class Events:
    """A parser of Server-Sent Events that keeps the stream's position across connections.

    last_id: of the last complete event; another stream can resume there.
    retry: seconds until a reconnection, as the server requests.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """

    def __init__(self, last_id: str = "") -> None:
        """Resume after the event *last_id*; without one, at the newest price."""
        self.last_id = last_id
        self.retry = 1.0
        self.discard_partial_event()

    def discard_partial_event(self) -> None:
        """Drop the lines of an event that a lost connection left incomplete."""
        self._id, self._name, self._data = self.last_id, "", ""

    def parse_line(self, line: str) -> SourcedPrice | Reset | None:
        """The event that *line* completes, if it completes a known one."""
        field, _, value = line.partition(":")
        match field:
            case "" if not line:
                return self._complete_event()
            case "id":
                self._id = value.strip()
            case "event":
                self._name = value.strip()
            case "data":
                self._data = value
            case "retry":
                self.retry = int(value) / 1000
        return None

    def _complete_event(self) -> SourcedPrice | Reset | None:
        name, data = self._name, self._data
        self.last_id = self._id
        self.discard_partial_event()
        if name == "price":
            return parse_price(json.loads(data))
        if name == "reset":
            row = json.loads(data)
            return Reset(row["ticker"], parse_moment(row["from"]), parse_moment(row["to"]))
        return None
