"""The queries of sql/examples, and what they must return for random prices."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import sqrt
from statistics import correlation, fmean, stdev
from typing import Any
from zoneinfo import ZoneInfo

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
from tests.support.statistics import YEAR, log_returns
from tracker.settings import CHECKOUT
from tracker.times import MINUTE, minute_of

FILES = sorted((CHECKOUT / "sql/examples").glob("*.sql"))
FIVE, HOUR, DAY = 5 * MINUTE, timedelta(hours=1), timedelta(days=1)
NOW = minute_of(datetime.now(UTC))
START = NOW - 80 * HOUR
SERIES = {
    "btc_usd": random_walk(3, START, 4560, 65_000),
    "eth_usd": random_walk(4, START, 4560, 3_500),
    "btc_usdc": random_walk(5, START, 4560, 65_000),
}
BTC, ETH, USDC = SERIES.values()
BERLIN = ZoneInfo("Europe/Berlin")
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
    for ticker, series in sorted(SERIES.items()):
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
    reasons = {"btc_usd": dict.fromkeys(MISSED, "refused")}
    rows = [
        (ticker, *gap)
        for ticker, series in SERIES.items()
        for gap in find_gaps(series, reasons.get(ticker, {}), min(series), minute_of(now))
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


def rolling_volatility(now: datetime) -> list[Row]:
    end = now.replace(minute=0, second=0, microsecond=0)
    returns = log_returns(BTC, now - 8 * DAY, end)
    hours = sorted({at.replace(minute=0) for at in returns})
    rows: list[Row] = []
    for hour in hours:
        parts = [part for at, part in returns.items() if hour - 23 * HOUR <= at < hour + HOUR]
        volatility = 100 * sqrt(YEAR * fmean(part * part for part in parts))
        rows.append((hour, volatility, len(parts)))
    return rows


def local_days(_: datetime) -> list[Row]:
    days: dict[date, list[Decimal]] = {}
    for at, price in BTC.items():
        days.setdefault(at.astimezone(BERLIN).date(), []).append(price)
    return [(day, some[0], max(some), min(some), some[-1], len(some)) for day, some in days.items()]


def trades_as_of(now: datetime) -> list[Row]:
    rows: list[Row] = []
    for age, amount in ((70 * 60, "0.5"), (41 * 60, "0.25"), (31 * 60 + 7, "-0.75")):
        at = now - age * MINUTE
        recent = [each for each in BTC if minute_of(at - FIVE) <= each <= at]
        newest = max(recent, default=None)
        price = BTC[newest] if newest else None
        worth = None if price is None else Decimal(amount) * price
        rows.append((at, Decimal(amount), newest, price, worth))
    return rows


def filled_ratio(now: datetime) -> list[Row]:
    rows: list[Row] = []
    btc, eth = Decimal(0), Decimal(0)
    minute = START
    while minute < minute_of(now):
        btc, eth = BTC.get(minute, btc), ETH.get(minute, eth)
        if minute >= now - 6 * HOUR:
            rows.append((minute, float(eth / btc), minute not in BTC or minute not in ETH))
        minute += MINUTE
    return rows


def basis(_: datetime) -> list[Row]:
    hours: dict[datetime, list[float]] = {}
    for at in sorted(BTC.keys() & USDC.keys()):
        part = 10_000 * float(USDC[at] / BTC[at] - 1)
        hours.setdefault(at.replace(minute=0), []).append(part)
    return [(hour, fmean(some), min(some), max(some), len(some)) for hour, some in hours.items()]


def monthly_returns(_: datetime) -> list[Row]:
    years: dict[int, dict[int, list[Decimal]]] = {}
    for at, price in BTC.items():
        years.setdefault(at.year, {}).setdefault(at.month, []).append(price)
    rows: list[Row] = []
    for year, months in years.items():
        changes = [percent(some[-1] / some[0] - 1) if (some := months.get(month)) else None
                   for month in range(1, 13)]  # fmt: skip
        first, last = months[min(months)][0], months[max(months)][-1]
        rows.append((year, *changes, percent(last / first - 1)))
    return rows


MODELS: dict[str, Callable[[datetime], list[Row]]] = {
    "volatility_by_hour": volatility_by_hour,
    "correlation": correlation_of_both,
    "largest_move": largest_move,
    "coverage_by_month": coverage_by_month,
    "longest_gaps": longest_gaps,
    "drawdown": drawdown,
    "ratio": ratio,
    "range_by_weekday": range_by_weekday,
    "rolling_volatility": rolling_volatility,
    "local_days": local_days,
    "trades_as_of": trades_as_of,
    "filled_ratio": filled_ratio,
    "basis": basis,
    "monthly_returns": monthly_returns,
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
