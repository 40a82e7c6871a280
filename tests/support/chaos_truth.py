"""What must hold of a tracker's tables, whatever was done to it.

Everything here is worked out a second time, by other means than the tracker's own.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import psycopg

from tests.support.working import truth
from tracker.simulator import Served, price_at
from tracker.times import MINUTE

_SEED = 1  # the demo's exchange's
_EARLIEST = timedelta(seconds=30)

# Every minute since the first hour began, and before it those that the chart 2d has.
_MISSING = """
    SELECT asked.ticker, minute
      FROM unnest(%(tickers)s::text[]) AS asked (ticker)
      LEFT JOIN tickers AS known ON known.ticker = asked.ticker
     CROSS JOIN LATERAL (
        SELECT generate_series(%(first)s::timestamptz, %(last)s, INTERVAL '1 minute')
         UNION
        SELECT generate_series(
            date_bin('5 minutes', known.since + INTERVAL '299 s', 'epoch'),
            %(first)s::timestamptz, INTERVAL '5 minutes')
     ) AS grid (minute)
     WHERE NOT EXISTS (
        SELECT FROM prices WHERE prices.ticker = asked.ticker AND created_at = minute)
"""
# The rollups against the rows they are made of; of days it is not told how many come from charts.
_CANDLES = """
    SELECT 'hour', ticker, bucket, open, high, low, close, samples, charted FROM candles_1h
     UNION ALL
    SELECT 'day', ticker, bucket, open, high, low, close, samples, 0 FROM candles_1d
"""
_CANDLES_OF_ROWS = """
    SELECT unit, ticker, date_trunc(unit, created_at, 'UTC'), first(price, created_at), max(price),
           min(price), last(price, created_at), count(*),
           count(*) FILTER (WHERE source = 'chart' AND unit = 'hour')
      FROM prices
     CROSS JOIN unnest(ARRAY['hour', 'day']) AS unit
     GROUP BY 1, 2, 3
"""
_UNLIKE = f"""
    (({_CANDLES}) EXCEPT ({_CANDLES_OF_ROWS})) UNION ALL (({_CANDLES_OF_ROWS}) EXCEPT ({_CANDLES}))
"""


@dataclass(frozen=True)
class Row:
    """A row of the table prices."""

    ticker: str
    minute: datetime
    price: Decimal
    observed_at: datetime
    source: str


def rows(conn: psycopg.Connection) -> list[Row]:
    """All of them."""
    query = "SELECT ticker, created_at, price, observed_at, source FROM prices"
    return [Row(*row) for row in conn.execute(query)]


def assert_row(row: Row, exchange: Served, first: datetime) -> None:
    """It is what the exchange said, under its own minute; charts are finer from *first* on."""
    if row.source == "chart":
        step = 6 if row.minute >= first else 300  # seconds; of the charts 1h and 2d
        expected = (row.minute, average(row.ticker, row.minute, step))
        assert (row.observed_at, row.price) == expected, row
    else:
        assert row.source == "poll", row
        assert row.minute - _EARLIEST <= row.observed_at < row.minute + MINUTE, row
        assert row.price == Decimal(truth(exchange, row.ticker, row.observed_at)), row


def average(ticker: str, minute: datetime, step: int) -> Decimal:
    """What a chart says of *minute*: six samples, evenly spread over the step that ends there."""
    second = int(minute.timestamp())
    samples = [price_at(_SEED, ticker, second - step // 6 * back) for back in range(6)]
    return (sum(samples, Decimal(0)) / 6).quantize(Decimal("1e-6"))


def assert_rollup(conn: psycopg.Connection) -> None:
    """The candles are those of the rows."""
    assert conn.execute(_UNLIKE).fetchall() == []


def suppliable(
    conn: psycopg.Connection, tickers: tuple[str, ...], first: datetime, last: datetime
) -> list[tuple[str, datetime]]:
    """Minutes up to *last* that lack a price although the exchange can supply one."""
    parameters = {"tickers": list(tickers), "first": first, "last": last}
    return conn.execute(_MISSING, parameters).fetchall()
