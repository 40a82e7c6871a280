"""One client of the stream: where it is, and what to send it next."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator

from tracker.errors import DatabaseDown, MigrationsPending
from tracker.web.live import events
from tracker.web.live.changes import Page
from tracker.web.live.events import Event
from tracker.web.live.feed import Feed
from tracker.web.live.position import Position, Positions

_MOST = 250  # events at once
_PIECE = 16_384  # bytes
_AGAIN = 1.0  # seconds

Read = Callable[[str, Position], Awaitable[Page]]


class Behind(Exception):
    """The feed does not keep what comes next for the client any more."""


class Follower:
    """Reads from the database what a client missed, and then from the feed what comes."""

    def __init__(
        self, feed: Feed, read: Read, tickers: Iterable[str], known: Positions | None = None
    ) -> None:
        """One who follows *tickers*: from its *known* positions, or from now on."""
        self._feed = feed
        self._read = read
        self._positions = {ticker: feed.position(ticker) for ticker in tickers}
        asked = {ticker: at for ticker, at in (known or {}).items() if ticker in self._positions}
        self._missed = {ticker for ticker, at in asked.items() if at != self._positions[ticker]}
        self._positions |= asked
        self._next = None if self._missed else feed.end

    async def pieces(self, heartbeat: float) -> AsyncGenerator[bytes]:
        """What to send, as soon as there is something; after *heartbeat* seconds without, a sign.

        Raises Behind.
        """
        clock = asyncio.get_running_loop().time
        due = clock() + heartbeat
        yield events.hello(self._positions)
        while True:
            found = await self._found()
            for piece in events.together(list(self._take(found)), _PIECE):
                yield piece
                due = clock() + heartbeat
            if not found:
                await self._feed.told(min(due - clock(), _AGAIN))
            if clock() >= due:
                yield events.heartbeat(self._positions)
                due = clock() + heartbeat

    async def _found(self) -> list[Event]:
        if self._next is None and not self._missed:
            self._join()
        return self._fresh() if self._next is not None else await self._missing()

    def _join(self) -> None:
        """Go on from the feed, unless that is further by now."""
        here = self._positions.items()
        self._missed = {ticker for ticker, at in here if at < self._feed.position(ticker)}
        self._next = None if self._missed else self._feed.end

    async def _missing(self) -> list[Event]:
        """The next events of an index that misses some; none while the database is away."""
        ticker = min(self._missed)
        try:
            found, position, more = await self._read(ticker, self._positions[ticker])
        except (DatabaseDown, MigrationsPending):
            return []
        if not more:
            self._missed.discard(ticker)
        return [*found, Event(ticker, position)]

    def _fresh(self) -> list[Event]:
        assert self._next is not None  # the caller has looked
        found = self._feed.since(self._next, _MOST)
        if found is None:
            raise Behind
        self._next += len(found)
        return found

    def _take(self, found: Iterable[Event]) -> Iterator[bytes]:
        """What of *found* is new to the client, as it is sent."""
        for event in found:
            at = self._positions.get(event.ticker)
            if at is not None and (event.position > at or event.restarts):
                self._positions[event.ticker] = event.position
                if event.body:
                    yield events.placed(event, self._positions)
