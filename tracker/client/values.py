"""What the client's methods accept and return, and the parsers of the API's rows."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias, TypedDict

from tracker.gaps import Coverage, Gap
from tracker.models import Candle, EmptyBucket, FilledPrice, SourcedPrice, Statistics
from tracker.times import MINUTE

Row: TypeAlias = Mapping[str, Any]
Fill: TypeAlias = Literal["null", "previous"]  # the price of what is missing


class Window(TypedDict, total=False):
    """From start to before end, aware datetimes in any zone; limit: rows a page, 1 to 1000."""

    start: datetime
    end: datetime
    limit: int


class Range(Window, total=False):
    """A window that is read from its newest row (desc) or from its oldest (asc)."""

    order: Literal["desc", "asc"]


class Buckets(Window, total=False):
    """A window in buckets of 1h or 1d."""

    interval: str


class CandleRange(Range, Buckets, total=False):
    """A range in buckets from 1m to 1Y; tz: the IANA zone of days and longer."""

    tz: str


@dataclass(frozen=True, slots=True)
class Point:
    """The price of an index for the UTC minute *created_at*."""

    price: Decimal
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Ticker:
    """A row of /tickers; None where an index has no price.

    missing_24h: minutes of the last 24 hours that are not stored.
    """

    ticker: str
    configured: bool
    since: datetime | None
    rows: int
    first: Point | None
    newest: Point | None
    change_24h: Decimal | None
    change_percent_24h: Decimal | None
    high_24h: Decimal | None
    low_24h: Decimal | None
    base: str
    quote: str
    decimals: int
    missing_24h: int


def parse_price(row: Row) -> SourcedPrice:
    """A row of /prices that includes its origin; like all parsers, raises ValueError, KeyError."""
    return SourcedPrice(
        id=row["id"],
        ticker=row["ticker"],
        price=Decimal(row["price"]),
        created_at=datetime.fromisoformat(row["created_at"]),
        source=row["source"],
        observed_at=parse_moment(row["observed_at"]),
    )


def parse_filled_price(row: Row) -> FilledPrice:
    """The same of a filled listing."""
    return FilledPrice(
        id=row["id"],
        ticker=row["ticker"],
        price=_parse_decimal(row["price"]),
        created_at=datetime.fromisoformat(row["created_at"]),
        filled=row["filled"],
        source=row["source"],
        observed_at=parse_moment(row["observed_at"]),
    )


def parse_gap(row: Row) -> Gap:
    """A row of /prices/gaps; its `to` is the last missing minute."""
    first, last = (datetime.fromisoformat(row[end]) for end in ("from", "to"))
    return Gap(first, last + MINUTE, row["reason"])


def parse_coverage(row: Row) -> Coverage:
    """A row of /prices/coverage."""
    since = datetime.fromisoformat(row["from"])
    return Coverage(since, row["expected"], row["polled"], row["chart"], row["imported"])


def parse_candle(row: Row) -> Candle:
    """A row of /prices/candles."""
    prices = {name: Decimal(row[name]) for name in ("open", "high", "low", "close")}
    start = datetime.fromisoformat(row["created_at"])
    return Candle(start=start, samples=row["samples"], **prices)


def parse_filled_candle(row: Row) -> Candle | EmptyBucket:
    """A row of a filled listing of /prices/candles."""
    if row["filled"]:
        start = datetime.fromisoformat(row["created_at"])
        return EmptyBucket(start, _parse_decimal(row["close"]))
    return parse_candle(row)


def parse_statistics(row: Row) -> Statistics:
    """A response of /prices/stats."""
    parsed = {}
    for field in fields(Statistics):
        value = row[field.name]
        if isinstance(value, str) and field.name != "ticker":
            is_moment = field.name.endswith("_at")
            value = datetime.fromisoformat(value) if is_moment else Decimal(value)
        parsed[field.name] = value
    return Statistics(**parsed)


def parse_ticker(row: Row) -> Ticker:
    """A row of /tickers."""
    day = ("change_24h", "change_percent_24h", "high_24h", "low_24h")
    return Ticker(
        ticker=row["ticker"],
        configured=row["configured"],
        since=parse_moment(row["since"]),
        rows=row["rows"],
        first=_parse_point(row["first"]),
        newest=_parse_point(row["newest"]),
        **{name: _parse_decimal(row[name]) for name in day},
        base=row["base"],
        quote=row["quote"],
        decimals=row["decimals"],
        missing_24h=row["missing_24h"],
    )


def _parse_point(row: Row | None) -> Point | None:
    if row is None:
        return None
    return Point(Decimal(row["price"]), datetime.fromisoformat(row["created_at"]))


def _parse_decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def parse_moment(text: str | None) -> datetime | None:
    """A moment of the API; None is null."""
    return None if text is None else datetime.fromisoformat(text)
