"""What the reading queries answer, against a list comprehension over what is stored."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import AsyncConnection
from psycopg.errors import UndefinedTable

from tests.support.database import Run
from tracker import migrations, queries
from tracker.models import Quote, exact_price
from tracker.queries.prices import PageQuery, PricePage
from tracker.settings import Settings
from tracker.times import FIRST, MINUTE, minute_of

Stored = dict[tuple[str, datetime], Decimal]

FRAME = {
    "before_id": "",
    "before_price": " ",
    "before_day": " ",
    "before_time": "T",
    "after_time": "Z",
}
EDGE = datetime(1970, 1, 1, tzinfo=UTC) + 52 * timedelta(days=365)  # between two chunks

tickers = st.sampled_from(["btc_usd", "eth_usd", "sol_usdc"])
# Around the edge minute by minute, over a month on both sides, over years with long gaps.
minutes = (st.integers(-3, 3) | st.integers(-50_000, 50_000) | st.integers(-(10**6), 10**6)).map(
    lambda count: EDGE + count * MINUTE
)
prices = st.builds(
    lambda digits, point: exact_price(Decimal(digits).scaleb(-point)),
    st.integers(10**12, 10**18),
    st.integers(0, 30),
)
runs = st.tuples(tickers, minutes, st.integers(1, 9), prices)
archives = st.lists(runs, max_size=6).map(
    lambda runs: {
        (ticker, first + n * MINUTE): price
        for ticker, first, length, price in runs
        for n in range(length)
    }
)
moments = st.builds(
    lambda minute, second: minute + timedelta(seconds=second),
    minutes,
    st.sampled_from([-0.000001, 0, 0.000001, 59]),
)


async def keep(conn: AsyncConnection, stored: Stored) -> None:
    """Store a whole archive in one statement."""
    await conn.execute(
        "INSERT INTO prices (ticker, created_at, price)"
        " SELECT * FROM unnest(%s::text[], %s::timestamptz[], %s::numeric[])",
        [[key[0] for key in stored], [key[1] for key in stored], list(stored.values())],
    )


class Row(NamedTuple):
    """A line of FRAME."""

    id: int
    price: str
    created_at: datetime


def rows_of(found: PricePage) -> list[Row]:
    """The lines of a page, read."""
    cells = [line.split() for line in (found.text or "").splitlines()]
    return [Row(int(at), price, datetime.fromisoformat(time)) for at, price, time in cells]


async def walk(conn: AsyncConnection, ticker: str, until: datetime, limit: int) -> list[list[Row]]:
    """Every page, asked for as the API asks: each says whether there is a next one."""
    pages = []
    while True:
        [found] = await queries.price_pages(conn, [PageQuery(ticker, FRAME, FIRST, until, limit)])
        pages.append(rows_of(found))
        if not found.more:
            return pages
        assert found.last_at == pages[-1][-1].created_at
        until = found.last_at - MINUTE


@settings(deadline=None)
@given(stored=archives, question=st.tuples(tickers, moments, st.integers(1, 7)))
def test_the_pages_together_are_the_range(
    run: Run, reader: AsyncConnection, stored: Stored, question: tuple[str, datetime, int]
) -> None:
    """Newest first, nothing twice, nothing left out, and every page but the last is full."""
    ticker, until, limit = question

    async def asked() -> list[list[Row]]:
        async with reader.transaction(force_rollback=True):
            await keep(reader, stored)
            return await walk(reader, ticker, until, limit)

    pages = run(asked())
    model = [
        (minute, f"{price:f}")
        for (name, minute), price in sorted(stored.items(), reverse=True)
        if name == ticker and minute <= until
    ]
    assert [(row.created_at, row.price) for page in pages for row in page] == model
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert len({row.id for page in pages for row in page}) == len(model)


@settings(deadline=None)
@given(stored=archives, asked=st.lists(tickers, unique=True), now=moments)
def test_the_newest_minute_and_the_last_hour(
    run: Run, reader: AsyncConnection, stored: Stored, asked: list[str], now: datetime
) -> None:
    """In the order asked, looking back a month."""

    async def found() -> tuple[list[datetime | None], list[tuple[object, ...]]]:
        async with reader.transaction(force_rollback=True):
            await keep(reader, stored)
            newest = await queries.newest_minutes(reader, asked, now)
            hours = await queries.recent_hours(reader, asked, now)
            return newest, hours

    newest, hours = run(found())
    month = [key for key in stored if now - timedelta(days=31) <= key[1] <= now]
    assert newest == [max((at for of, at in month if of == name), default=None) for name in asked]
    minute = minute_of(now)
    assert hours == [
        (missing(stored, name, minute), None, polled(stored, name, minute)) for name in asked
    ]


def missing(stored: Stored, ticker: str, until: datetime) -> int:
    """Minutes of the hour before *until* without a price, since the first one."""
    minutes = [at for name, at in stored if name == ticker]
    hour = [until - n * MINUTE for n in range(1, 61)]
    return len([at for at in hour if at >= min(minutes, default=until) and at not in minutes])


def polled(stored: Stored, ticker: str, until: datetime) -> datetime | None:
    """The newest minute with a price of that hour, or of *until*."""
    hour = [until - n * MINUTE for n in range(61)]
    return next((at for at in hour if (ticker, at) in stored), None)


@settings(deadline=None, max_examples=25)
@given(numbers=st.lists(prices, min_size=1, max_size=20))
def test_a_price_comes_back_digit_by_digit(
    run: Run, base: Settings, reader: AsyncConnection, numbers: list[Decimal]
) -> None:
    """Tiny, with thirty decimals, with eighteen digits before the point; None is rounded."""
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        for place, number in enumerate(numbers):
            quote = Quote(ticker="btc_usd", price=number, observed_at=EDGE)
            assert queries.insert_price(conn, quote, EDGE + place * MINUTE)
        question = PageQuery("btc_usd", FRAME, FIRST, EDGE + 99 * MINUTE, 99)
        [page] = run(queries.price_pages(reader, [question]))
        found = rows_of(page)
        conn.execute("DELETE FROM prices")

    assert [row.price for row in reversed(found)] == [f"{number:f}" for number in numbers]


def test_the_tracked_indexes_and_the_migrations_are_listed(
    run: Run, base: Settings, reader: AsyncConnection
) -> None:
    """By name, each once; a database that was never migrated has no such table."""

    async def found() -> list[str]:
        async with reader.transaction(force_rollback=True):
            await keep(reader, {(name, EDGE): Decimal("1.00") for name in ("b_usd", "a_usd")})
            return await queries.stored_tickers(reader)

    async def unmigrated() -> None:
        async with await AsyncConnection.connect(base.database_dsn, dbname="postgres") as conn:
            await queries.applied_migrations(conn)

    assert [name for name in run(found()) if name < "btc_usd"] == ["a_usd", "b_usd"]
    assert run(queries.applied_migrations(reader)) == migrations.names()
    with pytest.raises(UndefinedTable):
        run(unmigrated())
