"""What is committed to the prices, as it is committed: one listener for all who follow.

The database announces each commit, and is asked every second besides: what it says counts, so that
an announcement that is lost costs a second, and a server that stands still is noticed.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Self, TypeVar

from loguru import logger
from psycopg import AsyncConnection, Error

from tracker import queries
from tracker.errors import describe
from tracker.web.live import changes
from tracker.web.live.events import Event
from tracker.web.live.position import START, Position
from tracker.web.reading.database import connect, cut

T = TypeVar("T")

_PROBE = 1.0  # seconds without an announcement until the database is asked
_DEADLINE = 2.0  # seconds for an answer
_TRUSTED = 4.0  # seconds that an answer proves anything; more than both together
_SHORTEST_PAUSE = 0.25  # seconds between two attempts to connect
_LONGEST_PAUSE = 1.0


class Feed:
    """The newest events of every index, in a ring that its followers read at their own pace.

    While `current` is true, `revision` counts every commit that was made more than four seconds
    ago: the database has said so, asked later than that. As a rule it is behind by milliseconds.
    A follower who reads all events up to `end` has been told all of that too.
    """

    def __init__(self, dsn: str, size: int) -> None:
        """Use `opened`."""
        self._dsn = dsn
        self._ring: list[Event | None] = [None] * size
        self._positions: dict[str, Position] | None = None
        self._asked: float | None = None
        self._conn: AsyncConnection | None = None
        self._news = asyncio.Event()
        self._ending = False
        self._behind = False
        self.end = 0

    @classmethod
    @asynccontextmanager
    async def opened(cls, dsn: str, size: int) -> AsyncIterator[Self]:
        """Follow the database at *dsn*, whether it is there or not, and keep *size* events."""
        feed = cls(dsn, size)
        following = asyncio.create_task(feed._follow())
        try:
            yield feed
        finally:
            await feed._end(following)

    @property
    def current(self) -> bool:
        """Whether it has heard all that was committed until some seconds ago."""
        now = asyncio.get_running_loop().time()
        return self._asked is not None and now - self._asked < _TRUSTED

    @property
    def settled(self) -> bool:
        """Whether it is current, and has read all that was announced."""
        return not self._behind and self.current

    def revision(self, ticker: str) -> int:
        """How often *ticker* had changed when it was last heard of; 0 for one never heard of."""
        return self.position(ticker).revision

    def position(self, ticker: str) -> Position:
        """Where whoever has all events of *ticker* is."""
        return (self._positions or {}).get(ticker, START)

    def since(self, start: int, most: int) -> list[Event] | None:
        """Up to *most* events from number *start* on; None if that one is not kept any more."""
        if self.end - start > len(self._ring):
            return None
        numbers = range(start, min(self.end, start + most))
        kept = (self._ring[number % len(self._ring)] for number in numbers)
        return [event for event in kept if event is not None]

    async def ready(self, seconds: float) -> bool:
        """Wait until it is current, up to *seconds*."""
        until = asyncio.get_running_loop().time() + seconds
        while not self.current and await self.told(until - asyncio.get_running_loop().time()):
            pass
        return self.current

    async def told(self, seconds: float) -> bool:
        """Wait for the next event, or for the database to come back, up to *seconds*."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def _follow(self) -> None:
        pause = _SHORTEST_PAUSE
        while not self._ending:
            try:
                await self._listen()
            except Error as error:
                if self._asked is not None and not self._ending:
                    logger.warning("the feed of prices is cut: {}", describe(error))
                    pause = _SHORTEST_PAUSE
                self._asked = None
            if not self._ending:
                await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _end(self, following: asyncio.Task[None]) -> None:
        """Cutting first: a query that is cancelled asks the server, which may stand still."""
        self._ending = True
        self._cut()
        await asyncio.wait([following], timeout=_SHORTEST_PAUSE)
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following

    async def _listen(self) -> None:
        """Read what was missed, and then what comes. Raises psycopg's Error."""
        async with await connect(self._dsn, "tracker-feed") as self._conn:
            await self._bounded(queries.listen(self._conn))
            while True:
                await self._look(self._conn)
                self._behind = False
                async for _ in self._conn.notifies(timeout=_PROBE, stop_after=1):
                    self._behind = True

    async def _bounded(self, work: Awaitable[T]) -> T:
        deadline = asyncio.get_running_loop().call_later(_DEADLINE, self._cut)
        try:
            return await work
        finally:
            deadline.cancel()

    def _cut(self) -> None:
        if self._conn is not None:
            cut(self._conn)

    async def _look(self, conn: AsyncConnection) -> None:
        asked = asyncio.get_running_loop().time()
        revisions = await self._bounded(queries.revisions(conn))
        if self._positions is None:  # what was there before is no news
            self._positions = {ticker: Position(count) for ticker, count in revisions.items()}
        for ticker in {**self._positions, **revisions}:
            if self.position(ticker) != (revisions.get(ticker, 0), 0):
                await self._read(conn, ticker, self._positions)
        back, self._asked = self._asked is None, asked
        if back:
            self._wake()

    async def _read(
        self, conn: AsyncConnection, ticker: str, positions: dict[str, Position]
    ) -> None:
        more = True
        while more:
            found = await self._bounded(changes.page(conn, ticker, self.position(ticker)))
            positions[ticker], more = found.position, found.more
            for event in found.events:
                self._ring[self.end % len(self._ring)] = event
                self.end += 1
            self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
