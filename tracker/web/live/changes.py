"""What changed after a position, read from the log: for the feed, and for who was away."""

from datetime import datetime
from typing import NamedTuple

from psycopg import AsyncConnection, IsolationLevel

from tracker import queries
from tracker.models import SourcedPrice
from tracker.queries.changes import Step
from tracker.web.live import events
from tracker.web.live.events import Event
from tracker.web.live.position import START, Position

_PAGE = 250  # events


class Page(NamedTuple):
    """Events in order; where whoever has them is; and whether there may be more."""

    events: list[Event]
    position: Position
    more: bool


async def page(conn: AsyncConnection, ticker: str, position: Position) -> Page:
    """What changed of *ticker* after *position*, the oldest first.

    Each minute once, as it is now: log and prices are of one snapshot. Deletions are not told.
    """
    await conn.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    async with conn.transaction():
        steps = await queries.changed_minutes(conn, ticker, *position, _PAGE)
        minutes = [step.first_minute for step in steps if step.place and step.first_minute]
        prices = await queries.prices_of(conn, ticker, minutes)
    if not steps:  # it never was tracked, or is no more
        return Page(_restarted(ticker, position, START), START, more=False)
    if not steps[0].whole:
        newest = Position(steps[0].newest)
        return Page(_restarted(ticker, position, newest), newest, more=False)
    found = [_event(ticker, step, prices) for step in steps if step.revision is not None]
    return Page(found, found[-1].position if found else position, more=len(found) == _PAGE)


def _restarted(ticker: str, position: Position, newest: Position) -> list[Event]:
    if position == newest:
        return []
    body = events.reset(ticker, None, None)
    return [Event(ticker, newest, body, restarts=newest < position)]


def _event(ticker: str, step: Step, prices: dict[datetime, SourcedPrice]) -> Event:
    assert step.revision is not None  # the caller has looked
    final = Position(step.revision)
    if step.place is None or step.first_minute is None:
        return Event(ticker, final, events.reset(ticker, step.first_minute, step.last_minute))
    position = final if step.final else Position(step.revision - 1, step.place)
    price = prices.get(step.first_minute)
    return Event(ticker, position, events.stored(price) if price else b"")
