"""Known prices for analysts' questions: two indexes by the minute, with holes, as values."""

import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby

import psycopg

from tracker.times import MINUTE

Series = dict[datetime, Decimal]

EPOCH = datetime(2000, 1, 3, tzinfo=UTC)  # a Monday, where buckets are counted from


def walk(seed: int, start: datetime, minutes: int, price: int) -> Series:
    """A random walk by the minute, in hundredths; three in a hundred minutes are missing, and an
    hour and a half on end."""
    rng = random.Random(seed)
    cents = price * 100
    series = {}
    for n in range(minutes):
        cents = max(100, cents + rng.randint(-cents // 500, cents // 500))
        if rng.random() > 0.03 and not minutes // 2 <= n < minutes // 2 + 90:
            series[start + n * MINUTE] = Decimal(cents) / 100
    return {minute: price.quantize(Decimal("0.01")) for minute, price in series.items()}


def store(conn: psycopg.Connection, ticker: str, series: Mapping[datetime, Decimal]) -> None:
    """Store them, as polled."""
    conn.execute(
        "INSERT INTO prices (ticker, created_at, price)"
        " SELECT %s, minute, price FROM unnest(%s::timestamptz[], %s::numeric[])"
        " AS given (minute, price)",
        [ticker, list(series), list(series.values())],
    )


def miss(conn: psycopg.Connection, ticker: str, minutes: Iterable[datetime], reason: str) -> None:
    """Record them as missed."""
    conn.execute(
        "INSERT INTO misses (ticker, minute, reason, attempts)"
        " SELECT %s, minute, %s, 1 FROM unnest(%s::timestamptz[]) AS given (minute)",
        [ticker, reason, list(minutes)],
    )


def bucket(moment: datetime, width: timedelta | None) -> datetime:
    """The start of the bucket that contains *moment*; without a *width*, its month."""
    if width is None:
        return moment.replace(day=1, hour=0, minute=0)
    return moment - (moment - EPOCH) % width


def after(start: datetime, width: timedelta | None) -> datetime:
    """The start of the bucket that follows."""
    return bucket(start + (width or timedelta(days=31)), width)


def buckets(series: Series, width: timedelta | None) -> dict[datetime, list[Decimal]]:
    """The prices of each bucket that has any, in their order."""
    found: dict[datetime, list[Decimal]] = {}
    for minute in sorted(series):
        found.setdefault(bucket(minute, width), []).append(series[minute])
    return found


def changes(series: Series, width: timedelta | None) -> dict[datetime, float]:
    """How the close of each bucket differs from that of the one before, as a part of it."""
    closes = {start: prices[-1] for start, prices in buckets(series, width).items()}
    return {
        after(start, width): float(closes[after(start, width)] / close - 1)
        for start, close in closes.items()
        if after(start, width) in closes
    }


def gaps(
    series: Series, reasons: Mapping[datetime, str], since: datetime, until: datetime
) -> list[tuple[datetime, datetime, int, str]]:
    """Start, stop, minutes and reason of what is missing in [since, until), minute by minute."""
    window = (since + n * MINUTE for n in range((until - since) // MINUTE))
    lacking = ((minute, reasons.get(minute, "not_polled")) for minute in window
               if minute not in series)  # fmt: skip
    placed = [(minute - n * MINUTE, reason, minute) for n, (minute, reason) in enumerate(lacking)]
    runs = [[*run] for _, run in groupby(placed, lambda each: each[:2])]
    return [(run[0][2], run[-1][2] + MINUTE, len(run), run[0][1]) for run in runs]
