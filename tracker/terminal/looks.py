"""What a person sees of each kind of value: its columns, its words, its colours."""

import argparse
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from rich.text import Text

from tracker.gaps import DAY, HOUR, Coverage, Gap
from tracker.models import Candle, SourcedPrice
from tracker.rows import amount
from tracker.terminal.kinds import Kind
from tracker.terminal.tables import Cells, Look
from tracker.times import MINUTE

T = TypeVar("T")

UP, DOWN, REPAIRED, DIM = "green", "red", "yellow", "dim"

_LATE = 2 * MINUTE


def minute(moment: datetime, zone: tzinfo = UTC) -> str:
    """A minute on the calendar and clock of *zone*."""
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M}"


def source(price: SourcedPrice) -> Text:
    """Where a price comes from; one from a chart filled a hole."""
    if price.source == "chart":
        return Text("repaired", REPAIRED)
    return Text(price.source)


def _age(moment: datetime) -> Text:
    age = datetime.now(UTC) - moment
    return Text(_lasting(age), REPAIRED if age > _LATE else "")


def _lasting(age: timedelta) -> str:
    if age < _LATE:
        return f"{age.total_seconds():.0f} s"
    if age < 2 * HOUR:
        return f"{age // MINUTE} min"
    return f"{age // HOUR} h" if age < 2 * DAY else f"{age // DAY} days"


def _last(price: SourcedPrice) -> Cells:
    at = price.created_at
    return price.ticker, Text(amount(price.price), "bold"), minute(at), _age(at), source(price)


def _price(price: SourcedPrice) -> Cells:
    seen = f"{price.observed_at.astimezone(UTC):%H:%M:%S.%f}" if price.observed_at else ""
    return minute(price.created_at), Text(amount(price.price), "bold"), source(price), seen


def _gap(gap: Gap) -> Cells:
    return minute(gap.since), minute(gap.until - MINUTE), f"{gap.minutes}", Text(gap.reason, DOWN)


def _coverage(bucket: Coverage) -> Cells:
    style = DOWN if bucket.missing else UP
    counts = (
        f"{bucket.expected}",
        f"{bucket.polled}",
        Text(f"{bucket.chart}", REPAIRED if bucket.chart else ""),
        f"{bucket.imported}",
    )
    share = f"{bucket.ratio:.2%}"
    return minute(bucket.since), *counts, Text(f"{bucket.missing}", style), Text(share, style)


def look(kind: Kind[T], arguments: argparse.Namespace) -> Look[Any]:
    """The table of *kind*; candles are shown by the clock of their zone."""
    if kind.name == "candles":
        return _candles(_zone(arguments.tz))
    return _LOOKS[kind.name]


def _candles(zone: tzinfo) -> Look[Candle]:
    def cells(candle: Candle) -> Cells:
        style = UP if candle.close > candle.open else DOWN if candle.close < candle.open else ""
        prices = (amount(price) for price in (candle.open, candle.high, candle.low))
        close = Text(amount(candle.close), style)
        return minute(candle.start, zone), *prices, close, f"{candle.samples}"

    return Look((f"<begins ({zone})", "open", "high", "low", "close", "samples"), cells)


def _zone(name: str | None) -> tzinfo:
    """The zone of that name; UTC if this machine has none, the API has the last word on that."""
    try:
        return ZoneInfo(name) if name else UTC
    except (KeyError, ValueError, OSError):
        return UTC


_LOOKS: dict[str, Look[Any]] = {
    "last": Look(("<ticker", "price", "<minute (UTC)", "age", "<source"), _last, spare=2),
    "prices": Look(("<minute (UTC)", "price", "<source", "<observed"), _price, spare=2),
    "gaps": Look(("<from (UTC)", "<to", "minutes", "<reason"), _gap),
    "coverage": Look(
        ("<from (UTC)", "expected", "polled", "chart", "imported", "missing", "stored"), _coverage
    ),
}
