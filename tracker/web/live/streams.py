"""The streams that are open: how many there may be, how each is written, and how each ends."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass

from psycopg import AsyncConnection
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tracker.web.live import changes, events
from tracker.web.live.changes import Page
from tracker.web.live.feed import Feed
from tracker.web.live.follower import Behind, Follower
from tracker.web.live.line import Line, line_of
from tracker.web.live.position import Position
from tracker.web.metrics import Metrics
from tracker.web.reading.database import Database

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Connection": "close"}

_READING = 4  # of the pool's connections: other requests need some too


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How streams are kept going.

    heartbeat: seconds without an event until a sign of life.
    patience: seconds that a write may wait for the client to read.
    linger: seconds that a client has to read why it was dropped.
    parting: the same when the server stops.
    kept: events that the feed keeps for those who read slowly.
    """

    heartbeat: float = 15.0
    patience: float = 30.0
    linger: float = 5.0
    parting: float = 0.5
    kept: int = 4096


DEFAULT_PACE = Pace()


class Streams:
    """What all streams share."""

    def __init__(
        self, feed: Feed, database: Database, metrics: Metrics, limit: int, pace: Pace
    ) -> None:
        """Up to *limit* clients of *feed*."""
        self.feed = feed
        self.limit = limit
        self.pace = pace
        self.metrics = metrics
        self._database = database
        self._reading = asyncio.Semaphore(_READING)
        self._clients = 0

    @property
    def full(self) -> bool:
        """Whether there is no place left."""
        return self._clients >= self.limit

    @contextmanager
    def place(self) -> Iterator[None]:
        """A client's place, as long as the block."""
        self._clients += 1
        self.metrics.show_streams(self._clients)
        try:
            yield
        finally:
            self._clients -= 1
            self.metrics.show_streams(self._clients)

    async def read(self, ticker: str, position: Position) -> Page:
        """What changed of *ticker* after *position*. Raises DatabaseDown, MigrationsPending."""

        async def page(conn: AsyncConnection) -> Page:
            return await changes.page(conn, ticker, position)

        try:
            async with self._reading:
                return await self._database.run(page)
        finally:
            _heed_cancellation()


class EventStream(Response):
    """A stream to one client, until it goes away, reads too slowly, or the server stops."""

    def __init__(self, streams: Streams, follower: Follower | None = None) -> None:
        """All that *follower* finds; without one, the headers."""
        super().__init__(None, 200, HEADERS, "text/event-stream")
        del self.headers["content-length"]
        self._streams = streams
        self._follower = follower

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve it; whoever calls has seen that there is a place."""
        if self._follower is None:
            await super().__call__(scope, receive, send)
            return
        line, pace = line_of(scope), self._streams.pace
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        line.narrow()
        with self._streams.place():
            await send(start)
            kept_up = await self._write_until_end(line, self._follower, send)
        if line.closed.is_set():
            return
        if not kept_up:
            self._streams.metrics.count_dropped()
            await _part(line, send, events.last("dropped", "it read too slowly"), pace.linger)
        else:
            await _part(line, send, events.last("bye", "the server stops"), pace.parting)

    async def _write_until_end(self, line: Line, follower: Follower, send: Send) -> bool:
        """Write until the line has ended; or until the client has not kept up: false."""
        writing = asyncio.create_task(self._write(follower, send))
        line.cancels(writing)
        try:
            await writing
        except (Behind, TimeoutError):
            return False
        except asyncio.CancelledError:
            if not line.ended:
                raise
        return True

    async def _write(self, follower: Follower, send: Send) -> None:
        """Raises Behind, TimeoutError."""
        pace = self._streams.pace
        async with aclosing(follower.pieces(pace.heartbeat)) as pieces:
            async for piece in pieces:
                async with asyncio.timeout(pace.patience):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})


def _heed_cancellation() -> None:
    """Raise it again: Python 3.11's wait_for loses one that comes together with the result."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _part(line: Line, send: Send, words: bytes, seconds: float) -> None:
    line.press()
    await send({"type": "http.response.body", "body": words})
    await line.part(seconds)
