"""What must hold of a tracker's tables after every fault, computed by other means than its own."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import psycopg

from tests.support.database import read_misses
from tests.support.exchange import SEED, fetch_true_price
from tracker.simulator import Simulator, price_at
from tracker.times import MINUTE

_EARLIEST = timedelta(seconds=30)

# Every minute since the first hour began; before it, the five-minute marks of the chart 2d.
_MISSING = """
    SELECT wanted.ticker, minute
      FROM unnest(%(tickers)s::text[]) AS wanted (ticker)
      LEFT JOIN tickers AS known ON known.ticker = wanted.ticker
     CROSS JOIN LATERAL (
        SELECT generate_series(%(first)s::timestamptz, %(last)s, INTERVAL '1 minute')
         UNION
        SELECT generate_series(
            date_bin('5 minutes', known.since + INTERVAL '299 s', 'epoch'),
            %(first)s::timestamptz, INTERVAL '5 minutes')
     ) AS grid (minute)
     WHERE NOT EXISTS (
        SELECT FROM prices WHERE prices.ticker = wanted.ticker AND created_at = minute)
"""
# The rollups, and the same from the rows; candles of a day have no number of charted minutes.
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
_DIFFERENCE = f"""
    (({_CANDLES}) EXCEPT ({_CANDLES_OF_ROWS})) UNION ALL (({_CANDLES_OF_ROWS}) EXCEPT ({_CANDLES}))
"""


@dataclass(frozen=True)
class PriceRow:
    """A row of the table prices."""

    ticker: str
    minute: datetime
    price: Decimal
    observed_at: datetime
    source: str


def recorded_tickers(conn: psycopg.Connection, minute: datetime) -> set[str]:
    """The indexes that have a price or a miss of *minute*."""
    stored = {row.ticker for row in read_price_rows(conn) if row.minute == minute}
    return stored | {ticker for ticker, missed, _ in read_misses(conn) if missed == minute}


def read_price_rows(conn: psycopg.Connection) -> list[PriceRow]:
    """All of them."""
    query = "SELECT ticker, created_at, price, observed_at, source FROM prices"
    return [PriceRow(*row) for row in conn.execute(query)]


def assert_true_price(row: PriceRow, exchange: Simulator, first_at: datetime) -> None:
    """The row has the exchange's price of its own minute; charts are finer from *first_at* on."""
    if row.source == "chart":
        step = 6 if row.minute >= first_at else 300  # seconds; of the charts 1h and 2d
        expected = (row.minute, chart_average(row.ticker, row.minute, step))
        assert (row.observed_at, row.price) == expected, row
    else:
        assert row.source == "poll", row
        assert row.minute - _EARLIEST <= row.observed_at < row.minute + MINUTE, row
        assert row.price == Decimal(fetch_true_price(exchange, row.ticker, row.observed_at)), row


def chart_average(ticker: str, minute: datetime, step: int) -> Decimal:
    """A chart's value at *minute*: the mean of six samples of the *step* seconds before it."""
    second = int(minute.timestamp())
    samples = [price_at(SEED, ticker, second - step // 6 * back) for back in range(6)]
    return (sum(samples, Decimal(0)) / 6).quantize(Decimal("1e-6"))


def assert_rollups(conn: psycopg.Connection) -> None:
    """The candles are those of the rows."""
    assert conn.execute(_DIFFERENCE).fetchall() == []


def find_repairable_minutes(
    conn: psycopg.Connection, tickers: tuple[str, ...], first_at: datetime, last_at: datetime
) -> list[tuple[str, datetime]]:
    """Minutes up to *last_at* without a price that the exchange can still supply."""
    parameters = {"tickers": list(tickers), "first": first_at, "last": last_at}
    return conn.execute(_MISSING, parameters).fetchall()
