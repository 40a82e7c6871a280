"""Events of the stream: their order, ids and encoding.

Each index has its own order of changes; a client's id names its position in each index that it
follows. Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import orjson
from psycopg import AsyncConnection, IsolationLevel

from tracker import queries, rows
from tracker.errors import shorten
from tracker.models import INDEX_NAME, SourcedPrice
from tracker.queries.changes import Step
from tracker.times import format_moment

_RETRY = 1000  # milliseconds until a client reconnects
_PAGE = 250  # events

POSITION_PATTERN = rf"{INDEX_NAME}:[0-9]{{1,18}}(\.[1-9][0-9]{{0,3}})?"
_POSITION = re.compile(rf"({INDEX_NAME}):([0-9]{{1,18}})(?:\.([1-9][0-9]{{0,3}}))?")


class Position(NamedTuple):
    """A position in the changes of one index; positions are in the order of the changes.

    revision: after this revision and all before it.
    place: and after this many minutes of the next one, if it changes several.
    """

    revision: int
    place: int = 0


START = Position(0)

Positions = Mapping[str, Position]


def format_positions(positions: Positions) -> str:
    """The id of a client at *positions*: btc_usd:120,eth_usd:98.3."""
    return ",".join(
        f"{ticker}:{at.revision}.{at.place}" if at.place else f"{ticker}:{at.revision}"
        for ticker, at in positions.items()
    )


def parse_positions(text: str) -> dict[str, Position]:
    """The positions of an id. Raises ValueError."""
    found = {}
    for part in text.split(","):
        parts = _POSITION.fullmatch(part)
        if parts is None or parts[1] in found:
            raise ValueError(f"is not the id of an event of this stream: {shorten(text)!r}")
        found[parts[1]] = Position(int(parts[2]), int(parts[3] or 0))
    return found


@dataclass(frozen=True, slots=True)
class Event:
    """One change of an index.

    position: that of a client which has received it.
    body: all lines but the id, the same for every client; empty if there is nothing to send.
    restarts: whether positions before it are no longer valid.
    """

    ticker: str
    position: Position
    body: bytes = b""
    restarts: bool = False

    def encode(self, positions: Positions) -> bytes:
        """The event for a client that is at *positions* once it has received it."""
        return _id_line(positions) + self.body


def encode_start(positions: Positions) -> bytes:
    """The beginning of a stream at *positions*."""
    return b"retry: %d\n%s\n" % (_RETRY, _id_line(positions))


def encode_heartbeat(positions: Positions) -> bytes:
    """A comment that keeps the connection alive, and updates the client's id."""
    return b":\n%s\n" % _id_line(positions)


def encode_end(name: str, reason: str) -> bytes:
    """The last event of a stream, with the reason of its end."""
    return _encode(name, {"reason": reason})


def join_pieces(pieces: Sequence[bytes], size: int) -> list[bytes]:
    """*pieces*, joined to fewer ones of about *size* bytes."""
    joined: list[bytes] = []
    for piece in pieces:
        if joined and len(joined[-1]) < size:
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def _reset_body(ticker: str, first: datetime | None, last: datetime | None) -> bytes:
    """The prices from *first* to *last* must be read again; None: as far as there are any."""
    ends = {"from": first and format_moment(first), "to": last and format_moment(last)}
    return _encode("reset", {"ticker": ticker, **ends})


def _encode(name: str, content: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(content))


def _id_line(positions: Positions) -> bytes:
    return b"id: %s\n" % format_positions(positions).encode()


class EventPage(NamedTuple):
    """Events in order; the position of a client that has them; whether more may follow."""

    events: list[Event]
    position: Position
    more: bool


async def fetch_events(conn: AsyncConnection, ticker: str, position: Position) -> EventPage:
    """The changes of *ticker* after *position* from the change log, oldest first.

    Each minute once, as it is now: log and prices are of one snapshot. Deleted prices have no
    event.
    """
    await conn.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    async with conn.transaction():
        steps = await queries.changed_minutes(conn, ticker, *position, _PAGE)
        minutes = [step.first_minute for step in steps if step.place and step.first_minute]
        prices = await queries.prices_of(conn, ticker, minutes)
    if not steps:  # it was never tracked, or is no longer
        return EventPage(_reset(ticker, position, START), START, more=False)
    if not steps[0].whole:
        newest = Position(steps[0].newest)
        return EventPage(_reset(ticker, position, newest), newest, more=False)
    found = [_event(ticker, step, prices) for step in steps if step.revision is not None]
    return EventPage(found, found[-1].position if found else position, more=len(found) == _PAGE)


def _reset(ticker: str, position: Position, newest: Position) -> list[Event]:
    if position == newest:
        return []
    body = _reset_body(ticker, None, None)
    return [Event(ticker, newest, body, restarts=newest < position)]


def _event(ticker: str, step: Step, prices: dict[datetime, SourcedPrice]) -> Event:
    assert step.revision is not None  # checked by the caller
    final = Position(step.revision)
    if step.place is None or step.first_minute is None:
        return Event(ticker, final, _reset_body(ticker, step.first_minute, step.last_minute))
    position = final if step.final else Position(step.revision - 1, step.place)
    price = prices.get(step.first_minute)
    return Event(ticker, position, _encode("price", rows.price_row(price)) if price else b"")
