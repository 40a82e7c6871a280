"""Pages of prices for many at once: queries that meet are put to the database as one.

A round trip costs this process more than an answer does. So of each kind two are under way, and
what is asked meanwhile goes along with the next; who asks alone waits for nobody. The server
answers the queries of a trip one after the other, though: where that takes long, fewer go
together, and more trips are under way.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from psycopg import AsyncConnection

from tracker.errors import DatabaseDown
from tracker.queries.prices import PageQuery, PageReader, PricePage
from tracker.web.reading.database import DEADLINE, Database
from tracker.web.reading.paging import Ask

MOST = 16  # queries in one round trip
MOST_LINES = 1000  # lines of all their answers; a single one may have as many
MOST_WAITING = 500  # queries of a kind

_LONG = 0.02  # seconds that a round trip of several queries may take, by the last one's pace
_FEW, _MANY = 2, 10  # round trips at once: where they are full, and where they are long


class Pages:
    """The pages that are asked for, of one database."""

    def __init__(self, database: Database) -> None:
        """Read from *database*."""
        self._database = database
        self._kinds: dict[PageReader, _Kind] = {}

    def asking(self) -> Ask:
        """How one request asks, within the time that it has: for all its queries together.

        To ask raises DatabaseDown, MigrationsPending.
        """
        return partial(self._ask, asyncio.get_running_loop().time() + DEADLINE)

    async def _ask(self, until: float, reader: PageReader, query: PageQuery) -> PricePage:
        if reader not in self._kinds:
            self._kinds[reader] = _Kind(self._database, reader)
        return await self._kinds[reader].ask(query, until)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query, and whoever waits for its answer until that moment of the loop's clock.

    alone: it is not to go together with others again.
    """

    query: PageQuery
    until: float
    answer: asyncio.Future[PricePage]
    alone: bool = False


class _Kind:
    """The queries that one statement can answer together."""

    def __init__(self, database: Database, reader: PageReader) -> None:
        self._database = database
        self._reader = reader
        self._waiting: deque[_Asked] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._working = 0
        self._pace = 0.0  # seconds that the server took for a query of the last round trip

    async def ask(self, query: PageQuery, until: float) -> PricePage:
        if len(self._waiting) >= MOST_WAITING:
            raise DatabaseDown(f"{MOST_WAITING} questions wait for it already")
        loop = asyncio.get_running_loop()
        asked = _Asked(query, until, loop.create_future())
        self._waiting.append(asked)
        self._engage()
        return await asked.answer

    def _engage(self) -> None:
        """Have one more round trip under way, if there may be."""
        if self._working < (_FEW if self._together == MOST else _MANY):
            self._working += 1
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    @property
    def _together(self) -> int:
        """How many queries may share a round trip."""
        return MOST if self._pace * MOST <= _LONG else max(1, int(_LONG / self._pace))

    async def _work(self) -> None:
        """Nothing may come between the last look at who waits, and the end."""
        try:
            while self._waiting:
                await self._answer(self._next())
        finally:
            self._working -= 1

    def _next(self) -> list[_Asked]:
        """Those who have waited longest, as many as may go together."""
        some, lines = [self._waiting.popleft()], 0
        while self._waiting and len(some) < self._together:
            lines += some[-1].query.count
            if lines + self._waiting[0].query.count > MOST_LINES:
                break
            if some[0].alone or self._waiting[0].alone:
                break
            some.append(self._waiting.popleft())
        return some

    async def _answer(self, some: Sequence[_Asked]) -> None:
        try:
            answers = await self._read(some)
            for asked, answer in zip(some, answers, strict=True):
                if not asked.answer.done():
                    asked.answer.set_result(answer)
            self._pace = max(answer.seconds for answer in answers) / len(some)
        except Exception as error:  # noqa: BLE001 -- whoever asked raises it
            self._fail(some, error)

    async def _read(self, some: Sequence[_Asked]) -> list[PricePage]:
        async def read(conn: AsyncConnection) -> list[PricePage]:
            return await self._reader(conn, [asked.query for asked in some])

        return await self._database.run(read, min(asked.until for asked in some))

    def _fail(self, some: Sequence[_Asked], error: Exception) -> None:
        """What fails for several is asked again for each: it may be the trouble of one."""
        left = [asked for asked in some if not asked.answer.done()]
        if len(some) == 1:
            for asked in left:
                asked.answer.set_exception(error)
            return
        self._pace = _LONG
        self._waiting.extendleft(replace(asked, alone=True) for asked in reversed(left))
        for _ in left:
            self._engage()
