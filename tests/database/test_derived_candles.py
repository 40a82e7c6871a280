"""Candles and revisions follow the prices exactly, whatever is done to them and by how many."""

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.errors import UniqueViolation

from tracker.settings import Settings

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
MIDNIGHT = datetime(2024, 1, 16, tzinfo=UTC)
TICKERS = ("btc_usd", "eth_usd", "sol_usdc")

INSERT = "INSERT INTO prices (ticker, created_at, price)"
VALUES = (
    "SELECT %(ticker)s, %(since)s + n * %(step)s, %(price)s + n FROM generate_series(0, 4) AS n"
)
OF_EACH = "SELECT each, %(since)s, %(price)s FROM unnest(%(tickers)s::text[]) AS each"
BETWEEN = "WHERE ticker = %(ticker)s AND created_at BETWEEN %(since)s AND %(since)s + 4 * %(step)s"
STATEMENTS = (
    f"{INSERT} {VALUES} ON CONFLICT DO NOTHING",
    f"{INSERT} {VALUES} ON CONFLICT (ticker, created_at) DO UPDATE SET price = excluded.price",
    f"{INSERT} {OF_EACH} ON CONFLICT DO NOTHING",
    f"UPDATE prices SET price = %(price)s {BETWEEN}",
    f"UPDATE prices SET ticker = 'sol_usdc' {BETWEEN}",
    f"UPDATE prices SET source = 'chart' {BETWEEN}",
    f"UPDATE prices SET source = 'import' {BETWEEN}",
    f"DELETE FROM prices {BETWEEN}",
    "DELETE FROM prices WHERE price > %(price)s",
    "UPDATE prices SET created_at = created_at + INTERVAL '7 hours'",
    "TRUNCATE prices",
)

steps = st.sampled_from([timedelta(minutes=1), timedelta(minutes=25), timedelta(hours=1)])
values = st.fixed_dictionaries(
    {
        "ticker": st.sampled_from(TICKERS),
        "tickers": st.just(list(TICKERS)),
        "since": st.builds(
            lambda moment, minutes: moment + timedelta(minutes=minutes),
            st.sampled_from([NOON, MIDNIGHT]),
            st.integers(-70, 70),
        ),
        "step": steps,
        "price": st.integers(1, 10**9).map(lambda number: Decimal(number).scaleb(-2)),
    }
)
changes = st.lists(st.tuples(st.sampled_from(STATEMENTS), values), max_size=8)


@pytest.fixture(scope="module")
def writer(base: Settings) -> Iterator[psycopg.Connection]:
    """A connection to it."""
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        yield conn


def kept(conn: psycopg.Connection) -> tuple[list[tuple[Any, ...]], ...]:
    """The candles as they stand: of hours, of days."""
    tables = ("candles_1h", "candles_1d")
    hours, days = (conn.execute(f"TABLE {name} ORDER BY ticker, bucket") for name in tables)
    return hours.fetchall(), days.fetchall()


def rows(conn: psycopg.Connection) -> list[tuple[Any, ...]]:
    """The prices below them."""
    asked = "SELECT ticker, created_at, price, source, id FROM prices ORDER BY ticker, created_at"
    return conn.execute(asked).fetchall()


def candles(stored: list[tuple[Any, ...]]) -> tuple[list[tuple[Any, ...]], ...]:
    """What the candles must be: first, highest, lowest, last price, and numbers of minutes."""
    hours = groupby(stored, lambda row: (row[0], row[1].replace(minute=0)))
    days = groupby(stored, lambda row: (row[0], row[1].replace(hour=0, minute=0)))
    return (
        [(*hour, *candle(list(group))) for hour, group in hours],
        [(*day, *candle(list(group))) for day, group in days],
    )


def candle(group: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    prices = [row[2] for row in group]
    sources = Counter(row[3] for row in group)
    counts = (sources[name] for name in ("poll", "chart", "import"))
    return prices[0], max(prices), min(prices), prices[-1], len(prices), *counts


def revisions(conn: psycopg.Connection) -> dict[str, int]:
    """How often each index has changed."""
    return dict(conn.execute("SELECT ticker, revision FROM tickers").fetchall())


@settings(deadline=None)
@given(changes=changes)
def test_candles_and_revisions_follow_every_statement(
    writer: psycopg.Connection, changes: list[tuple[str, dict[str, Any]]]
) -> None:
    """Whatever one statement does to any rows, it leaves the candles exact and the change told."""
    with writer.transaction(force_rollback=True):
        for statement, parameters in changes:
            before, told = rows(writer), revisions(writer)
            with suppress(UniqueViolation), writer.transaction():
                writer.execute(statement, parameters)
            after = rows(writer)
            assert kept(writer) == candles(after)
            touched = {row[0] for row in set(before) ^ set(after)}
            grown = {name for name, count in revisions(writer).items() if count > told.get(name, 0)}
            assert touched <= grown


def test_candles_stay_exact_under_concurrent_writers(
    base: Settings, writer: psycopg.Connection
) -> None:
    """Each reads what the one before it committed; nobody waits for ever, and nobody fails."""
    writer.execute("TRUNCATE prices, tickers")

    def write(seed: int) -> None:
        chance = random.Random(seed)
        with psycopg.connect(base.database_dsn, autocommit=True) as conn:
            for _ in range(40):
                since = MIDNIGHT + timedelta(minutes=chance.randrange(-120, 120))
                price = Decimal(chance.randrange(1, 10**6)).scaleb(-2)
                ticker, step = chance.choice(TICKERS[:2]), timedelta(minutes=1)
                parameters = {"ticker": ticker, "since": since, "step": step, "price": price}
                statement = chance.choice(
                    [STATEMENTS[0], STATEMENTS[0], STATEMENTS[3], STATEMENTS[7]]
                )
                conn.execute(statement, parameters)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))

    assert len(rows(writer)) > 50
    assert kept(writer) == candles(rows(writer))
