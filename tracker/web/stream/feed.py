"""The feed: one listener per process that reads every change as it is committed.

The database notifies of each commit. Without a notification it is queried every second, so that a
lost notification costs a second, and an unresponsive server is noticed.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Self, TypeVar

from loguru import logger
from psycopg import AsyncConnection, Error

from tracker import queries
from tracker.errors import describe
from tracker.web.database import disconnect, open_connection
from tracker.web.stream.events import Event, Position, fetch_events

T = TypeVar("T")

_PROBE_INTERVAL = 1.0  # seconds without a notification until the database is queried
_QUERY_TIMEOUT = 2.0  # seconds
_VALID = 4.0  # seconds that a query proves it current; more than both together
_MIN_PAUSE, _MAX_PAUSE = 0.25, 1.0  # seconds between two attempts to connect


class Feed:
    """The newest events of every index, in a ring buffer that clients read at their own pace.

    While `current` is true, `revision` includes every commit that was made more than four seconds
    ago, because the database was queried since. Usually the delay is milliseconds. A client that
    has read all events up to `end` has received all of those commits too.
    """

    def __init__(self, dsn: str, size: int) -> None:
        """Use `opened`."""
        self._dsn = dsn
        self._ring: list[Event | None] = [None] * size
        self._revisions: dict[str, int] = {}
        self._queried: float | None = None  # when, on the loop's clock; None while disconnected
        self._conn: AsyncConnection | None = None
        self._changed = asyncio.Event()
        self._ending = False
        self._notified = False  # of a commit that is not read yet
        self.position: Position | None = None  # of a client with all events; None: unknown
        self.end = 0

    @classmethod
    @asynccontextmanager
    async def opened(cls, dsn: str, size: int) -> AsyncIterator[Self]:
        """Follow the database at *dsn*, whether or not it is available, and hold *size* events."""
        feed = cls(dsn, size)
        following = asyncio.create_task(feed._follow())
        try:
            yield feed
        finally:
            await feed._stop(following)

    @property
    def current(self) -> bool:
        """Whether all commits until some seconds ago are read."""
        now = asyncio.get_running_loop().time()
        return self._queried is not None and now - self._queried < _VALID

    @property
    def up_to_date(self) -> bool:
        """Whether it is current, and every notified commit is read."""
        return not self._notified and self.current

    def revision(self, ticker: str) -> int:
        """The newest known revision of *ticker*; 0 for an unknown one."""
        return self._revisions.get(ticker, 0)

    def events_since(self, start: int, limit: int) -> list[Event] | None:
        """Up to *limit* events from number *start* on; None if that one is overwritten."""
        if self.end - start > len(self._ring):
            return None
        numbers = range(start, min(self.end, start + limit))
        found = (self._ring[number % len(self._ring)] for number in numbers)
        return [event for event in found if event is not None]

    async def wait_until_current(self, seconds: float) -> bool:
        """Wait up to *seconds* until it is current; whether it is."""
        until = asyncio.get_running_loop().time() + seconds
        while not self.current:
            if not await self.wait_for_change(until - asyncio.get_running_loop().time()):
                break
        return self.current

    async def wait_for_change(self, seconds: float) -> bool:
        """Wait up to *seconds* for an event, or for a new connection; whether there was one."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def _follow(self) -> None:
        pause = _MIN_PAUSE
        while not self._ending:
            try:
                await self._listen()
            except Error as error:
                if self._queried is not None and not self._ending:
                    logger.warning(
                        "the feed of prices is disconnected from the database, and reconnects: {}",
                        describe(error),
                    )
                    pause = _MIN_PAUSE
                self._queried = None
            if not self._ending:
                await asyncio.sleep(pause)
            pause = min(2 * pause, _MAX_PAUSE)

    async def _stop(self, following: asyncio.Task[None]) -> None:
        """Disconnect first: psycopg would send a cancel request, and wait for the server."""
        self._ending = True
        self._disconnect()
        await asyncio.wait([following], timeout=_MIN_PAUSE)
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following

    async def _listen(self) -> None:
        """Read the commits since the last one, then every new one. Raises psycopg.Error."""
        async with await open_connection(self._dsn, "tracker-feed") as self._conn:
            await self._within_timeout(queries.listen(self._conn))
            while True:
                await self._read_changes(self._conn)
                self._notified = False
                async for _ in self._conn.notifies(timeout=_PROBE_INTERVAL, stop_after=1):
                    self._notified = True

    async def _read_changes(self, conn: AsyncConnection) -> None:
        queried = asyncio.get_running_loop().time()
        if self.position is None:  # changes before the start have no events
            self.position = Position(await self._within_timeout(queries.newest_batch(conn)))
        revisions = await self._within_timeout(queries.revisions(conn))
        if revisions != self._revisions:
            await self._read_events(conn, self.position)
            self._revisions = revisions
        reconnected, self._queried = self._queried is None, queried
        if reconnected:
            self._wake()

    async def _read_events(self, conn: AsyncConnection, position: Position) -> None:
        more = True
        while more:
            found, position, more = await self._within_timeout(fetch_events(conn, None, position))
            for event in found:
                self._ring[self.end % len(self._ring)] = event
                self.end += 1
            self.position = position
            self._wake()

    async def _within_timeout(self, query: Awaitable[T]) -> T:
        deadline = asyncio.get_running_loop().call_later(_QUERY_TIMEOUT, self._disconnect)
        try:
            return await query
        finally:
            deadline.cancel()

    def _disconnect(self) -> None:
        if self._conn is not None:
            disconnect(self._conn)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
