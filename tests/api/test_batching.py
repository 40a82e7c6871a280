"""Concurrent page queries share a round trip; each returns what it would return alone."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import AsyncConnection

from tests.support.database import Run
from tracker import queries
from tracker.errors import DatabaseDown, MigrationsPending
from tracker.queries.prices import PageQuery, PricePage
from tracker.settings import Settings
from tracker.times import FIRST, LAST, MINUTE
from tracker.web.batching import MAX_BATCH, MAX_LINES, PageBatcher
from tracker.web.database import QUERY_DEADLINE, Database
from tracker.web.responses import CSV, JSON, PriceFormat

START = datetime(2024, 1, 1, tzinfo=UTC)
# By (ascending, with_source).
FORMATS = {
    (False, False): PriceFormat(JSON),
    (True, False): PriceFormat(CSV),
    (False, True): PriceFormat(CSV, ("source", "observed_at")),
    (True, True): PriceFormat(JSON, ("observed_at",)),
}

moments = st.sampled_from([FIRST, LAST]) | st.integers(-3, 1203).map(
    lambda number: START + number * 100 * MINUTE  # over three months
)
counts = st.sampled_from([1, 2, 50, 400, 1000])


@st.composite
def page_queries(draw: st.DrawFn) -> PageQuery:
    """A query of any kind."""
    ascending, with_source = draw(st.sampled_from(list(FORMATS)))
    ticker = draw(st.sampled_from(["btc_usd", "eth_usd", "sol_usd"]))
    since, until = sorted([draw(moments), draw(moments)])
    template = FORMATS[ascending, with_source].template(ticker)
    return PageQuery(ticker, template, since, until, draw(counts), ascending, with_source)


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
    """The API's pool on that database."""
    opened = Database.opened(archive.database_dsn)
    yield run(opened.__aenter__())
    run(opened.__aexit__(None, None, None))


@settings(deadline=None)
@given(batch=st.lists(page_queries(), min_size=1, max_size=60))
def test_concurrent_queries_return_what_single_ones_return(
    run: Run, database: Database, reader: AsyncConnection, batch: list[PageQuery]
) -> None:
    pages = PageBatcher(database)

    async def both() -> tuple[list[PricePage], list[PricePage]]:
        together = await fetch_all(pages, batch)
        return together, [(await queries.price_pages(reader, [each]))[0] for each in batch]

    together, alone = run(both())
    assert together == alone


async def fetch_all(pages: PageBatcher, batch: Sequence[PageQuery]) -> list[PricePage]:
    """The pages of *batch*, requested concurrently."""
    deadline = make_deadline()
    return await asyncio.gather(*(pages.fetch(each, deadline) for each in batch))


async def outcomes(pages: PageBatcher, batch: Sequence[PageQuery]) -> list[object]:
    """The same; errors are returned in their places."""
    deadline = make_deadline()
    fetches = [pages.fetch(each, deadline) for each in batch]
    return await asyncio.gather(*fetches, return_exceptions=True)


def make_deadline() -> float:
    """The deadline of a request that begins now."""
    return asyncio.get_running_loop().time() + QUERY_DEADLINE


def make_query(number: int, count: int = 5) -> PageQuery:
    """The query whose first price is that of *number*."""
    template = FORMATS[False, False].template("btc_usd")
    return PageQuery("btc_usd", template, FIRST, minute_of_price(number), count, ascending=False)


def minute_of_price(number: int) -> datetime:
    """The minute of the price of that *number*."""
    return START + number * 100 * MINUTE


