"""Questions that meet go together: each has the answer that it would have alone."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import AsyncConnection

from tests.conftest import Run
from tracker import queries
from tracker.errors import DatabaseDown, MigrationsPending
from tracker.models import FIRST, LAST, MINUTE
from tracker.queries.prices import Lines, Question, Reading
from tracker.settings import Settings
from tracker.web.answer.lines import Form
from tracker.web.reading.database import Database
from tracker.web.reading.pages import MOST, MOST_LINES, Pages
from tracker.web.reading.paging import alone

START = datetime(2024, 1, 1, tzinfo=UTC)
FORMS = {
    queries.price_pages: Form("application/json"),
    queries.rising_pages: Form("text/csv"),
    queries.sourced_pages: Form("text/csv", ("source", "observed_at")),
    queries.sourced_rising_pages: Form("application/json", ("observed_at",)),
}

moments = st.sampled_from([FIRST, LAST]) | st.integers(-3, 1203).map(
    lambda number: START + number * 100 * MINUTE  # over three months
)
counts = st.sampled_from([1, 2, 50, 400, 1000])


@st.composite
def kinds_and_questions(draw: st.DrawFn) -> tuple[Reading, Question]:
    """A question, and what is to read its answer."""
    reading = draw(st.sampled_from(list(FORMS)))
    ticker = draw(st.sampled_from(["btc_usd", "eth_usd", "sol_usd"]))
    since, until = sorted([draw(moments), draw(moments)])
    return reading, Question(ticker, FORMS[reading].frame(ticker), since, until, draw(counts))


@pytest.fixture(scope="module")
def archive(base: Settings) -> Settings:
    """Two indexes over three months, a price every hundred minutes."""
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO prices (ticker, price, created_at, source, observed_at)"
            " SELECT ticker, 1.50 + number, %s::timestamptz + number * interval '100 min',"
            " CASE WHEN number %% 3 = 0 THEN 'chart' ELSE 'poll' END,"
            " %s::timestamptz + number * interval '100 min' + interval '1.25 s'"
            " FROM generate_series(0, 1200) AS number,"
            " unnest(ARRAY['btc_usd', 'eth_usd']) AS ticker",
            [START, START],
        )
    return base


@pytest.fixture(scope="module")
def database(run: Run, archive: Settings) -> Iterator[Database]:
    """As the API has it."""
    opened = Database.opened(archive.database_dsn)
    yield run(opened.__aenter__())
    run(opened.__aexit__(None, None, None))


@pytest.fixture
def pages(database: Database) -> Pages:
    """Of that database."""
    return Pages(database)


@settings(deadline=None)
@given(asked=st.lists(kinds_and_questions(), min_size=1, max_size=60))
def test_together_as_alone(
    run: Run, database: Database, reader: AsyncConnection, asked: list[tuple[Reading, Question]]
) -> None:
    """Of any kind, length and number, all at the same time."""
    together = Pages(database)

    async def both() -> tuple[list[Lines], list[Lines]]:
        met = await asyncio.gather(*(together.ask(*each) for each in asked))
        return met, [await alone(reader)(*each) for each in asked]

    met, by_itself = run(both())
    assert met == by_itself


def question(number: int, count: int = 5) -> Question:
    """About a moment of its own."""
    return Question(
        "btc_usd", FORMS[queries.price_pages].frame("btc_usd"), FIRST, at(number), count
    )


def at(number: int) -> datetime:
    """The minute of the price of that *number*."""
    return START + number * 100 * MINUTE


class Noted:
    """A reading that notes how many questions came together."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.lines: list[int] = []

    async def __call__(self, conn: AsyncConnection, asked: Sequence[Question]) -> list[Lines]:
        self.sizes.append(len(asked))
        self.lines.append(sum(each.count for each in asked))
        return await queries.price_pages(conn, asked)


def test_who_asks_alone_waits_for_nobody(run: Run, pages: Pages) -> None:
    """One after the other: each in a round trip of its own."""
    noted = Noted()

    async def ask() -> list[datetime | None]:
        return [(await pages.ask(noted, question(number))).near for number in range(5)]

    assert run(ask()) == [at(number) for number in range(5)]
    assert noted.sizes == [1] * 5


@pytest.mark.parametrize(
    ("count", "asked"), [(1, 3 * MOST), (300, 20), (MOST_LINES, 4), (MOST_LINES - 1, 7)]
)
def test_many_go_together_but_not_too_many(run: Run, pages: Pages, count: int, asked: int) -> None:
    """In few round trips, none of them long; each has the answer to its own question."""
    noted = Noted()

    async def ask() -> list[Lines]:
        numbers = range(asked)
        return await asyncio.gather(*(pages.ask(noted, question(n, count)) for n in numbers))

    assert [found.near for found in run(ask())] == [at(number) for number in range(asked)]
    assert sum(noted.sizes) == asked
    assert max(noted.sizes) <= MOST
    assert all(lines <= max(MOST_LINES, count) for lines in noted.lines)
    assert len(noted.sizes) <= 1 + asked * max(1 / MOST, count / (MOST_LINES - count + 1))


def test_who_leaves_takes_nothing_from_the_others(run: Run, pages: Pages) -> None:
    """Neither before nor while the question is under way."""

    async def ask() -> list[datetime | None]:
        asking = [
            asyncio.ensure_future(pages.ask(queries.price_pages, question(number)))
            for number in range(40)
        ]
        await asyncio.sleep(0)
        for each in asking[::2]:
            each.cancel()
        found = [await each for each in asking[1::2]]
        assert all(each.cancelled() for each in asking[::2])
        return [each.near for each in found]

    assert run(ask()) == [at(number) for number in range(1, 40, 2)]
    assert run(pages.ask(queries.price_pages, question(7))).near == at(7)


@pytest.mark.parametrize(
    ("statement", "error"),
    [("SELECT pg_sleep(9)", DatabaseDown), ("SELECT 1 FROM nowhere", MigrationsPending)],
)
def test_an_error_reaches_everyone_and_then_is_over(
    run: Run, pages: Pages, statement: str, error: type[Exception]
) -> None:
    """In time for the last, too."""

    async def failing(conn: AsyncConnection, _: Sequence[Question]) -> list[Lines]:
        await conn.execute(statement)
        return []

    async def ask() -> list[object]:
        asking = [pages.ask(failing, question(number)) for number in range(100)]
        async with asyncio.timeout(8):
            return await asyncio.gather(*asking, return_exceptions=True)

    assert {type(each) for each in run(ask())} == {error}
    assert run(pages.ask(failing_no_more, question(3))).near == at(3)


async def failing_no_more(conn: AsyncConnection, asked: Sequence[Question]) -> list[Lines]:
    """Another kind of question, on the same connections."""
    return await queries.price_pages(conn, asked)
