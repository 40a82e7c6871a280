"""Runs of prices and of misses follow their minutes exactly, whatever is done and by how many."""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import groupby, permutations
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.errors import UniqueViolation

from tracker import queries
from tracker.settings import Settings
from tracker.times import MINUTE

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
TICKERS = ("btc_usd", "eth_usd")
REASONS = ("bad_answer", "too_late")

MINUTES = "generate_series(0, %(last)s) AS n"
AT = "%(since)s + n * %(step)s"
MISSES = (
    "INSERT INTO misses (ticker, minute, reason, attempts)"
    f" SELECT %(ticker)s, {AT}, %(reason)s, 1 FROM {MINUTES}"
)
PRICES = (
    "INSERT INTO prices (ticker, created_at, price, source)"
    f" SELECT %(ticker)s, {AT}, 1.50, 'chart' FROM {MINUTES}"
)
OF_EACH = (
    "INSERT INTO misses (ticker, minute, reason, attempts)"
    " SELECT each, %(since)s, %(reason)s, 1 FROM unnest(%(tickers)s::text[]) AS each"
)
OF_MISSES = (
    f"{MISSES} ON CONFLICT DO NOTHING",
    f"{MISSES} ON CONFLICT (ticker, minute) DO UPDATE SET reason = excluded.reason",
    f"{OF_EACH} ON CONFLICT DO NOTHING",
    "UPDATE misses SET reason = %(reason)s WHERE ticker = %(ticker)s AND minute > %(since)s",
    "UPDATE misses SET ticker = %(ticker)s WHERE minute >= %(since)s",
    "UPDATE misses SET minute = minute + INTERVAL '7 hours' WHERE minute >= %(since)s",
    "UPDATE misses SET code = 429",
    f"DELETE FROM misses WHERE ticker = %(ticker)s AND minute IN (SELECT {AT} FROM {MINUTES})",
    "DELETE FROM misses WHERE ticker = %(ticker)s AND minute < %(since)s",
    "TRUNCATE misses",
)
OF_PRICES = (
    f"{PRICES} ON CONFLICT DO NOTHING",
    f"{PRICES} ON CONFLICT (ticker, created_at) DO UPDATE SET price = 2.50",
    "UPDATE prices SET ticker = %(ticker)s WHERE created_at >= %(since)s",
    "UPDATE prices SET created_at = created_at + INTERVAL '7 hours'",
    f"DELETE FROM prices WHERE created_at IN (SELECT {AT} FROM {MINUTES})",
    "DELETE FROM prices WHERE ticker = %(ticker)s",
    "TRUNCATE prices",
)

# Mostly about the full hours: there a run goes on in an hour that the statement does not touch.
offsets = st.builds(
    lambda hour, minute: hour * 60 + minute, st.integers(-1, 1), st.integers(-2, 2)
) | st.integers(-130, 130)
values = st.fixed_dictionaries(
    {
        "ticker": st.sampled_from(TICKERS),
        "tickers": st.just(list(TICKERS)),
        "since": offsets.map(lambda minutes: NOON + minutes * MINUTE),
        "step": st.sampled_from([MINUTE, 2 * MINUTE, timedelta(minutes=59), timedelta(hours=3)]),
        "last": st.sampled_from([0, 0, 1, 4, 130]),
        "reason": st.sampled_from(REASONS),
    }
)
changes = st.lists(st.tuples(st.sampled_from(OF_MISSES + OF_PRICES), values), max_size=10)
Row = tuple[Any, ...]


@pytest.fixture(scope="module")
def writer(base: Settings) -> Iterator[psycopg.Connection]:
    """A connection to the database of this file."""
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        yield conn


def rows(conn: psycopg.Connection, table: str, *columns: str) -> list[Row]:
    """Those *columns* of a table, in their order."""
    place = ("internal", table) if table.endswith("islands") else (table,)
    listed = sql.SQL(", ").join(map(sql.Identifier, columns))
    asked = sql.SQL("SELECT {0} FROM {1} ORDER BY {0}").format(listed, sql.Identifier(*place))
    return conn.execute(asked).fetchall()


