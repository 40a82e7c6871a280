"""Questions that meet go together: each has the answer that it would have alone."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import AsyncConnection

from tests.support.servers import Run
from tracker import queries
from tracker.errors import DatabaseDown, MigrationsPending
from tracker.queries.prices import PageBatch, PageQuery, PageReader, PricePage
from tracker.settings import Settings
from tracker.times import FIRST, LAST, MINUTE
from tracker.web.answer.lines import Form
from tracker.web.reading.database import Database
from tracker.web.reading.pages import MOST, MOST_LINES, Pages
from tracker.web.reading.paging import alone

START = datetime(2024, 1, 1, tzinfo=UTC)
FORMS: dict[PageReader, Form] = {
    queries.price_pages: Form("application/json"),
    partial(queries.price_pages, ascending=True): Form("text/csv"),
    partial(queries.price_pages, sourced=True): Form("text/csv", ("source", "observed_at")),
    partial(queries.price_pages, ascending=True, sourced=True): Form(
        "application/json", ("observed_at",)
    ),
}

moments = st.sampled_from([FIRST, LAST]) | st.integers(-3, 1203).map(
    lambda number: START + number * 100 * MINUTE  # over three months
)
counts = st.sampled_from([1, 2, 50, 400, 1000])


@st.composite
def kinds_and_questions(draw: st.DrawFn) -> tuple[PageReader, PageQuery]:
    """A question, and what is to read its answer."""
    reading = draw(st.sampled_from(list(FORMS)))
    ticker = draw(st.sampled_from(["btc_usd", "eth_usd", "sol_usd"]))
    since, until = sorted([draw(moments), draw(moments)])
    return reading, PageQuery(ticker, FORMS[reading].template(ticker), since, until, draw(counts))


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
    run: Run, database: Database, reader: AsyncConnection, asked: list[tuple[PageReader, PageQuery]]
) -> None:
    """Of any kind, length and number, all at the same time."""
    together = Pages(database)

    async def both() -> tuple[list[PricePage], list[PricePage]]:
        met = await asyncio.gather(*(together.asking()(*each) for each in asked))
        return met, [await alone(reader)(*each) for each in asked]

    met, by_itself = run(both())
    assert met == by_itself


def question(number: int, count: int = 5) -> PageQuery:
    """About a moment of its own."""
    return PageQuery(
        "btc_usd", FORMS[queries.price_pages].template("btc_usd"), FIRST, at(number), count
    )


def at(number: int) -> datetime:
    """The minute of the price of that *number*."""
    return START + number * 100 * MINUTE


async def asked(pages: Pages, number: int) -> PricePage:
    """The answer to that question."""
    return await pages.asking()(queries.price_pages, question(number))


class Noted:
    """A reading that notes how many questions came together, and takes its time for each."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.sizes: list[int] = []
        self.lines: list[int] = []
        self._seconds = seconds

    async def __call__(self, conn: AsyncConnection, asked: PageBatch) -> list[PricePage]:
        self.sizes.append(len(asked))
        self.lines.append(sum(each.count for each in asked))
        if not self._seconds:
            return await queries.price_pages(conn, asked)
        took = self._seconds * len(asked)
        await conn.execute("SELECT pg_sleep(%s)", [took])
        return [replace(each, seconds=took) for each in await queries.price_pages(conn, asked)]


def test_who_asks_alone_waits_for_nobody(run: Run, pages: Pages) -> None:
    """One after the other: each in a round trip of its own."""
    noted = Noted()

    async def ask() -> list[datetime | None]:
        return [(await pages.asking()(noted, question(number))).first_at for number in range(5)]

    assert run(ask()) == [at(number) for number in range(5)]
    assert noted.sizes == [1] * 5


