"""Random prices as values, and what analysts' queries must return for them."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby

from tracker.times import MINUTE

Series = dict[datetime, Decimal]

EPOCH = datetime(2000, 1, 3, tzinfo=UTC)  # a Monday, the origin of all buckets


def random_walk(seed: int, start: datetime, minutes: int, price: int) -> Series:
    """A random walk by the minute with two decimals.

    Three in a hundred minutes are missing, and ninety consecutive ones in the middle.
    """
    rng = random.Random(seed)
    cents = price * 100
    series = {}
    for n in range(minutes):
        cents = max(100, cents + rng.randint(-cents // 500, cents // 500))
        if rng.random() > 0.03 and not minutes // 2 <= n < minutes // 2 + 90:
            series[start + n * MINUTE] = (Decimal(cents) / 100).quantize(Decimal("0.01"))
    return series


def bucket_start(moment: datetime, width: timedelta | None) -> datetime:
    """The start of the bucket that contains *moment*; a *width* of None means a month."""
    if width is None:
        return moment.replace(day=1, hour=0, minute=0)
    return moment - (moment - EPOCH) % width


def next_bucket(start: datetime, width: timedelta | None) -> datetime:
    """The start of the following bucket."""
    return bucket_start(start + (width or timedelta(days=31)), width)


def group_prices(series: Series, width: timedelta | None) -> dict[datetime, list[Decimal]]:
    """The prices of each non-empty bucket, in order of time."""
    groups: dict[datetime, list[Decimal]] = {}
    for minute in sorted(series):
        groups.setdefault(bucket_start(minute, width), []).append(series[minute])
    return groups


def bucket_returns(series: Series, width: timedelta | None) -> dict[datetime, float]:
    """The relative change of each bucket's close from the close of the bucket before it."""
    closes = {start: prices[-1] for start, prices in group_prices(series, width).items()}
    return {
        next_bucket(start, width): float(closes[next_bucket(start, width)] / close - 1)
        for start, close in closes.items()
        if next_bucket(start, width) in closes
    }


def find_gaps(
    series: Series, reasons: Mapping[datetime, str], since: datetime, until: datetime
) -> list[tuple[datetime, datetime, int, str]]:
    """Start, stop, minutes and reason of each gap in [since, until)."""
    window = (since + n * MINUTE for n in range((until - since) // MINUTE))
    missing = [minute for minute in window if minute not in series]
    keyed = [
        (minute - n * MINUTE, reasons.get(minute, "not_polled"), minute)
        for n, minute in enumerate(missing)
    ]
    islands = [[*group] for _, group in groupby(keyed, lambda entry: entry[:2])]
    return [(run[0][2], run[-1][2] + MINUTE, len(run), run[0][1]) for run in islands]