def kept(conn: psycopg.Connection) -> tuple[list[Row], list[Row]]:
    """The runs as they stand: of prices and of misses."""
    return (
        rows(conn, "price_islands", "ticker", "since", "until"),
        rows(conn, "miss_islands", "ticker", "since", "until", "reason"),
    )


def grouped(conn: psycopg.Connection) -> tuple[list[Row], list[Row]]:
    """What the runs must be: the minutes themselves, one after the other."""
    prices = rows(conn, "prices", "ticker", "created_at")
    misses = rows(conn, "misses", "ticker", "minute", "reason")
    return runs(prices), runs(misses)


def runs(minutes: list[Row]) -> list[Row]:
    """(ticker, since, until, *rest) of (ticker, minute, *rest), sorted."""
    groups = groupby(enumerate(minutes), lambda at: (at[1][1] - at[0] * MINUTE, *at[1][::2]))
    found = []
    for _, group in groups:
        run = [row for _, row in group]
        found.append((run[0][0], run[0][1], run[-1][1] + MINUTE, *run[0][2:]))
    return found


@settings(deadline=None, max_examples=150)
@given(changes=changes)
def test_runs_follow_every_statement(
    writer: psycopg.Connection, changes: list[tuple[str, dict[str, Any]]]
) -> None:
    """Whatever one statement does to any rows, the runs are what grouping the rows gives."""
    with writer.transaction(force_rollback=True):
        for statement, parameters in changes:
            with suppress(UniqueViolation), writer.transaction():
                writer.execute(statement, parameters)
            assert kept(writer) == grouped(writer)


@pytest.mark.parametrize("table", [PRICES, MISSES], ids=["prices", "misses"])
def test_neighbours_are_one_run_across_full_hours(writer: psycopg.Connection, table: str) -> None:
    """In whatever order they come, though each statement touches one hour alone."""
    places = [-2, -1, 0, 58, 59, 60]
    shape = {"ticker": "btc_usd", "step": MINUTE, "last": 0, "reason": "too_late"}
    for order in permutations(places, 4):
        with writer.transaction(force_rollback=True):
            for place in order:
                writer.execute(table, {**shape, "since": NOON + place * MINUTE})
            assert kept(writer) == grouped(writer)


def test_one_statement_may_delete_and_insert_the_same_minute(writer: psycopg.Connection) -> None:
    """The hour is read again, so that no order of the two triggers is relied upon."""
    with writer.transaction(force_rollback=True):
        for statement in OF_MISSES[0], OF_PRICES[0]:
            parameters = {"ticker": "btc_usd", "since": NOON, "step": MINUTE, "last": 9}
            writer.execute(statement, {**parameters, "reason": "bad_answer"})
        writer.execute(
            "WITH gone AS (DELETE FROM misses RETURNING ticker, minute, attempts)"
            " INSERT INTO misses (ticker, minute, reason, attempts)"
            " SELECT ticker, minute + INTERVAL '5 min', 'too_late', attempts"
            " FROM gone ORDER BY minute"
        )
        writer.execute(
            "WITH gone AS (DELETE FROM prices RETURNING ticker, created_at, price)"
            " INSERT INTO prices (ticker, created_at, price)"
            " SELECT ticker, created_at + INTERVAL '5 min', price FROM gone ORDER BY created_at"
        )

        assert kept(writer) == grouped(writer)
        assert [len(found) for found in kept(writer)] == [1, 1]


def test_a_miss_tracks_its_index_and_tells_nobody(writer: psycopg.Connection) -> None:
    """From the oldest minute that was asked for; the revision is of prices alone."""
    with writer.transaction(force_rollback=True):
        for minute in (NOON, NOON - MINUTE, NOON + MINUTE):
            queries.insert_miss(writer, "btc_usd", minute, "refused", code=400, attempts=1)

        assert writer.execute("TABLE tickers").fetchall() == [("btc_usd", NOON - MINUTE, 0, None)]


