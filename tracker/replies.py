"""The API's answers as values: rows of JSON, the events of the stream, problem details.

Pure, and the mirror of what tracker/web writes. Raises ValueError or KeyError for anything else.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from tracker.gaps import Coverage, Gap
from tracker.models import Candle, SourcedPrice
from tracker.times import MINUTE

Row = Mapping[str, Any]

_PRICE = "price"
_RESET = "reset"


@dataclass(frozen=True, slots=True)
class Point:
    """The price of an index for the UTC minute *created_at*."""

    price: Decimal
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Ticker:
    """What is stored of an index, in the words of GET /tickers; None: there is none."""

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


@dataclass(frozen=True, slots=True)
class Reset:
    """Prices of *ticker* from minute *first* to *last* must be read anew; None: all there are."""

    ticker: str
    first: datetime | None
    last: datetime | None


def price(row: Row) -> SourcedPrice:
    """A row of /prices, with its origin included."""
    return SourcedPrice(
        id=row["id"],
        ticker=row["ticker"],
        price=Decimal(row["price"]),
        created_at=datetime.fromisoformat(row["created_at"]),
        source=row["source"],
        observed_at=_moment(row["observed_at"]),
    )


def gap(row: Row) -> Gap:
    """A row of /prices/gaps."""
    first, last = (datetime.fromisoformat(row[end]) for end in ("from", "to"))
    return Gap(first, last + MINUTE, row["reason"])


def coverage(row: Row) -> Coverage:
    """A row of /prices/coverage."""
    since = datetime.fromisoformat(row["from"])
    return Coverage(since, row["expected"], row["polled"], row["chart"], row["imported"])


def candle(row: Row) -> Candle:
    """A row of /prices/candles."""
    prices = {name: Decimal(row[name]) for name in ("open", "high", "low", "close")}
    start = datetime.fromisoformat(row["created_at"])
    return Candle(start=start, samples=row["samples"], **prices)


def ticker(row: Row) -> Ticker:
    """A row of /tickers."""
    day = ("change_24h", "change_percent_24h", "high_24h", "low_24h")
    return Ticker(
        ticker=row["ticker"],
        configured=row["configured"],
        since=_moment(row["since"]),
        rows=row["rows"],
        first=_point(row["first"]),
        newest=_point(row["newest"]),
        **{name: None if row[name] is None else Decimal(row[name]) for name in day},
    )


class Events:
    """The events of a stream, from its lines; across connections, for it knows where it is.

    last_id: of the newest event that was complete.
    retry: seconds until it makes sense to connect again, as the server says.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """

    def __init__(self, last_id: str = "") -> None:
        """Behind the event of *last_id*, if there was one."""
        self.last_id = last_id
        self.retry = 1.0
        self.begin()

    def begin(self) -> None:
        """What follows comes over a new connection: half an event counts for nothing."""
        self._id, self._name, self._data = self.last_id, "", ""

    def take(self, line: str) -> SourcedPrice | Reset | None:
        """What *line* completes, if it completes something to know."""
        field, _, value = line.partition(":")
        match field:
            case "":
                return self._complete() if not line else None
            case "id":
                self._id = value.strip()
            case "event":
                self._name = value.strip()
            case "data":
                self._data = value
            case "retry":
                self.retry = int(value) / 1000
        return None

    def _complete(self) -> SourcedPrice | Reset | None:
        name, data = self._name, self._data
        self.last_id = self._id
        self.begin()
        if name == _PRICE:
            return price(json.loads(data))
        if name == _RESET:
            row = json.loads(data)
            return Reset(row["ticker"], _moment(row["from"]), _moment(row["to"]))
        return None


def errors(media_type: str, content: bytes) -> dict[str, str]:
    """The culprits that a problem document names, each with the reason; none if it is no such."""
    if not media_type.startswith("application/problem+json"):
        return {}
    return {error["name"]: error["reason"] for error in json.loads(content)["errors"]}


def _point(row: Row | None) -> Point | None:
    if row is None:
        return None
    return Point(Decimal(row["price"]), datetime.fromisoformat(row["created_at"]))


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
