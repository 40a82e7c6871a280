"""Price pages for concurrent requests: queries that meet share a round trip to the database.

A round trip costs this process more than a page does. Therefore two are in progress for each
statement, and the queries that arrive meanwhile share the next one; a single client never waits for
another. The server runs the queries of a round trip one after the other: where that is slow, fewer
share one and more are in progress, so that slow queries do not share one timeout.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import cast

from psycopg import AsyncConnection

from tracker import queries
from tracker.errors import DatabaseDown
from tracker.queries.prices import PageQuery, PricePage
from tracker.web.database import Database

MAX_BATCH = 16  # queries
MAX_LINES = 1000  # of all pages of a batch; a single one may have as many
MAX_WAITING = 500  # queries for each statement

_MAX_SECONDS = 0.02  # that a batch may take, by the time of the last one
# Round trips at once, where batches are full and where they are slow.
_MIN_WORKERS, _MAX_WORKERS = 2, 10


Fetch = Callable[[AsyncConnection, Sequence[PageQuery]], Awaitable[list[PricePage]]]


class PageBatcher:
    """Fetches pages of prices from one database."""

    def __init__(
        self,
        database: Database,
        fetch: Fetch = queries.price_pages,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        """Read from *database*, by *fetch*; up to *max_waiting* queries of a statement may wait."""
        self._max_waiting = max_waiting
        self._queues = {
            (ascending, with_source): _Queue(database, fetch)
            for ascending, with_source in product((False, True), repeat=2)
        }

    async def fetch(self, query: PageQuery, deadline: float) -> PricePage:
        """The page of *query*, until *deadline* on the loop's clock.

        Raises DatabaseDown, MigrationsPending.
        """
        queue = self._queues[query.ascending, query.with_source]
        if len(queue.pending) >= self._max_waiting:
            raise DatabaseDown(f"{self._max_waiting} queries are waiting already")
        pending = _Pending(query, deadline, asyncio.get_running_loop().create_future())
        queue.pending.append(pending)
        queue.start_worker()
        return await pending.page


@dataclass(frozen=True, slots=True)
class _Pending:
    """A query whose page is awaited. alone: it must not share a batch again."""

    query: PageQuery
    deadline: float
    page: asyncio.Future[PricePage]
    alone: bool = False


class _Queue:
    """The queries of one statement."""

    def __init__(self, database: Database, fetch: Fetch) -> None:
        self._database = database
        self._fetch = fetch
        self.pending: deque[_Pending] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._batch_size = MAX_BATCH  # queries that may share a round trip

    def start_worker(self) -> None:
        """Start one more round trip, up to the limit."""
        if len(self._workers) < (_MIN_WORKERS if self._batch_size == MAX_BATCH else _MAX_WORKERS):
            self._workers.add(asyncio.create_task(self._work()))

    async def _work(self) -> None:
        """Fetch batches of the queries that have waited longest, while any are pending."""
        try:
            while self.pending:
                batch = [self.pending.popleft()]
                lines = batch[0].query.count
                while self.pending and len(batch) < self._batch_size:
                    lines += self.pending[0].query.count
                    if lines > MAX_LINES or batch[0].alone or self.pending[0].alone:
                        break
                    batch.append(self.pending.popleft())
                await self._fetch_batch(batch)
        finally:  # without an await after the last check of what is pending
            self._workers.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _fetch_batch(self, batch: Sequence[_Pending]) -> None:
        batch_queries = [pending.query for pending in batch]
        try:
            pages = await self._database.run(
                lambda conn: self._fetch(conn, batch_queries),
                min(pending.deadline for pending in batch),
            )
            for pending, page in zip(batch, pages, strict=True):
                if not pending.page.done():
                    pending.page.set_result(page)
        except Exception as error:  # noqa: BLE001 -- raised where the page is awaited
            self._handle_failure(batch, error)
        else:
            seconds = max(page.seconds for page in pages) / len(batch)
            fitting = int(_MAX_SECONDS / seconds) if seconds else MAX_BATCH
            self._batch_size = min(max(fitting, 1), MAX_BATCH)

    def _handle_failure(self, batch: Sequence[_Pending], error: Exception) -> None:
        """Retry each query of a failed batch alone: it may be the fault of one."""
        unresolved = [pending for pending in batch if not pending.page.done()]
        if len(batch) == 1:
            for pending in unresolved:
                pending.page.set_exception(error)
            return
        self._batch_size = 1
        self.pending.extendleft(replace(each, alone=True) for each in reversed(unresolved))
        for _ in unresolved:
            self.start_worker()