class RecordingFetch:
    """Fetches pages, records the size of each batch, and takes *seconds* for each query."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.sizes: list[int] = []
        self.lines: list[int] = []
        self._seconds = seconds

    async def __call__(self, conn: AsyncConnection, batch: Sequence[PageQuery]) -> list[PricePage]:
        self.sizes.append(len(batch))
        self.lines.append(sum(each.count for each in batch))
        if not self._seconds:
            return await queries.price_pages(conn, batch)
        duration = self._seconds * len(batch)
        await conn.execute("SELECT pg_sleep(%s)", [duration])
        return [replace(each, seconds=duration) for each in await queries.price_pages(conn, batch)]


def test_single_client_has_a_round_trip_for_each_query(run: Run, database: Database) -> None:
    fetch = RecordingFetch()
    pages = PageBatcher(database, fetch)

    async def one_by_one() -> list[datetime | None]:
        deadline = make_deadline()
        return [(await pages.fetch(make_query(number), deadline)).first_at for number in range(5)]

    assert run(one_by_one()) == [minute_of_price(number) for number in range(5)]
    assert fetch.sizes == [1] * 5


@pytest.mark.parametrize(
    ("count", "number"), [(1, 3 * MAX_BATCH), (300, 20), (MAX_LINES, 4), (MAX_LINES - 1, 7)]
)
def test_batches_are_full_but_bounded(
    run: Run, database: Database, count: int, number: int
) -> None:
    fetch = RecordingFetch()
    batch = [make_query(each, count) for each in range(number)]
    found = run(fetch_all(PageBatcher(database, fetch), batch))

    assert [page.first_at for page in found] == [minute_of_price(each) for each in range(number)]
    assert sum(fetch.sizes) == number
    assert max(fetch.sizes) <= MAX_BATCH
    assert all(lines <= max(MAX_LINES, count) for lines in fetch.lines)
    fitting = max(1, MAX_LINES // count)
    assert len(fetch.sizes) <= 2 + number / min(MAX_BATCH, fitting)


def test_cancelled_query_does_not_affect_others(run: Run, database: Database) -> None:
    pages = PageBatcher(database)

    async def cancel_half() -> list[datetime | None]:
        deadline = make_deadline()
        tasks = [
            asyncio.ensure_future(pages.fetch(make_query(each), deadline)) for each in range(40)
        ]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        found = [await task for task in tasks[1::2]]
        assert all(task.cancelled() for task in tasks[::2])
        return [page.first_at for page in found]

    assert run(cancel_half()) == [minute_of_price(number) for number in range(1, 40, 2)]
    assert [page.first_at for page in run(fetch_all(pages, [make_query(7)]))] == [
        minute_of_price(7)
    ]


@pytest.mark.parametrize(
    ("statement", "error"),
    [("SELECT pg_sleep(9)", DatabaseDown), ("SELECT 1 FROM nowhere", MigrationsPending)],
)
def test_error_reaches_every_query_in_time(
    run: Run, database: Database, statement: str, error: type[Exception]
) -> None:
    fails = True

    async def failing_fetch(conn: AsyncConnection, batch: Sequence[PageQuery]) -> list[PricePage]:
        if fails:
            await conn.execute(statement)
        return await queries.price_pages(conn, batch)

    pages = PageBatcher(database, failing_fetch)

    async def request() -> list[object]:
        async with asyncio.timeout(4):  # 1.5 s are promised; one after the other it would be 6
            return await outcomes(pages, [make_query(number) for number in range(100)])

    assert {type(each) for each in run(request())} == {error}
    fails = False
    assert {each.first_at for each in run(request())} == {
        minute_of_price(number) for number in range(100)
    }


def test_failing_query_fails_alone(run: Run, database: Database) -> None:
    async def failing_once(conn: AsyncConnection, batch: Sequence[PageQuery]) -> list[PricePage]:
        if any(each.count == 1 for each in batch):
            await conn.execute("SELECT 1 FROM nowhere")
        return await queries.price_pages(conn, batch)

    batch = [make_query(number, 1 if number == 7 else 5) for number in range(20)]
    found = run(outcomes(PageBatcher(database, failing_once), batch))
    assert isinstance(found.pop(7), MigrationsPending)
    assert [each.first_at for each in found] == [
        minute_of_price(number) for number in range(20) if number != 7
    ]


def test_slow_queries_are_sent_one_by_one(run: Run, database: Database) -> None:
    """Together they would exceed their timeout; the first batches show that."""
    fetch = RecordingFetch(seconds=0.1)
    pages = PageBatcher(database, fetch)
    batch = [make_query(number) for number in range(32)]

    run(outcomes(pages, batch))
    fetch.sizes.clear()
    found = run(outcomes(pages, batch))
    assert [each.first_at for each in found] == [minute_of_price(number) for number in range(32)]
    assert fetch.sizes == [1] * 32


def test_queries_of_a_request_share_its_deadline(run: Run, database: Database) -> None:
    pages = PageBatcher(database, RecordingFetch(seconds=1.0))

    async def two_queries() -> None:
        deadline = make_deadline()
        await pages.fetch(make_query(1), deadline)
        with pytest.raises(DatabaseDown):
            await pages.fetch(make_query(2), deadline)

    run(two_queries())


def test_number_of_waiting_queries_is_bounded(run: Run, database: Database) -> None:
    pages = PageBatcher(database, max_waiting=5)
    found = run(outcomes(pages, [make_query(number) for number in range(20)]))
    assert [type(each) for each in found] == [PricePage] * 5 + [DatabaseDown] * 15
