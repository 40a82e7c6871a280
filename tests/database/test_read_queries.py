"""The reading queries against list comprehensions over the stored prices."""

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

TEMPLATE = {
    "before_id": "",
    "before_price": " ",
    "before_day": " ",
    "before_time": "T",
    "after_time": "Z",
}
BOUNDARY = datetime(1970, 1, 1, tzinfo=UTC) + 52 * timedelta(days=365)  # between two chunks

tickers = st.sampled_from(["btc_usd", "eth_usd", "sol_usdc"])
# Around the edge minute by minute, over a month on both sides, over years with long gaps.
minutes = (st.integers(-3, 3) | st.integers(-50_000, 50_000) | st.integers(-(10**6), 10**6)).map(
    lambda count: BOUNDARY + count * MINUTE
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


async def insert_archive(conn: AsyncConnection, stored: Stored) -> None:
    """Insert a whole archive in one statement."""
    await conn.execute(
        "INSERT INTO prices (ticker, created_at, price)"
        " SELECT * FROM unnest(%s::text[], %s::timestamptz[], %s::numeric[])",
        [[key[0] for key in stored], [key[1] for key in stored], list(stored.values())],
    )


class Row(NamedTuple):
    """A line in the format of TEMPLATE."""

    id: int
    price: str
    created_at: datetime


def parse_rows(found: PricePage) -> list[Row]:
    """The rows of a page."""
    cells = [line.split() for line in (found.text or "").splitlines()]
    return [Row(int(at), price, datetime.fromisoformat(time)) for at, price, time in cells]


async def fetch_pages(
    conn: AsyncConnection, ticker: str, until: datetime, limit: int
) -> list[list[Row]]:
    """Every page, requested as the API does."""
    pages = []
    while True:
        query = PageQuery(ticker, TEMPLATE, FIRST, until, limit, ascending=False)
        [found] = await queries.price_pages(conn, [query])
        pages.append(parse_rows(found))
        if not found.more:
            return pages
        assert found.last_at == pages[-1][-1].created_at
        until = found.last_at - MINUTE


@settings(deadline=None)
@given(stored=archives, parameters=st.tuples(tickers, moments, st.integers(1, 7)))
def test_pages_cover_the_range_once(
    run: Run, reader: AsyncConnection, stored: Stored, parameters: tuple[str, datetime, int]
) -> None:
    ticker, until, limit = parameters

    async def read_pages() -> list[list[Row]]:
        async with reader.transaction(force_rollback=True):
            await insert_archive(reader, stored)
            return await fetch_pages(reader, ticker, until, limit)

    pages = run(read_pages())
    model = [
        (minute, f"{price:f}")
        for (name, minute), price in sorted(stored.items(), reverse=True)
        if name == ticker and minute <= until
    ]
    assert [(row.created_at, row.price) for page in pages for row in page] == model
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert len({row.id for page in pages for row in page}) == len(model)


@settings(deadline=None)
@given(stored=archives, wanted=st.lists(tickers, unique=True), now=moments)
def test_newest_minutes_and_recent_hours_match_the_prices(
    run: Run, reader: AsyncConnection, stored: Stored, wanted: list[str], now: datetime
) -> None:
    async def read_summary() -> tuple[list[datetime | None], list[tuple[object, ...]]]:
        async with reader.transaction(force_rollback=True):
            await insert_archive(reader, stored)
            newest = await queries.newest_minutes(reader, wanted, now)
            hours = await queries.recent_hours(reader, wanted, now)
            return newest, hours

    newest, hours = run(read_summary())
    month = [key for key in stored if now - timedelta(days=31) <= key[1] <= now]
    assert newest == [max((at for of, at in month if of == name), default=None) for name in wanted]
    minute = minute_of(now)
    assert hours == [
        (count_missing(stored, name, minute), None, newest_minute(stored, name, minute))
        for name in wanted
    ]


def count_missing(stored: Stored, ticker: str, until: datetime) -> int:
    """Minutes without a price in the hour before *until*, since the first price."""
    minutes = [at for name, at in stored if name == ticker]
    hour = [until - n * MINUTE for n in range(1, 61)]
    return len([at for at in hour if at >= min(minutes, default=until) and at not in minutes])


def newest_minute(stored: Stored, ticker: str, until: datetime) -> datetime | None:
    """The newest minute with a price in that hour, or *until* itself."""
    hour = [until - n * MINUTE for n in range(61)]
    return next((at for at in hour if (ticker, at) in stored), None)


@settings(deadline=None, max_examples=25)
@given(numbers=st.lists(prices, min_size=1, max_size=20))
def test_price_keeps_every_digit(
    run: Run, base: Settings, reader: AsyncConnection, numbers: list[Decimal]
) -> None:
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        for place, number in enumerate(numbers):
            quote = Quote(ticker="btc_usd", price=number, observed_at=BOUNDARY)
            assert queries.insert_price(conn, quote, BOUNDARY + place * MINUTE)
        parameters = PageQuery(
            "btc_usd", TEMPLATE, FIRST, BOUNDARY + 99 * MINUTE, 99, ascending=False
        )
        [page] = run(queries.price_pages(reader, [parameters]))
        found = parse_rows(page)
        conn.execute("DELETE FROM prices")

    assert [row.price for row in reversed(found)] == [f"{number:f}" for number in numbers]


def test_tracked_indexes_and_applied_migrations_are_listed(
    run: Run, base: Settings, reader: AsyncConnection
) -> None:
    async def list_names() -> list[str]:
        async with reader.transaction(force_rollback=True):
            await insert_archive(
                reader, {(name, BOUNDARY): Decimal("1.00") for name in ("b_usd", "a_usd")}
            )
            return await queries.stored_tickers(reader)

    async def unmigrated() -> None:
        async with await AsyncConnection.connect(base.database_dsn, dbname="postgres") as conn:
            await queries.applied_migrations(conn)

    assert [name for name in run(list_names()) if name < "btc_usd"] == ["a_usd", "b_usd"]
    assert run(queries.applied_migrations(reader)) == migrations.names()
    with pytest.raises(UndefinedTable):
        run(unmigrated())
