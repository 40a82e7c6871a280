"""Values as JSON and CSV have them: names, order, every digit. tracker/replies.py reads them.

Prices are strings, because JSON's numbers are not exact.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from tracker.gaps import Coverage, Gap
from tracker.models import MINUTE, Candle, Price, SourcedPrice

Row = dict[str, object]

EXTRAS = ("source", "observed_at")
PRICE = ("id", "ticker", "price", "created_at")
CANDLE = ("created_at", "open", "high", "low", "close", "samples")
GAP = ("from", "to", "minutes", "reason")
COVERAGE = ("from", "expected", "polled", "chart", "missing", "ratio")


def amount(number: Decimal) -> str:
    """Every digit, and never an exponent."""
    return f"{number:f}"


def rfc3339(moment: datetime) -> str:
    """*moment*, which is in UTC, as 2024-01-15T12:00:00Z."""
    return moment.isoformat().replace("+00:00", "Z")


def price(found: Price, extras: Sequence[str] = ()) -> Row:
    """The values of PRICE, then those of EXTRAS that are asked for: a SourcedPrice has them."""
    row: Row = {
        "id": found.id,
        "ticker": found.ticker,
        "price": amount(found.price),
        "created_at": rfc3339(found.created_at),
    }
    return row | {name: _extra(found, name) for name in extras}


def sourced(found: SourcedPrice) -> Row:
    """The values of PRICE and EXTRAS."""
    return price(found, EXTRAS)


def candle(found: Candle) -> Row:
    """The values of CANDLE."""
    return {
        "created_at": rfc3339(found.start),
        "open": amount(found.open),
        "high": amount(found.high),
        "low": amount(found.low),
        "close": amount(found.close),
        "samples": found.samples,
    }


def gap(found: Gap) -> Row:
    """The values of GAP; both ends are minutes that are missing."""
    return {
        "from": rfc3339(found.since),
        "to": rfc3339(found.until - MINUTE),
        "minutes": found.minutes,
        "reason": found.reason,
    }


def coverage(found: Coverage) -> Row:
    """The values of COVERAGE."""
    return {
        "from": rfc3339(found.since),
        "expected": found.expected,
        "polled": found.polled,
        "chart": found.chart,
        "missing": found.missing,
        "ratio": found.ratio,
    }


def _extra(found: Price, name: str) -> str | None:
    """Moments with their microseconds, all six digits."""
    assert isinstance(found, SourcedPrice)  # it was read because it is shown
    if name == "source":
        return found.source
    seen = found.observed_at
    return None if seen is None else seen.isoformat(timespec="microseconds")[:-6] + "Z"
