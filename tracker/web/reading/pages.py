"""Pages of prices for many at once: questions that meet are put to the database as one.

A round trip costs this process more than an answer does. So of each kind two are under way, and
what is asked meanwhile goes along with the next; who asks alone waits for nobody. The server
answers the questions of a trip one after the other, though: where that takes long, fewer go
together, and more trips are under way.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from psycopg import AsyncConnection

from tracker.errors import DatabaseDown
from tracker.queries.prices import Lines, Question, Reading
from tracker.web.reading.database import DEADLINE, Database
from tracker.web.reading.paging import Ask

MOST = 16  # questions in one round trip
MOST_LINES = 1000  # lines of all their answers; a single one may have as many
MOST_WAITING = 500  # questions of a kind

_LONG = 0.02  # seconds that a round trip of several questions may take, by the last one's pace
_FEW, _MANY = 2, 10  # round trips at once: where they are full, and where they are long


class Pages:
    """The pages that are asked for, of one database."""

    def __init__(self, database: Database) -> None:
        """Read from *database*."""
        self._database = database
        self._kinds: dict[Reading, _Kind] = {}

    def asking(self) -> Ask:
        """How one request asks, within the time that it has: for all its questions together.

        To ask raises DatabaseDown, MigrationsPending.
        """
        return partial(self._ask, asyncio.get_running_loop().time() + DEADLINE)

    async def _ask(self, until: float, reading: Reading, question: Question) -> Lines:
        if reading not in self._kinds:
            self._kinds[reading] = _Kind(self._database, reading)
        return await self._kinds[reading].ask(question, until)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question, and whoever waits for its answer until that moment of the loop's clock.

    alone: it is not to go together with others again.
    """

    question: Question
    until: float
    answer: asyncio.Future[Lines]
    alone: bool = False


class _Kind:
    """The questions that one query can answer together."""

    def __init__(self, database: Database, reading: Reading) -> None:
        self._database = database
        self._reading = reading
        self._waiting: deque[_Asked] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._working = 0
        self._pace = 0.0  # seconds that the server took for a question of the last round trip

    async def ask(self, question: Question, until: float) -> Lines:
        if len(self._waiting) >= MOST_WAITING:
            raise DatabaseDown(f"{MOST_WAITING} questions wait for it already")
        loop = asyncio.get_running_loop()
        asked = _Asked(question, until, loop.create_future())
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
        """How many questions may share a round trip."""
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
            lines += some[-1].question.count
            if lines + self._waiting[0].question.count > MOST_LINES:
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

    async def _read(self, some: Sequence[_Asked]) -> list[Lines]:
        async def read(conn: AsyncConnection) -> list[Lines]:
            return await self._reading(conn, [asked.question for asked in some])

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
