"""What statistics of stored prices must be, by Python's exact numbers."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from math import log, sqrt
from statistics import fmean, stdev
from typing import Any

import pytest

from tests.support.reference import Series
from tracker.times import MINUTE

YEAR = 525_600  # minutes
DOUBLES = ("log_return_mean", "log_return_stddev", "realised_volatility")


def log_returns(series: Series, since: datetime, until: datetime) -> dict[datetime, float]:
    """Of the minutes in [since, until) whose previous one is in *series* and in the range."""
    return {
        at: log(price / series[at - MINUTE])
        for at, price in series.items()
        if since <= at - MINUTE and at < until and at - MINUTE in series
    }


def compute_statistics(series: Series, since: datetime, until: datetime) -> dict[str, Any]:
    """Of the prices in [since, until), by names of columns; averages are fractions."""
    prices = {at: series[at] for at in sorted(series) if since <= at < until}
    if not prices:
        return {"samples": 0, "log_returns": 0}
    steps = list(log_returns(series, since, until).values())
    pairs = [(a, b) for a, b in pairwise(prices) if b - a == MINUTE]
    first_at, *_, last_at = (min(prices), max(prices))
    high_at = max(prices, key=lambda at: (prices[at], -at.timestamp()))
    low_at = min(prices, key=lambda at: (prices[at], at))
    first, last = prices[first_at], prices[last_at]
    peak, peak_at, falls = Decimal(0), first_at, []
    for at, price in prices.items():
        if price >= peak:
            peak, peak_at = price, at
        falls.append((Fraction(price) / Fraction(peak), at, price, peak_at, peak))
    part, trough_at, trough, peak_at, peak = min(falls)
    halves = [Fraction(prices[a] + prices[b]) / 2 for a, b in pairs]
    return {
        "first_at": first_at,
        "first": first,
        "last_at": last_at,
        "last": last,
        "high_at": high_at,
        "high": prices[high_at],
        "low_at": low_at,
        "low": prices[low_at],
        "change": last - first,
        "change_percent": 100 * (Fraction(last) / Fraction(first) - 1),
        "mean": Fraction(sum(prices.values())) / len(prices),
        "twap": sum(halves) / len(halves) if halves else None,
        "log_returns": len(steps),
        "log_return_mean": fmean(steps) if steps else None,
        "log_return_stddev": stdev(steps) if len(steps) > 1 else None,
        "realised_volatility": sqrt(YEAR * fmean(x * x for x in steps)) if steps else None,
        "max_drawdown_percent": 100 * (part - 1),
        "peak_at": peak_at,
        "peak": peak,
        "trough_at": trough_at,
        "trough": trough,
        "samples": len(prices),
    }


def assert_statistics(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """What is *expected* is found; fractions to their digits, doubles to nine significant ones."""
    for name, wanted in expected.items():
        value = found[name]
        if isinstance(wanted, Fraction):
            places = -value.as_tuple().exponent
            assert abs(Fraction(value) - wanted) <= Fraction(1, 2 * 10**places), name
            assert places >= 4, name
        elif name in DOUBLES and wanted is not None:
            assert value == pytest.approx(wanted, rel=1e-9, abs=1e-12), name
        else:
            assert value == wanted, name
