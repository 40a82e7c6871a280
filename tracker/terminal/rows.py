"""Values as the API's JSON has them: names, order, every digit. tracker/replies.py reads it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Generic, TypeVar

from tracker.gaps import Coverage, Gap
from tracker.models import MINUTE, Candle, SourcedPrice

T = TypeVar("T")
Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """What is written of one kind of value: the names of the columns, and a row.

    name: of the table that a person sees instead.
    """

    name: str
    columns: tuple[str, ...]
    row: Callable[[T], Row]


def amount(number: Decimal) -> str:
    """Every digit, and never an exponent."""
    return f"{number:f}"


def time(moment: datetime) -> str:
    """A UTC moment as 2024-01-15T12:00:00Z."""
    return moment.isoformat().replace("+00:00", "Z")


def _price(price: SourcedPrice) -> Row:
    seen = price.observed_at
    return {
        "id": price.id,
        "ticker": price.ticker,
        "price": amount(price.price),
        "created_at": time(price.created_at),
        "source": price.source,
        "observed_at": seen and seen.isoformat(timespec="microseconds").replace("+00:00", "Z"),
    }


def _gap(gap: Gap) -> Row:
    return {
        "from": time(gap.since),
        "to": time(gap.until - MINUTE),
        "minutes": gap.minutes,
        "reason": gap.reason,
    }


def _coverage(bucket: Coverage) -> Row:
    return {
        "from": time(bucket.since),
        "expected": bucket.expected,
        "polled": bucket.polled,
        "chart": bucket.chart,
        "missing": bucket.missing,
        "ratio": bucket.ratio,
    }


def _candle(candle: Candle) -> Row:
    return {
        "created_at": time(candle.start),
        "open": amount(candle.open),
        "high": amount(candle.high),
        "low": amount(candle.low),
        "close": amount(candle.close),
        "samples": candle.samples,
    }


_PRICE = ("id", "ticker", "price", "created_at", "source", "observed_at")
_BUCKET = ("from", "expected", "polled", "chart", "missing", "ratio")

LAST = Kind("last", _PRICE, _price)
PRICE = Kind("prices", _PRICE, _price)
GAP = Kind("gaps", ("from", "to", "minutes", "reason"), _gap)
COVERAGE = Kind("coverage", _BUCKET, _coverage)
CANDLE = Kind("candles", ("created_at", "open", "high", "low", "close", "samples"), _candle)
