"""Where candles begin and end: every few minutes, or by the calendar of a zone.

Pure. A bucket lasts until the next one begins, so that none overlap and no minute is left out: the
days of a zone have 23, 24 or 25 hours; weeks begin on Monday, months on their first day.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import count, dropwhile, groupby, pairwise
from typing import Protocol

from tracker import gaps, zones
from tracker.gaps import DAY, HOUR, Span
from tracker.times import FIRST, LAST, MINUTE

WIDTHS = {
    "1m": MINUTE,
    "5m": 5 * MINUTE,
    "15m": 15 * MINUTE,
    "30m": 30 * MINUTE,
    "1h": HOUR,
    "4h": 4 * HOUR,
}
UNITS = ("1d", "1w", "1M")
INTERVALS = (*WIDTHS, *UNITS)

_MONTHS = 12
_SPARE = 2  # units looked at on the other side of a moment: some clocks show a midnight twice


class Grid(Protocol):
    """Where buckets begin: each on a whole UTC minute."""

    def since(self, moment: datetime) -> Iterator[datetime]:
        """Every start at or after *moment*, the oldest first; then LAST."""

    def before(self, moment: datetime) -> Iterator[datetime]:
        """Every start before *moment*, the newest first."""


@dataclass(frozen=True, slots=True)
class Even:
    """Buckets of one *width*, which divides a day, from midnight UTC on."""

    width: timedelta

    def since(self, moment: datetime) -> Iterator[datetime]:
        """Every start at or after *moment*, the oldest first; then LAST."""
        start = gaps.floor(moment, self.width)
        if start == moment:
            yield start
        while LAST - start > self.width:
            start += self.width
            yield start
        yield LAST

    def before(self, moment: datetime) -> Iterator[datetime]:
        """Every start before *moment*, the newest first."""
        start = gaps.floor(moment, self.width)
        if start < moment:
            yield start
        while start > FIRST:
            start -= self.width
            yield start


@dataclass(frozen=True, slots=True)
class Calendar:
    """The days, weeks or months of a *zone*; *unit* is one of UNITS."""

    unit: str
    zone: tzinfo

    def since(self, moment: datetime) -> Iterator[datetime]:
        """Every start at or after *moment*, the oldest first; then LAST."""
        yield from (start for start in self._starts(moment, 1) if start >= moment)
        yield LAST

    def before(self, moment: datetime) -> Iterator[datetime]:
        """Every start before *moment*, the newest first."""
        return (start for start in self._starts(moment, -1) if start < moment)

    def _starts(self, moment: datetime, step: int) -> Iterator[datetime]:
        """From *moment* on by *step*, without end but that of time; some behind it come first."""
        day = zones.shown(moment, self.zone)
        units = (_first(day, self.unit, n) for n in count(-_SPARE * step, step))
        existing = iter(dropwhile(lambda first: first is None, units))
        days = (zones.begin(first, self.zone) for first in iter(existing.__next__, None))
        return (start for start, _ in groupby(days))


def grid(interval: str, zone: tzinfo = UTC) -> Even | Calendar:
    """The grid of *interval*, one of INTERVALS; only days and longer have a *zone*."""
    width = DAY if interval == "1d" and str(zone) == "UTC" else WIDTHS.get(interval)
    return Even(width) if width else Calendar(interval, zone)


def ceiling(grid: Grid, moment: datetime) -> datetime:
    """The first start at or after *moment*; LAST if there is none."""
    return next(grid.since(moment))


def floor(grid: Grid, moment: datetime) -> datetime:
    """The start of the bucket that contains the minute of *moment*; FIRST if it began earlier."""
    start = ceiling(grid, moment)
    return start if start == moment else next(grid.before(moment), FIRST)


def rising(grid: Grid, within: Span) -> Iterator[Span]:
    """The buckets that start in *within*, the oldest first."""
    for start, end in pairwise(grid.since(within.since)):
        if start >= within.until:
            return
        yield Span(start, end)


def falling(grid: Grid, within: Span) -> Iterator[Span]:
    """The buckets that start in *within*, the newest first."""
    end = ceiling(grid, within.until)
    for start in grid.before(within.until):
        if start < within.since:
            return
        yield Span(start, end)
        end = start


def _first(day: date, unit: str, later: int) -> date | None:
    """The first day of the unit that contains *day*, or of the one that is *later* by some units.

    None if it lies outside the years 1 to 9999.
    """
    try:
        if unit == "1M":
            year, month = divmod(day.year * _MONTHS + day.month - 1 + later, _MONTHS)
            return date(year, month + 1, 1)
        past, days = (day.weekday(), 7) if unit == "1w" else (0, 1)
        return date.fromordinal(day.toordinal() - past + later * days)
    except ValueError:
        return None
