"""Events of the stream: their order, ids and encoding.

All changes have one order, that of their commits, and an event's id is its position in it: the same
for every client, whichever indexes it follows. Many parsers make an empty event of a block without
data, therefore comments and the field retry are never blocks of their own.
Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
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

HEARTBEAT = b":\n"  # a comment keeps the connection alive

_PAGE = 1000  # events
_ALL = 2**31 - 1  # more indexes than a batch can have

ID_PATTERN = r"^[0-9]{1,18}(\.[1-9][0-9]{0,8}\.[0-9]{1,9})?$"
_ID = re.compile(r"([0-9]{1,18})(?:\.([1-9][0-9]{0,8})\.([0-9]{1,9}))?")
_FORMER_ID = re.compile(rf"{INDEX_NAME}:[0-9.]+(,{INDEX_NAME}:[0-9.]+)*")  # of version 0.1


class Position(NamedTuple):
    """A position in all changes.

    The batches before *batch* are received, and of it the indexes before *number* (by default all)
    and the first *place* minutes of that one.
    """

    batch: int
    number: int = _ALL
    place: int = 0


START = Position(0)
UNKNOWN = Position(-1)  # no batch has it: all prices are to be read again


def format_position(at: Position) -> str:
    """The id of an event: 120, or in the middle of a batch 121.3.17."""
    return f"{at.batch}" if at.number == _ALL else f"{at.batch}.{at.number}.{at.place}"


def parse_position(text: str) -> Position:
    """The position of an id; UNKNOWN for an id of version 0.1. Raises ValueError."""
    if _FORMER_ID.fullmatch(text):
        return UNKNOWN
    parts = _ID.fullmatch(text)
    if parts is None:
        raise ValueError(f"is not the id of an event of this stream: {shorten(text)!r}")
    return Position(*(int(part) for part in parts.groups() if part is not None))


@dataclass(frozen=True, slots=True)
class Event:
    """One change of an index.

    position: that of a client which has received it.
    lines: its lines, the same for every client; empty if there is nothing to send.
    restarts: whether positions before it may no longer be valid.
    """

    ticker: str
    position: Position
    lines: bytes = b""
    restarts: bool = False


def encode_start(position: Position, heartbeat: float, retry: float) -> bytes:
    """The beginning of a stream at *position*, with comments *heartbeat* seconds apart.

    A client that is disconnected reconnects after *retry* seconds. Its event has an id to resume
    from before the first price; at an unknown position the client keeps its own.
    """
    known = None if position == UNKNOWN else position
    return b"retry: %d\n%s" % (
        1000 * retry,
        _encode("ready", {"heartbeat": heartbeat}, known),
    )


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


def _encode(name: str, content: object, position: Position | None = None) -> bytes:
    line = b"" if position is None else b"id: %s\n" % format_position(position).encode()
    return b"%sevent: %s\ndata: %s\n\n" % (line, name.encode(), orjson.dumps(content))


class EventPage(NamedTuple):
    """Events in order; the position of a client that has them; whether more may follow."""

    events: list[Event]
    position: Position
    more: bool


async def fetch_events(
    conn: AsyncConnection, tickers: Collection[str] | None, position: Position
) -> EventPage:
    """The changes of *tickers* (None: of all) after *position* from the change log, oldest first.

    Each minute once, as it is now: log and prices are of one snapshot. Deleted prices have no
    event.
    """
    await conn.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    async with conn.transaction():
        steps = await queries.changes_after(conn, tickers, *position, _PAGE)
        minutes: dict[str, list[datetime]] = defaultdict(list)
        for step in steps:
            if step.ticker and step.place and step.first_minute:
                minutes[step.ticker].append(step.first_minute)
        prices = {name: await queries.prices_of(conn, name, minutes[name]) for name in minutes}
    newest, more = Position(steps[0].newest), steps[0].more
    reset_at = newest if all(step.lost for step in steps) else position
    found = [_event(step.ticker, step, reset_at, prices) for step in steps if step.ticker]
    return EventPage(found, found[-1].position if more else newest, more)


def _event(
    ticker: str,
    step: Step,
    reset_at: Position,
    prices: dict[str, dict[datetime, SourcedPrice]],
) -> Event:
    """The event of a change; that of a lost index has the position *reset_at*."""
    if step.batch is None or step.number is None:
        return Event(ticker, reset_at, _encode_reset(ticker, step, reset_at), restarts=True)
    if step.place is None or step.first_minute is None:
        position = Position(step.batch, step.number + 1, 0)
        return Event(ticker, position, _encode_reset(ticker, step, position))
    position = Position(step.batch, step.number, step.place)
    price = prices[ticker].get(step.first_minute)
    lines = _encode("price", rows.price_row(price), position) if price else b""
    return Event(ticker, position, lines)


def _encode_reset(ticker: str, step: Step, position: Position) -> bytes:
    """The prices from the first minute to the last must be read again; null: as far as any are."""
    first, last = step.first_minute, step.last_minute
    ends = {"from": first and format_moment(first), "to": last and format_moment(last)}
    return _encode("reset", {"ticker": ticker, **ends}, position)
