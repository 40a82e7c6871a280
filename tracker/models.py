"""Validated, immutable values, with their units."""

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import chain

from tracker.errors import shorten
from tracker.times import minute_of

INDEX_NAME = "[a-z0-9-]+_[a-z0-9]+"

# Every index of Deribit is well within these bounds; other numbers are errors, not prices.
_MAX_EXPONENT = 18
_MAX_DECIMALS = 30
MIN_DECIMALS = 2  # of every price
_CENT = Decimal("0.01")


def parse_ticker(text: str) -> str:
    """An index name such as btc_usd, tracked or not. Raises ValueError with the reason."""
    if not re.fullmatch(INDEX_NAME, text):
        raise ValueError(f"is not an index name such as btc_usd: {shorten(text)!r}")
    return text


def split_pair(ticker: str) -> tuple[str, str]:
    """The currencies of an index, base and quote: BTC and USD of btc_usd."""
    base, _, quote = ticker.upper().rpartition("_")
    return base, quote


def is_pattern(text: str) -> bool:
    """Whether *text*, an item of TICKERS, stands for many index names, as *_usd does."""
    return "*" in text


def select_tickers(tickers: Iterable[str], listed: Iterable[str]) -> tuple[str, ...]:
    """The index names that *tickers* stand for: names, and patterns of *listed* names, by name."""
    names = sorted(name for name in listed if re.fullmatch(INDEX_NAME, name))
    selected = (fnmatch.filter(names, each) if is_pattern(each) else [each] for each in tickers)
    return tuple(dict.fromkeys(chain.from_iterable(selected)))


def is_pegged(ticker: str) -> bool:
    """Whether a price may be constant for days: base and quote are one currency, as in usdc_usd.

    Dollars are usd, every coin with usd in its name, and buidl, dai and usyc; euros are names that
    begin with eur.
    """
    currencies = {_currency(coin) for coin in ticker.split("_")}
    return len(currencies) == 1


def _currency(coin: str) -> str:
    if "usd" in coin or coin in {"buidl", "dai", "usyc"}:
        return "usd"
    return "eur" if coin.startswith("eur") else coin


def exact_price(number: Decimal) -> Decimal:
    """*number* with two decimals at least and no digit lost: 68241.5 -> 68241.50.

    Raises ValueError if it is not a positive number of a credible size.
    """
    if not (number.is_finite() and number > 0):
        raise ValueError(f"not a positive number: {number}")
    exponent = int(number.as_tuple().exponent)
    if abs(number.adjusted()) > _MAX_EXPONENT or exponent < -_MAX_DECIMALS:
        raise ValueError(f"not a credible price: {number}")
    return number.quantize(_CENT) if exponent > -MIN_DECIMALS else number


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A price of one index, as the exchange returned it.

    price: in the index's quote currency, exact, at least two decimals.
    observed_at: the exchange's time of the value, in UTC.

    Raises ValueError for a naive time, and a *price* that is not a positive number.
    """

    ticker: str
    price: Decimal
    observed_at: datetime

    def __post_init__(self) -> None:
        """Reject values that cannot be stored."""
        minute_of(self.observed_at)
        if str(exact_price(self.price)) != str(self.price):
            raise ValueError(f"fewer than two decimals: {self.price}")


@dataclass(frozen=True, slots=True)
class SourcedPrice:
    """A stored price of one index and minute, with its source.

    id: ascends with insertion, not with time.
    price: exact, at least two decimals.
    created_at: the UTC minute that the price belongs to.
    source: poll, polled in its minute; chart, an average from chart data; import, from a file.
    observed_at: the exchange's time of the value, in UTC; None if unknown.
    """

    id: int
    ticker: str
    price: Decimal
    created_at: datetime
    source: str
    observed_at: datetime | None


@dataclass(frozen=True, slots=True)
class FilledPrice:
    """A minute of a filled series.

    id, source, observed_at: None where *filled*, which means that the minute is not stored.
    price: its own; where *filled*, the previous stored one, or None.
    """

    id: int | None
    ticker: str
    price: Decimal | None
    created_at: datetime
    filled: bool
    source: str | None
    observed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Candle:
    """The candle of a bucket that has at least one price.

    start: the bucket's first UTC minute.
    open, high, low, close: its first, highest, lowest and last price, exact.
    samples: the number of its stored minutes.
    """

    start: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    samples: int


@dataclass(frozen=True, slots=True)
class EmptyBucket:
    """A bucket of a filled series that has no price.

    close: the price that it is filled with; None: none.
    """

    start: datetime
    close: Decimal | None


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of the stored prices of one index in a range; None where it has too few prices.

    first, last: the prices of the first and the last stored minute. high, low: the highest and the
        lowest price. Each has its minute; an extreme the first one.
    change, change_percent: from first to last.
    mean: the average of the stored prices.
    twap: the time-weighted average: from each minute to the next, the average of their prices.
    log_returns: the number of pairs of adjacent stored minutes, which twap and these are made of:
    log_return_mean, log_return_stddev: of ln(price / previous price).
    realised_volatility: the root of the mean square of the log returns, times that of 525,600, the
        minutes of 365 days; 0.5 is 50 per cent.
    max_drawdown_percent: the largest fall below an earlier price, negative or 0: from the last
        minute of the price *peak* to the first one of *trough*.
    samples: the number of stored minutes: polled, from charts, and imported.
    expected: the number of minutes that are tracked and over, or stored; missing: not stored.
    ratio: the stored part of those expected, rounded down to four decimals.
    """

    ticker: str
    first_at: datetime | None
    first: Decimal | None
    last_at: datetime | None
    last: Decimal | None
    high_at: datetime | None
    high: Decimal | None
    low_at: datetime | None
    low: Decimal | None
    change: Decimal | None
    change_percent: Decimal | None
    mean: Decimal | None
    twap: Decimal | None
    log_returns: int
    log_return_mean: float | None
    log_return_stddev: float | None
    realised_volatility: float | None
    max_drawdown_percent: Decimal | None
    peak_at: datetime | None
    peak: Decimal | None
    trough_at: datetime | None
    trough: Decimal | None
    samples: int
    polled: int
    chart: int
    imported: int
    expected: int
    missing: int
    ratio: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """A summary of the stored prices of one index; None where it has no price.

    since: the first polled or stored minute.
    minutes: the number of stored minutes.
    first_price, first_at: the oldest price and its minute.
    newest_price, newest_at: the newest price and its minute.
    past_price: the last price of the hour that ended 24 hours before the newest.
    high, low: the highest and the lowest price of the 24 hours up to the newest.
    missing: the number of tracked minutes of the last 24 hours that are not stored.
    decimals: of its polled prices, without zeros at their ends; of all if none was polled; at least
        MIN_DECIMALS.
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
    missing: int = 0
    decimals: int = MIN_DECIMALS
