"""Values as JSON and CSV have them: names, order, every digit. tracker/client.py reads them.

Prices are strings, because JSON's numbers are not exact.
"""

from datetime import datetime
from decimal import Decimal

from tracker.gaps import Coverage, Gap
from tracker.models import Candle, SourcedPrice
from tracker.times import MINUTE, format_moment

Row = dict[str, object]

EXTRAS = ("source", "observed_at")
PRICE = ("id", "ticker", "price", "created_at")
CANDLE = ("created_at", "open", "high", "low", "close", "samples")
GAP = ("from", "to", "minutes", "reason")
COVERAGE = ("from", "expected", "polled", "chart", "imported", "missing", "ratio")


def amount(number: Decimal) -> str:
    """Every digit, and never an exponent."""
    return f"{number:f}"


def price(found: SourcedPrice) -> Row:
    """The values of PRICE, then those of EXTRAS."""
    return {
        "id": found.id,
        "ticker": found.ticker,
        "price": amount(found.price),
        "created_at": format_moment(found.created_at),
        "source": found.source,
        "observed_at": found.observed_at and _exactly(found.observed_at),
    }


def candle(found: Candle) -> Row:
    """The values of CANDLE."""
    return {
        "created_at": format_moment(found.start),
        "open": amount(found.open),
        "high": amount(found.high),
        "low": amount(found.low),
        "close": amount(found.close),
        "samples": found.samples,
    }


def gap(found: Gap) -> Row:
    """The values of GAP; both ends are minutes that are missing."""
    return {
        "from": format_moment(found.since),
        "to": format_moment(found.until - MINUTE),
        "minutes": found.minutes,
        "reason": found.reason,
    }


def coverage(found: Coverage) -> Row:
    """The values of COVERAGE."""
    return {
        "from": format_moment(found.since),
        "expected": found.expected,
        "polled": found.polled,
        "chart": found.chart,
        "imported": found.imported,
        "missing": found.missing,
        "ratio": found.ratio,
    }


def _exactly(moment: datetime) -> str:
    """With its microseconds, all six digits."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
