"""What is sent to those who follow the stream, as bytes.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson

from tracker import rows
from tracker.models import SourcedPrice
from tracker.times import format_moment
from tracker.web.live.position import Position, Positions, shown

_RETRY = 1000  # milliseconds until a client comes back


@dataclass(frozen=True, slots=True)
class Event:
    """One change of an index, for whoever follows it.

    position: where in the index's changes whoever has it is.
    body: all of its lines but the id, the same for everybody; none if there is nothing to tell.
    restarts: whether the positions before it count no more.
    """

    ticker: str
    position: Position
    body: bytes = b""
    restarts: bool = False


def stored(price: SourcedPrice) -> bytes:
    """A price that was stored, or has changed."""
    return _body("price", rows.price(price))


def reset(ticker: str, first: datetime | None, last: datetime | None) -> bytes:
    """The prices of *ticker* from *first* to *last* must be read anew; None: all there are."""
    ends = {name: end and format_moment(end) for name, end in (("from", first), ("to", last))}
    return _body("reset", {"ticker": ticker, **ends})


def hello(positions: Positions) -> bytes:
    """The start of a stream at *positions*."""
    return b"retry: %d\n%s\n" % (_RETRY, _id(positions))


def heartbeat(positions: Positions) -> bytes:
    """A sign of life; it brings the client's id up to date, and is no event."""
    return b":\n%s\n" % _id(positions)


def placed(event: Event, positions: Positions) -> bytes:
    """*event* for a client that is at *positions* once it has it."""
    return _id(positions) + event.body


def last(name: str, reason: str) -> bytes:
    """The end of a stream, and why."""
    return _body(name, {"reason": reason})


def together(pieces: Sequence[bytes], size: int) -> list[bytes]:
    """*pieces*, joined to some of about *size* bytes."""
    joined: list[bytes] = []
    for piece in pieces:
        if joined and len(joined[-1]) < size:
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def _id(positions: Positions) -> bytes:
    return b"id: %s\n" % shown(positions).encode()


def _body(name: str, content: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(content))