@pytest.mark.parametrize(
    ("count", "asked"), [(1, 3 * MOST), (300, 20), (MOST_LINES, 4), (MOST_LINES - 1, 7)]
)
def test_many_go_together_but_not_too_many(run: Run, pages: Pages, count: int, asked: int) -> None:
    """In few round trips, none of them long; each has the answer to its own question."""
    noted = Noted()

    async def ask() -> list[PricePage]:
        numbers = range(asked)
        return await asyncio.gather(*(pages.asking()(noted, question(n, count)) for n in numbers))

    assert [found.first_at for found in run(ask())] == [at(number) for number in range(asked)]
    assert sum(noted.sizes) == asked
    assert max(noted.sizes) <= MOST
    assert all(lines <= max(MOST_LINES, count) for lines in noted.lines)
    fitting = max(1, MOST_LINES // count)
    assert len(noted.sizes) <= 2 + asked / min(MOST, fitting)


def test_who_leaves_takes_nothing_from_the_others(run: Run, pages: Pages) -> None:
    """Neither before nor while the question is under way."""

    async def ask() -> list[datetime | None]:
        asking = [asyncio.ensure_future(asked(pages, number)) for number in range(40)]
        await asyncio.sleep(0)
        for each in asking[::2]:
            each.cancel()
        found = [await each for each in asking[1::2]]
        assert all(each.cancelled() for each in asking[::2])
        return [each.first_at for each in found]

    assert run(ask()) == [at(number) for number in range(1, 40, 2)]
    assert run(asked(pages, 7)).first_at == at(7)


@pytest.mark.parametrize(
    ("statement", "error"),
    [("SELECT pg_sleep(9)", DatabaseDown), ("SELECT 1 FROM nowhere", MigrationsPending)],
)
def test_an_error_reaches_everyone_and_then_is_over(
    run: Run, pages: Pages, statement: str, error: type[Exception]
) -> None:
    """In time for the last, too."""
    fails = True

    async def failing(conn: AsyncConnection, asked: PageBatch) -> list[PricePage]:
        if fails:
            await conn.execute(statement)
        return await queries.price_pages(conn, asked)

    async def ask() -> list[object]:
        asking = [pages.asking()(failing, question(number)) for number in range(100)]
        async with asyncio.timeout(4):  # 1.5 s are promised; one after the other it would be 6
            return await asyncio.gather(*asking, return_exceptions=True)

    assert {type(each) for each in run(ask())} == {error}
    fails = False
    assert {each.first_at for each in run(ask())} == {at(number) for number in range(100)}


def test_the_trouble_of_one_is_nobody_elses(run: Run, pages: Pages) -> None:
    """Who was under way with it is asked for again."""

    async def picky(conn: AsyncConnection, asked: PageBatch) -> list[PricePage]:
        if any(each.count == 1 for each in asked):
            await conn.execute("SELECT 1 FROM nowhere")
        return await queries.price_pages(conn, asked)

    async def ask() -> list[object]:
        asking = [pages.asking()(picky, question(n, 1 if n == 7 else 5)) for n in range(20)]
        return await asyncio.gather(*asking, return_exceptions=True)

    found = run(ask())
    assert isinstance(found.pop(7), MigrationsPending)
    assert [each.first_at for each in found] == [at(number) for number in range(20) if number != 7]


def test_slow_questions_go_one_by_one(run: Run, pages: Pages) -> None:
    """Together they would outlast what each may take: after the first trips that is known."""
    noted = Noted(seconds=0.1)

    async def ask() -> list[object]:
        asking = [pages.asking()(noted, question(number)) for number in range(32)]
        return await asyncio.gather(*asking, return_exceptions=True)

    run(ask())
    noted.sizes.clear()
    assert [each.first_at for each in run(ask())] == [at(number) for number in range(32)]
    assert noted.sizes == [1] * 32


def test_a_request_has_one_deadline_for_all_its_questions(run: Run, pages: Pages) -> None:
    """A second question, of a second as the first, would otherwise be answered."""
    noted = Noted(seconds=1.0)

    async def ask() -> None:
        asking = pages.asking()
        await asking(noted, question(1))
        with pytest.raises(DatabaseDown):
            await asking(noted, question(2))

    run(ask())


def test_no_more_wait_than_can_be_answered(
    run: Run, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are told at once."""
    monkeypatch.setattr("tracker.web.reading.pages.MOST_WAITING", 5)

    async def ask() -> list[object]:
        return await asyncio.gather(*(asked(pages, n) for n in range(20)), return_exceptions=True)

    found = run(ask())
    assert [type(each) for each in found] == [PricePage] * 5 + [DatabaseDown] * 15
