"""Rows as JSON and CSV have them: columns, their order, every digit. tracker/client parses them.

Prices are strings, because JSON's numbers are not exact.
"""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from decimal import Decimal

from tracker.gaps import Coverage, Gap
from tracker.models import Candle, EmptyBucket, FilledPrice, SourcedPrice, Statistics
from tracker.times import MINUTE, format_moment

Row = dict[str, object]

EXTRA_COLUMNS = ("source", "observed_at")
PRICE_COLUMNS = ("id", "ticker", "price", "created_at")
FILLED_PRICE_COLUMNS = (*PRICE_COLUMNS, "filled")
CANDLE_COLUMNS = ("created_at", "open", "high", "low", "close", "samples")
FILLED_CANDLE_COLUMNS = (*CANDLE_COLUMNS, "filled")
GAP_COLUMNS = ("from", "to", "minutes", "reason")
COVERAGE_COLUMNS = ("from", "expected", "polled", "chart", "imported", "missing", "ratio")

STATISTICS_COLUMNS = tuple(field.name for field in fields(Statistics))


def format_decimal(number: Decimal) -> str:
    """Every digit, without an exponent."""
    return f"{number:f}"


def price_row(price: SourcedPrice) -> Row:
    """PRICE_COLUMNS, then EXTRA_COLUMNS."""
    return {
        "id": price.id,
        "ticker": price.ticker,
        "price": format_decimal(price.price),
        "created_at": format_moment(price.created_at),
        "source": price.source,
        "observed_at": price.observed_at and _format_microseconds(price.observed_at),
    }


def filled_price_row(price: FilledPrice) -> Row:
    """FILLED_PRICE_COLUMNS, then EXTRA_COLUMNS."""
    return {
        "id": price.id,
        "ticker": price.ticker,
        "price": price.price and format_decimal(price.price),
        "created_at": format_moment(price.created_at),
        "filled": price.filled,
        "source": price.source,
        "observed_at": price.observed_at and _format_microseconds(price.observed_at),
    }


def filled_candle_row(candle: Candle | EmptyBucket) -> Row:
    """FILLED_CANDLE_COLUMNS."""
    if isinstance(candle, Candle):
        return candle_row(candle) | {"filled": False}
    text = candle.close and format_decimal(candle.close)
    prices = dict.fromkeys(("open", "high", "low", "close"), text)
    start = format_moment(candle.start)
    return {"created_at": start, **prices, "samples": 0, "filled": True}


def with_text_flag(row: Mapping[str, object]) -> Row:
    """A filled row for CSV: `filled` is true or false, as in JSON."""
    return {**row, "filled": str(row["filled"]).lower()}


def candle_row(candle: Candle) -> Row:
    """CANDLE_COLUMNS."""
    return {
        "created_at": format_moment(candle.start),
        "open": format_decimal(candle.open),
        "high": format_decimal(candle.high),
        "low": format_decimal(candle.low),
        "close": format_decimal(candle.close),
        "samples": candle.samples,
    }


def gap_row(gap: Gap) -> Row:
    """GAP_COLUMNS; from and to are the first and the last missing minute."""
    return {
        "from": format_moment(gap.since),
        "to": format_moment(gap.until - MINUTE),
        "minutes": gap.minutes,
        "reason": gap.reason,
    }


def coverage_row(coverage: Coverage) -> Row:
    """COVERAGE_COLUMNS."""
    return {
        "from": format_moment(coverage.since),
        "expected": coverage.expected,
        "polled": coverage.polled,
        "chart": coverage.chart,
        "imported": coverage.imported,
        "missing": coverage.missing,
        "ratio": coverage.ratio,
    }


def statistics_row(statistics: Statistics) -> Row:
    """STATISTICS_COLUMNS: decimals and moments as text, counts and doubles as numbers."""
    row: Row = {}
    for name in STATISTICS_COLUMNS:
        value = getattr(statistics, name)
        if isinstance(value, datetime):
            value = format_moment(value)
        elif isinstance(value, Decimal):
            value = format_decimal(value)
        row[name] = value
    return row


def _format_microseconds(moment: datetime) -> str:
    """*moment*, which is in UTC, with six digits of microseconds."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
