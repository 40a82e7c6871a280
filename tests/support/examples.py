"""The queries of sql/examples, and what they must return for random prices."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from statistics import correlation, fmean, stdev
from typing import Any

import psycopg
import pytest

from tests.support.database import insert_misses, insert_prices
from tests.support.reference import (
    bucket_returns,
    bucket_start,
    find_gaps,
    group_prices,
    next_bucket,
    random_walk,
)
from tracker.settings import CHECKOUT
from tracker.times import MINUTE, minute_of

FILES = sorted((CHECKOUT / "sql/examples").glob("*.sql"))
FIVE, HOUR, DAY = 5 * MINUTE, timedelta(hours=1), timedelta(days=1)
NOW = minute_of(datetime.now(UTC))
START = NOW - 80 * HOUR
SERIES = {
    "btc_usd": random_walk(3, START, 4560, 65_000),
    "eth_usd": random_walk(4, START, 4560, 3_500),
}
BTC, ETH = SERIES.values()
MISSED = [START + n * MINUTE for n in range(4800) if START + n * MINUTE not in BTC][40:90]

Row = tuple[Any, ...]


def percent(part: Decimal) -> float:
    return 100 * float(part)


def volatility_by_hour(now: datetime) -> list[Row]:
    found = {at: part for at, part in bucket_returns(BTC, FIVE).items() if at + FIVE <= now}
    hours = {hour: [part for start, part in found.items() if start.hour == hour]
             for hour in range(24)}  # fmt: skip
    return [(hour, 100 * stdev(parts), len(parts)) for hour, parts in hours.items()]


def correlation_of_both(now: datetime) -> list[Row]:
    btc_returns, eth_returns = bucket_returns(BTC, HOUR), bucket_returns(ETH, HOUR)
    common = btc_returns.keys() & eth_returns.keys()
    both = sorted(at for at in common if at + HOUR <= now)
    pairs = [btc_returns[at] for at in both], [eth_returns[at] for at in both]
    return [(correlation(*pairs), len(both))]


def largest_move(_: datetime) -> list[Row]:
    steps = [(at, BTC[at - FIVE], price) for at, price in BTC.items() if at - FIVE in BTC]
    steps.sort(key=lambda step: (-abs(step[2] / step[1] - 1), step[0]))
    listed: list[datetime] = []
    for moment in [step[0] for step in steps]:
        if all(abs(moment - earlier) >= DAY for earlier in listed):
            listed.append(moment)
    return [
        (at, BTC[at - FIVE], BTC[at], percent(BTC[at] / BTC[at - FIVE] - 1)) for at in listed[:5]
    ]


def coverage_by_month(now: datetime) -> list[Row]:
    rows: list[Row] = []
    for ticker, series in SERIES.items():
        month = bucket_start(START, None)
        while month <= now:
            first, last = max(month, min(series)), min(next_bucket(month, None), minute_of(now))
            expected = (last - first) // MINUTE
            stored = sum(first <= minute < last for minute in series)
            share = 100 * stored / expected if expected else None
            rows.append((ticker, f"{month:%Y-%m}", expected, stored, share))
            month = next_bucket(month, None)
    return rows


def longest_gaps(now: datetime) -> list[Row]:
    reasons = {"btc_usd": dict.fromkeys(MISSED, "refused"), "eth_usd": {}}
    rows = [
        (ticker, *gap)
        for ticker, series in SERIES.items()
        for gap in find_gaps(series, reasons[ticker], min(series), minute_of(now))
    ]
    return sorted(rows, key=lambda row: (-row[3], row[0], row[1]))[:10]


def drawdown(_: datetime) -> list[Row]:
    peak, peak_at, falls = Decimal(0), NOW, []
    for at, price in BTC.items():
        if price >= peak:
            peak, peak_at = price, at
        falls.append((price / peak, at, peak_at, peak, price))
    part, at, peak_at, peak, price = min(falls)
    return [(peak_at, peak, at, price, percent(part - 1))]


def ratio(_: datetime) -> list[Row]:
    btc, eth = group_prices(BTC, HOUR), group_prices(ETH, HOUR)
    return [(at, float(eth[at][-1] / btc[at][-1])) for at in sorted(btc.keys() & eth.keys())]


def range_by_weekday(now: datetime) -> list[Row]:
    days: dict[int, list[float]] = {}
    for start, prices in group_prices(BTC, DAY).items():
        if start + DAY > now:
            continue
        width = percent((max(prices) - min(prices)) / prices[0])
        days.setdefault(start.isoweekday(), []).append(width)
    return [(day, fmean(widths), len(widths)) for day, widths in sorted(days.items())]


MODELS: dict[str, Callable[[datetime], list[Row]]] = {
    "volatility_by_hour": volatility_by_hour,
    "correlation": correlation_of_both,
    "largest_move": largest_move,
    "coverage_by_month": coverage_by_month,
    "longest_gaps": longest_gaps,
    "drawdown": drawdown,
    "ratio": ratio,
    "range_by_weekday": range_by_weekday,
}


def insert_example_prices(conn: psycopg.Connection) -> None:
    """Insert three days and four hours of prices with gaps and some misses."""
    for ticker, series in SERIES.items():
        insert_prices(conn, ticker, series)
    insert_misses(conn, "btc_usd", MISSED, "refused")


def assert_same_rows(found: list[Row], expected: list[Row]) -> None:
    """The rows are equal; rounded numbers within half of their last digit."""
    assert len(found) == len(expected) > 0
    for row, model in zip(found, expected, strict=True):
        for value, wanted in zip(row, model, strict=True):
            if isinstance(wanted, float):
                places = -value.as_tuple().exponent
                assert float(value) == pytest.approx(wanted, abs=0.51 * 10**-places)
            else:
                assert value == wanted
