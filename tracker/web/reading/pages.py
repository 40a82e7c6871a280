"""Pages of prices for many at once: questions that meet are put to the database as one.

A round trip costs this process more than an answer does. So of each kind two are under way at most,
and what is asked meanwhile goes along with the next. Who asks alone waits for nobody.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import AsyncConnection

from tracker.queries.prices import Lines, Question, Reading
from tracker.web.reading.database import DEADLINE, Database

MOST = 16  # questions in one round trip
MOST_LINES = 1000  # lines of all their answers; a single one may have as many

_AT_ONCE = 2  # round trips


class Pages:
    """The pages that are asked for, of one database."""

    def __init__(self, database: Database) -> None:
        """Read from *database*."""
        self._database = database
        self._kinds: dict[Reading, _Kind] = {}

    async def ask(self, reading: Reading, question: Question) -> Lines:
        """The answer that *reading* finds to *question*. Raises DatabaseDown, MigrationsPending."""
        if reading not in self._kinds:
            self._kinds[reading] = _Kind(self._database, reading)
        return await self._kinds[reading].ask(question)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question, and whoever waits for its answer until that moment of the loop's clock."""

    question: Question
    until: float
    answer: asyncio.Future[Lines]


class _Kind:
    """The questions that one query can answer together."""

    def __init__(self, database: Database, reading: Reading) -> None:
        self._database = database
        self._reading = reading
        self._waiting: deque[_Asked] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._working = 0

    async def ask(self, question: Question) -> Lines:
        loop = asyncio.get_running_loop()
        asked = _Asked(question, loop.time() + DEADLINE, loop.create_future())
        self._waiting.append(asked)
        if self._working < _AT_ONCE:
            self._working += 1
            worker = loop.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        return await asked.answer

    async def _work(self) -> None:
        """Nothing may come between the last look at who waits, and the end."""
        try:
            while self._waiting:
                await self._answer(self._next())
        finally:
            self._working -= 1

    def _next(self) -> list[_Asked]:
        """Those who have waited longest, as many as may go together."""
        some = [self._waiting.popleft()]
        lines = some[0].question.count
        while self._waiting and len(some) < MOST:
            lines += self._waiting[0].question.count
            if lines > MOST_LINES:
                break
            some.append(self._waiting.popleft())
        return some

    async def _answer(self, some: Sequence[_Asked]) -> None:
        async def read(conn: AsyncConnection) -> list[Lines]:
            return await self._reading(conn, [each.question for each in some])

        try:
            answers = await self._database.run(read, some[0].until)
        except Exception as error:  # noqa: BLE001 -- each who asked raises it
            for each in some:
                if not each.answer.done():
                    each.answer.set_exception(error)
        else:
            for each, answer in zip(some, answers, strict=True):
                if not each.answer.done():
                    each.answer.set_result(answer)
