"""Random statements on prices and misses, and the derived rows that must follow them."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any

import psycopg
from hypothesis import strategies as st

from tests.support.database import Row
from tracker.times import MINUTE

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
MIDNIGHT = datetime(2024, 1, 16, tzinfo=UTC)
TICKERS = ("btc_usd", "eth_usd", "sol_usdc")
REASONS = ("bad_answer", "too_late")

_GRID = "SELECT %(since)s + n * %(step)s AS at, n FROM generate_series(0, %(last)s) AS n"
_IN_GRID = f"(SELECT at FROM ({_GRID}) AS grid)"
INSERT_PRICES = (
    "INSERT INTO prices (ticker, created_at, price, source)"
    f" SELECT %(ticker)s, at, %(price)s + n, %(source)s FROM ({_GRID}) AS grid"
)
INSERT_MISSES = (
    "INSERT INTO misses (ticker, minute, reason, attempts)"
    f" SELECT %(ticker)s, at, %(reason)s, 1 FROM ({_GRID}) AS grid"
)
ADD_PRICES = f"{INSERT_PRICES} ON CONFLICT DO NOTHING"
UPSERT_PRICES = (
    f"{INSERT_PRICES} ON CONFLICT (ticker, created_at) DO UPDATE SET price = excluded.price"
)
UPDATE_PRICES = (
    f"UPDATE prices SET price = %(price)s WHERE ticker = %(ticker)s AND created_at IN {_IN_GRID}"
)
UPDATE_SOURCES = (
    f"UPDATE prices SET source = %(source)s WHERE ticker = %(ticker)s AND created_at IN {_IN_GRID}"
)
DELETE_PRICES = f"DELETE FROM prices WHERE ticker = %(ticker)s AND created_at IN {_IN_GRID}"
ADD_MISSES = f"{INSERT_MISSES} ON CONFLICT DO NOTHING"
DELETE_MISSES = f"DELETE FROM misses WHERE ticker = %(ticker)s AND minute IN {_IN_GRID}"
ADD_PRICE_OF_EACH = (
    "INSERT INTO prices (ticker, created_at, price) SELECT each, %(since)s, %(price)s"
    " FROM unnest(%(tickers)s::text[]) AS each ON CONFLICT DO NOTHING"
)
ADD_MISS_OF_EACH = (
    "INSERT INTO misses (ticker, minute, reason, attempts) SELECT each, %(since)s, %(reason)s, 1"
    " FROM unnest(%(tickers)s::text[]) AS each ON CONFLICT DO NOTHING"
)
STATEMENTS = (
    ADD_PRICES,
    UPSERT_PRICES,
    ADD_PRICE_OF_EACH,
    UPDATE_PRICES,
    UPDATE_SOURCES,
    f"UPDATE prices SET ticker = 'sol_usdc' WHERE created_at IN {_IN_GRID}",
    "UPDATE prices SET ticker = %(ticker)s WHERE created_at >= %(since)s",
    "UPDATE prices SET created_at = created_at + INTERVAL '7 hours'",
    DELETE_PRICES,
    f"DELETE FROM prices WHERE created_at IN {_IN_GRID}",
    "DELETE FROM prices WHERE ticker = %(ticker)s",
    "DELETE FROM prices WHERE price > %(price)s",
    "TRUNCATE prices",
    ADD_MISSES,
    f"{INSERT_MISSES} ON CONFLICT (ticker, minute) DO UPDATE SET reason = excluded.reason",
    ADD_MISS_OF_EACH,
    "UPDATE misses SET reason = %(reason)s WHERE ticker = %(ticker)s AND minute > %(since)s",
    "UPDATE misses SET ticker = %(ticker)s WHERE minute >= %(since)s",
    "UPDATE misses SET minute = minute + INTERVAL '7 hours' WHERE minute >= %(since)s",
    "UPDATE misses SET code = 429",
    DELETE_MISSES,
    "DELETE FROM misses WHERE ticker = %(ticker)s AND minute < %(since)s",
    "TRUNCATE misses",
)

# Mostly near full hours and midnight, where an island continues in an hour that is not touched.
_offsets = st.builds(
    lambda hour, minute: hour * 60 + minute, st.integers(-1, 1), st.integers(-2, 2)
) | st.integers(-130, 130)
parameters = st.fixed_dictionaries(
    {
        "ticker": st.sampled_from(TICKERS),
        "tickers": st.just(list(TICKERS)),
        "since": st.builds(
            lambda moment, minutes: moment + minutes * MINUTE,
            st.sampled_from([NOON, MIDNIGHT]),
            _offsets,
        ),
        "step": st.sampled_from(
            [MINUTE, 2 * MINUTE, 25 * MINUTE, 59 * MINUTE, timedelta(hours=1), timedelta(hours=3)]
        ),
        "last": st.sampled_from([0, 0, 1, 4, 130]),
        "price": st.integers(1, 10**9).map(lambda cents: Decimal(cents).scaleb(-2)),
        "source": st.sampled_from(["poll", "chart", "import"]),
        "reason": st.sampled_from(REASONS),
    }
)
changes = st.lists(st.tuples(st.sampled_from(STATEMENTS), parameters), max_size=10)

DAYS_OF_HOURS = """
    SELECT ticker, date_trunc('day', bucket, 'UTC'), first(open, bucket), max(high), min(low),
           last(close, bucket), sum(samples)
      FROM candles_1h
     GROUP BY 1, 2