def test_runs_stay_exact_under_concurrent_writers(
    base: Settings, writer: psycopg.Connection
) -> None:
    """Each reads what the one before it committed; nobody waits for ever, and nobody fails."""
    writer.execute("TRUNCATE prices, tickers, misses")
    statements = [OF_MISSES[0], OF_MISSES[0], OF_PRICES[0], OF_MISSES[7]]

    def write(seed: int) -> None:
        chance = random.Random(seed)
        with psycopg.connect(base.database_dsn, autocommit=True) as conn:
            for _ in range(60):
                minute = NOON + chance.randrange(150) * MINUTE
                parameters = {"ticker": chance.choice(TICKERS), "since": minute, "step": MINUTE}
                parameters |= {"last": chance.randrange(2), "reason": chance.choice(REASONS)}
                queries.insert_miss(
                    conn, parameters["ticker"], minute, "refused", code=None, attempts=1
                )
                conn.execute(chance.choice(statements), parameters)

    together(write)

    assert kept(writer) == grouped(writer)
    assert all(len(found) > 3 for found in kept(writer))
    writer.execute("TRUNCATE prices, tickers, misses")
    assert kept(writer) == ([], [])


def test_polls_and_misses_of_a_new_index_do_not_block_each_other(
    base: Settings, writer: psycopg.Connection
) -> None:
    """Nobody is tracked yet, and all begin at once: with neighbouring minutes and the same."""
    for number in range(5):
        writer.execute("TRUNCATE prices, tickers, misses")

        def write(seed: int, number: int = number) -> None:
            with psycopg.connect(base.database_dsn, autocommit=True) as conn:
                for n in range(10):
                    minute = NOON + (n // 2 + seed % 2) * MINUTE
                    price = {"ticker": "btc_usd", "since": minute, "step": MINUTE, "last": 0}
                    queries.insert_miss(
                        conn, "btc_usd", minute, REASONS[number % 2], code=None, attempts=1
                    )
                    conn.execute(OF_PRICES[0], price)

        together(write)
        assert kept(writer) == grouped(writer)


def together(write: Callable[[int], None]) -> None:
    """Four writers at once."""
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))


@pytest.mark.parametrize("statement", [PRICES, MISSES], ids=["prices", "misses"])
@pytest.mark.parametrize("hours", [1, 200])
def test_older_minutes_read_only_islands_nearby(
    writer: psycopg.Connection, statement: str, hours: int
) -> None:
    """An archive with many holes makes no change of an older minute slower."""
    writer.execute("TRUNCATE prices, tickers, misses")
    given = {"ticker": "btc_usd", "reason": REASONS[0], "since": NOON}
    # Planned while the tables are nearly empty, as by a worker in its first minutes.
    writer.execute(
        statement, given | {"since": NOON + timedelta(days=30), "step": MINUTE, "last": 0}
    )
    holes = 30 * 24 * 30
    writer.execute(statement, given | {"step": 2 * MINUTE, "last": holes - 1})
    with writer.transaction():
        before = rows_read(writer)
        filled = {"since": NOON + MINUTE, "step": timedelta(hours=1), "last": hours - 1}
        writer.execute(statement, given | filled)
        assert 0 < rows_read(writer) - before < 400 * hours
    [(count,)] = writer.execute(
        "SELECT (SELECT count(*) FROM internal.price_islands)"
        "     + (SELECT count(*) FROM internal.miss_islands)"
    )
    assert count == holes + 1 - hours


def rows_read(conn: psycopg.Connection) -> int:
    """Rows and index entries of the islands that the transaction of *conn* has read so far."""
    [(count,)] = conn.execute(
        "SELECT sum(pg_stat_get_xact_tuples_returned(id) + pg_stat_get_xact_tuples_fetched(id))"
        "  FROM (VALUES ('internal.price_islands'::regclass::oid),"
        "               ('internal.miss_islands'::regclass)"
        "        UNION ALL"
        "        SELECT indexrelid FROM pg_index"
        "         WHERE indrelid IN ('internal.price_islands'::regclass,"
        "                            'internal.miss_islands'::regclass)) AS read (id)"
    )
    return int(count)
