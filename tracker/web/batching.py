"""Price pages for concurrent requests: queries that meet share a round trip to the database.

A round trip costs this process more than a page does. So two are under way for each statement, and
the queries that arrive meanwhile go together with the next; a single client waits for nobody. The
server
answers the queries of a round trip one after the other, though: where that is slow, fewer go
together and more round trips are under way, so that slow queries do not share one time-out.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from psycopg import AsyncConnection

from tracker import queries
from tracker.errors import DatabaseDown
from tracker.queries.prices import PageQuery, PricePage
from tracker.web.database import DEADLINE, Database

MAX_BATCH = 16  # queries
MAX_LINES = 1000  # of all pages of a batch; a single one may have as many
MAX_WAITING = 500  # queries for each statement

_MAX_SECONDS = 0.02  # that a batch may take, by the pace of the last one
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
        self._database = database
        self._fetch = fetch
        self._max_waiting = max_waiting
        self._queues: dict[tuple[bool, bool], _Queue] = {}

    @staticmethod
    def deadline() -> float:
        """Until when a request that begins now may wait for its pages, on the loop's clock."""
        return asyncio.get_running_loop().time() + DEADLINE

    async def fetch(self, query: PageQuery, deadline: float) -> PricePage:
        """The page of *query*. Raises DatabaseDown, MigrationsPending."""
        statement = (query.ascending, query.with_source)
        if statement not in self._queues:
            self._queues[statement] = _Queue(self._database, self._fetch, self._max_waiting)
        return await self._queues[statement].fetch(query, deadline)


@dataclass(frozen=True, slots=True)
class _Pending:
    """A query whose page is awaited. alone: it must not share a batch again."""

    query: PageQuery
    deadline: float
    page: asyncio.Future[PricePage]
    alone: bool = False


class _Queue:
    """The queries of one statement."""

    def __init__(self, database: Database, fetch: Fetch, max_waiting: int) -> None:
        self._database = database
        self._fetch = fetch
        self._max_waiting = max_waiting
        self._pending: deque[_Pending] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._active = 0
        self._pace = 0.0  # seconds that the server took for a query of the last batch

    async def fetch(self, query: PageQuery, deadline: float) -> PricePage:
        if len(self._pending) >= self._max_waiting:
            raise DatabaseDown(f"{self._max_waiting} queries wait for it already")
        pending = _Pending(query, deadline, asyncio.get_running_loop().create_future())
        self._pending.append(pending)
        self._start_worker()
        return await pending.page

    def _start_worker(self) -> None:
        """Have one more round trip under way, if there may be."""
        if self._active < (_MIN_WORKERS if self._batch_size == MAX_BATCH else _MAX_WORKERS):
            self._active += 1
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    @property
    def _batch_size(self) -> int:
        """How many queries may share a round trip."""
        if self._pace * MAX_BATCH <= _MAX_SECONDS:
            return MAX_BATCH
        return max(1, int(_MAX_SECONDS / self._pace))

    async def _work(self) -> None:
        """Fetch batches while queries are pending; nothing may await after the last check."""
        try:
            while self._pending:
                await self._fetch_batch(self._next_batch())
        finally:
            self._active -= 1

    def _next_batch(self) -> list[_Pending]:
        """The queries that have waited longest, as many as may go together."""
        batch, lines = [self._pending.popleft()], 0
        while self._pending and len(batch) < self._batch_size:
            lines += batch[-1].query.count
            if lines + self._pending[0].query.count > MAX_LINES:
                break
            if batch[0].alone or self._pending[0].alone:
                break
            batch.append(self._pending.popleft())
        return batch

    async def _fetch_batch(self, batch: Sequence[_Pending]) -> None:
        async def fetch(conn: AsyncConnection) -> list[PricePage]:
            return await self._fetch(conn, [pending.query for pending in batch])

        try:
            deadline = min(pending.deadline for pending in batch)
            pages = await self._database.run(fetch, deadline)
            for pending, page in zip(batch, pages, strict=True):
                if not pending.page.done():
                    pending.page.set_result(page)
            self._pace = max(page.seconds for page in pages) / len(batch)
        except Exception as error:  # noqa: BLE001 -- raised where the page is awaited
            self._handle_failure(batch, error)

    def _handle_failure(self, batch: Sequence[_Pending], error: Exception) -> None:
        """Retry each query of a failed batch alone: it may be the fault of one."""
        unresolved = [pending for pending in batch if not pending.page.done()]
        if len(batch) == 1:
            for pending in unresolved:
                pending.page.set_exception(error)
            return
        self._pace = _MAX_SECONDS
        self._pending.extendleft(replace(each, alone=True) for each in reversed(unresolved))
        for _ in unresolved:
            self._start_worker()