"""
DAYS_OF_PRICES = """
    SELECT ticker, date_trunc('day', created_at, 'UTC'), first(price, created_at), max(price),
           min(price), last(price, created_at), count(*)
      FROM prices
     GROUP BY 1, 2
"""


def read_prices(conn: psycopg.Connection) -> list[Row]:
    """Every price: index, minute, price, source and id."""
    query = "SELECT ticker, created_at, price, source, id FROM prices ORDER BY ticker, created_at"
    return conn.execute(query).fetchall()


def read_revisions(conn: psycopg.Connection) -> dict[str, int]:
    """The revision of each index."""
    return dict(conn.execute("SELECT ticker, revision FROM tickers").fetchall())


def read_change_log(conn: psycopg.Connection) -> list[Row]:
    """Index, revision and minutes of each entry."""
    query = "SELECT ticker, revision, minutes FROM internal.changes ORDER BY ticker, revision"
    return conn.execute(query).fetchall()


def read_derived_rows(conn: psycopg.Connection) -> dict[str, list[Row]]:
    """Every derived row except the change log."""
    tables = ("candles_1h", "candles_1d", "internal.price_islands", "internal.miss_islands")
    rows = {name: conn.execute(f"TABLE {name} ORDER BY 1, 2").fetchall() for name in tables}
    query = "SELECT ticker, since, kept_since FROM tickers ORDER BY 1"
    return {**rows, "tickers": conn.execute(query).fetchall()}


def assert_derived_rows(conn: psycopg.Connection) -> None:
    """Candles and islands are exactly those of the stored prices and misses."""
    prices, derived = read_prices(conn), read_derived_rows(conn)
    assert derived["candles_1h"] == _make_candles(prices, {"minute": 0})
    assert derived["candles_1d"] == _make_candles(prices, {"hour": 0, "minute": 0})
    assert_islands(conn)


def assert_islands(conn: psycopg.Connection) -> None:
    """The islands are exactly those of the stored prices and misses."""
    prices, derived = read_prices(conn), read_derived_rows(conn)
    query = "SELECT ticker, minute, reason FROM misses ORDER BY ticker, minute"
    assert derived["internal.price_islands"] == _make_islands([row[:2] for row in prices])
    assert derived["internal.miss_islands"] == _make_islands(conn.execute(query).fetchall())


def assert_daily_candles(conn: psycopg.Connection, source: str = DAYS_OF_HOURS) -> int:
    """Daily candles are those that the query *source* computes; returns their number."""
    query = "SELECT ticker, bucket, open, high, low, close, samples::bigint FROM candles_1d"
    days = conn.execute(f"{query} ORDER BY 1, 2").fetchall()
    assert days == conn.execute(f"{source} ORDER BY 1, 2").fetchall()
    return len(days)


def _make_candles(prices: list[Row], start: dict[str, int]) -> list[Row]:
    """First, highest, lowest and last price, and the numbers of minutes by source."""
    candles = []
    for key, group in groupby(prices, lambda row: (row[0], row[1].replace(**start))):
        rows = list(group)
        values = [row[2] for row in rows]
        sources = Counter(row[3] for row in rows)
        counts = (len(rows), *(sources[name] for name in ("poll", "chart", "import")))
        candles.append((*key, values[0], max(values), min(values), values[-1], *counts))
    return candles


def _make_islands(minutes: list[Row]) -> list[Row]:
    """(ticker, since, until, *rest) of sorted (ticker, minute, *rest)."""
    keyed = groupby(enumerate(minutes), lambda at: (at[1][1] - at[0] * MINUTE, *at[1][::2]))
    groups: list[list[Any]] = [[row for _, row in group] for _, group in keyed]
    return [(rows[0][0], rows[0][1], rows[-1][1] + MINUTE, *rows[0][2:]) for rows in groups]
