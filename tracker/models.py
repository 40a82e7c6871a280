"""Frozen values that cannot be built wrong; units stand here, once."""

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from tracker.errors import shorten
from tracker.times import minute_of

INDEX_NAME = "[a-z0-9-]+_[a-z0-9]+"

# Every index of Deribit lies well inside these; a number outside is a fault, not a price.
_LARGEST_EXPONENT = 18
_MOST_DECIMALS = 30
_FEWEST_DECIMALS = 2
_CENT = Decimal("0.01")


def parse_ticker(text: str) -> str:
    """An index name such as btc_usd, tracked or not. Raises ValueError with the reason."""
    if not re.fullmatch(INDEX_NAME, text):
        raise ValueError(f"is not an index name such as btc_usd: {shorten(text)!r}")
    return text


def exact_price(number: Decimal) -> Decimal:
    """*number* with two decimals at least and no digit lost: 68241.5 -> 68241.50.

    Raises ValueError if it is not a positive number of a credible size.
    """
    if not (number.is_finite() and number > 0):
        raise ValueError(f"not a positive number: {number}")
    exponent = int(number.as_tuple().exponent)
    if abs(number.adjusted()) > _LARGEST_EXPONENT or exponent < -_MOST_DECIMALS:
        raise ValueError(f"not a credible price: {number}")
    return number.quantize(_CENT) if exponent > -_FEWEST_DECIMALS else number


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What the exchange said of one index.

    ticker: the index.
    price: in the index's quote currency, exact, two decimals at least.
    observed_at: the exchange's clock when it answered; UTC.

    Raises ValueError for a naive time or a *price* that is not a positive number.
    """

    ticker: str
    price: Decimal
    observed_at: datetime

    def __post_init__(self) -> None:
        """Refuse what cannot be stored."""
        minute_of(self.observed_at)
        if str(exact_price(self.price)) != str(self.price):
            raise ValueError(f"fewer than two decimals: {self.price}")


@dataclass(frozen=True, slots=True)
class SourcedPrice:
    """One stored row: the price of an index for one minute, and its origin.

    id: grows with insertion, not with time.
    price: exact, two decimals at least.
    created_at: the UTC minute the price belongs to.
    source: poll, asked for in its minute; or chart, an average from chart data.
    observed_at: the exchange's clock when it gave the value; UTC; None if it is not known.
    """

    id: int
    ticker: str
    price: Decimal
    created_at: datetime
    source: str
    observed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Candle:
    """The stored prices of one index in a bucket of time, which has at least one.

    start: the bucket's first UTC minute.
    open, high, low, close: its first, highest, lowest and last price; exact.
    samples: how many of its minutes are stored.
    """

    start: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    samples: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What is stored of one index; None is what there is none of.

    since: the first minute that was asked for or stored.
    minutes: how many minutes are stored.
    first_price, first_at: the oldest price and its minute.
    newest_price, newest_at: the newest price and its minute.
    past_price: the last price of the hour that ended 24 hours before the newest.
    high, low: the highest and lowest price from 24 hours before the newest up to it.
    """

    ticker: str
    since: datetime | None = None
    minutes: int = 0
    first_price: Decimal | None = None
    first_at: datetime | None = None
    newest_price: Decimal | None = None
    newest_at: datetime | None = None
    past_price: Decimal | None = None
    high: Decimal | None = None
    low: Decimal | None = None
