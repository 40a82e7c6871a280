"""GET /prices/stream: the events of each client, and the end of a stream."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tracker.errors import DatabaseDown, MigrationsPending
from tracker.web.connection import Connection, connection_of
from tracker.web.database import Database
from tracker.web.instrumentation import Metrics
from tracker.web.stream.events import (
    HEARTBEAT,
    START,
    Event,
    EventPage,
    Position,
    encode_end,
    encode_start,
    fetch_events,
    join_pieces,
)
from tracker.web.stream.feed import Feed

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Connection": "close"}

_MAX_EVENTS = 250  # that are sent at once
_PIECE = 16_384  # bytes of a write
_CHECK_INTERVAL = 1.0  # seconds
_MAX_READERS = 4  # of the pool's connections; the rest is for other requests


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """Options of streams; times are seconds.

    heartbeat: without an event until a comment is sent.
    retry: until a client reconnects, longer than most restarts of the API.
    write_timeout: that a write may wait for the client to read.
    linger: that a slow consumer has to read the reason before it is disconnected.
    goodbye: the same when the server stops.
    feed_size: events that the feed buffers for clients that read slowly.
    """

    heartbeat: float = 15.0
    retry: float = 5.0
    write_timeout: float = 30.0
    linger: float = 5.0
    goodbye: float = 0.5
    feed_size: int = 4096


DEFAULT_OPTIONS = StreamOptions()


class Streams:
    """The clients of the stream, and the resources that they share."""

    def __init__(
        self, feed: Feed, database: Database, metrics: Metrics, limit: int, options: StreamOptions
    ) -> None:
        """Up to *limit* clients of *feed*."""
        self.feed = feed
        self.limit = limit
        self.options = options
        self.metrics = metrics
        self._database = database
        self._readers = asyncio.Semaphore(_MAX_READERS)
        self._clients = 0

    @property
    def full(self) -> bool:
        """Whether the number of clients has reached the limit."""
        return self._clients >= self.limit

    @contextmanager
    def client(self) -> Iterator[None]:
        """Count one more client during the block."""
        self._clients += 1
        self.metrics.stream_clients.set(self._clients)
        try:
            yield
        finally:
            self._clients -= 1
            self.metrics.stream_clients.set(self._clients)

    async def fetch_missed(self, tickers: Collection[str] | None, position: Position) -> EventPage:
        """The changes of *tickers* (None: of all) after *position*.

        Raises DatabaseDown, MigrationsPending.
        """
        try:
            async with self._readers:
                return await self._database.run(lambda conn: fetch_events(conn, tickers, position))
        finally:
            # Python 3.11's wait_for loses a cancellation that comes together with the result.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError


class ClientTooSlow(Exception):
    """The feed no longer has the next event of the client."""


class Subscriber:
    """Reads missed events of a client from the change log, then new events from the feed."""

    def __init__(
        self, streams: Streams, tickers: Collection[str] | None, resume: Position | None = None
    ) -> None:
        """Follow *tickers* (None: all, also new ones) from *resume*, or else from now on."""
        self._streams = streams
        self._feed = streams.feed
        self._tickers = None if tickers is None else frozenset(tickers)
        newest = self._feed.position or START
        self._position = newest if resume is None else resume
        self._next = self._feed.end if self._position == newest else None  # of the feed's events

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Events as soon as they are read, and a comment after some seconds without one.

        Raises ClientTooSlow.
        """
        clock = asyncio.get_running_loop().time
        heartbeat = self._streams.options.heartbeat
        due = clock() + heartbeat
        yield encode_start(self._position, heartbeat, self._streams.options.retry)
        while True:
            reading, found = self._next, await self._next_events()
            for piece in join_pieces([event.lines for event in found if event.lines], _PIECE):
                yield piece
                due = clock() + heartbeat
            if not found and self._next == reading:  # nothing new, or no response of the database
                await self._feed.wait_for_change(min(due - clock(), _CHECK_INTERVAL))
            if clock() >= due:
                yield HEARTBEAT
                due = clock() + heartbeat

    async def _next_events(self) -> list[Event]:
        if self._next is None:
            return await self._fetch_missed()
        found = self._feed.events_since(self._next, _MAX_EVENTS)
        if found is None:
            raise ClientTooSlow
        self._next += len(found)
        return [event for event in found if self._is_followed(event) and self._is_new(event)]

    async def _fetch_missed(self) -> list[Event]:
        """The next missed events; none while the database does not respond.

        Once all are read the feed continues, unless it has advanced meanwhile.
        """
        try:
            page = await self._streams.fetch_missed(self._tickers, self._position)
        except (DatabaseDown, MigrationsPending):
            return []
        self._position = page.position
        if not page.more and (self._feed.position or START) <= page.position:
            self._next = self._feed.end
        return page.events

    def _is_followed(self, event: Event) -> bool:
        return self._tickers is None or event.ticker in self._tickers

    def _is_new(self, event: Event) -> bool:
        """Whether the client does not have it from the change log already."""
        is_new = event.position > self._position or event.restarts
        if is_new:
            self._position = event.position
        return is_new


class EventStream(Response):
    """A stream to one client, until it disconnects, reads too slowly, or the server stops."""

    def __init__(self, streams: Streams, subscriber: Subscriber | None = None) -> None:
        """Send what *subscriber* reads; without one, the headers alone."""
        super().__init__(None, 200, HEADERS, "text/event-stream")
        del self.headers["content-length"]
        self._streams = streams
        self._subscriber = subscriber

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve it; the caller has checked that there is room for one more client."""
        if self._subscriber is None:
            await super().__call__(scope, receive, send)
            return
        options = self._streams.options
        async with connection_of(scope, receive) as connection:
            connection.limit_buffer()
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            with self._streams.client():
                await send(start)
                kept_up = await self._write_until_end(connection, self._subscriber, send)
            if connection.closed.is_set():
                return
            if kept_up:
                end, seconds = encode_end("bye", "the server stops"), options.goodbye
            else:
                self._streams.metrics.stream_dropped.inc()
                end, seconds = encode_end("dropped", "the client read too slowly"), options.linger
            connection.resume_writing()
            await send({"type": "http.response.body", "body": end})
            await connection.hang_up(seconds)

    async def _write_until_end(
        self, connection: Connection, subscriber: Subscriber, send: Send
    ) -> bool:
        """Write until the connection has ended; false if the client has not kept up."""
        writing = asyncio.create_task(self._write(subscriber, send))
        connection.cancel_at_end(writing)
        try:
            await writing
        except (ClientTooSlow, TimeoutError):
            return False
        except asyncio.CancelledError:
            if not connection.ended:
                raise
        return True

    async def _write(self, subscriber: Subscriber, send: Send) -> None:
        """Raises ClientTooSlow, TimeoutError."""
        async with aclosing(subscriber.pieces()) as pieces:
            async for piece in pieces:
                async with asyncio.timeout(self._streams.options.write_timeout):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
