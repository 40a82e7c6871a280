"""Where candles begin and end: every few minutes, or by the calendar of a time zone.

Pure. A bucket lasts until the next one begins, so that none overlap and no minute is left out: the
days of a zone have 23, 24 or 25 hours; three days are counted from 1970-01-01 of its calendar, as
exchanges count them in UTC; weeks begin on Monday, months, quarters and years on their first day,
those from January. Every bucket begins on a whole UTC minute. Zones come from the IANA database,
https://www.iana.org/time-zones.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import count, dropwhile, groupby, pairwise

from tracker.times import DAY, FIRST, HOUR, LAST, MINUTE, Span, floor_moment

WIDTHS = {
    "1m": MINUTE,
    "5m": 5 * MINUTE,
    "15m": 15 * MINUTE,
    "30m": 30 * MINUTE,
    "1h": HOUR,
    "2h": 2 * HOUR,
    "3h": 3 * HOUR,
    "4h": 4 * HOUR,
    "6h": 6 * HOUR,
    "8h": 8 * HOUR,
    "12h": 12 * HOUR,
}
_DAYS_OF = {"1d": 1, "3d": 3, "1w": 7}
_MONTHS_OF = {"1M": 1, "1Q": 3, "1Y": 12}
UNITS = (*_DAYS_OF, *_MONTHS_OF)
INTERVALS = (*WIDTHS, *UNITS)

_ORIGIN = date(2000, 1, 3).toordinal()  # a Monday, and a multiple of three days after 1970-01-01
_MONTHS = 12
_MARGIN = 2  # units read on the other side of a moment: some clocks repeat a midnight
_MAX_CACHED_DAYS = 20_000  # 55 years: a page needs the same days again


@dataclass(frozen=True, slots=True)
class EvenGrid:
    """Buckets of one *width*, which divides a day, counted from midnight UTC."""

    width: timedelta

    def __post_init__(self) -> None:
        """Reject a width that shifts from day to day, or that divides an hour of the rollup."""
        if DAY % self.width or self.width % (HOUR if self.width > HOUR else MINUTE):
            raise ValueError(f"does not divide a day into whole minutes or hours: {self.width}")

    def starts_from(self, moment: datetime) -> Iterator[datetime]:
        """Every start at or after *moment*, ascending; then LAST."""
        start = floor_moment(moment, self.width)
        if start == moment:
            yield start
        while LAST - start > self.width:
            start += self.width
            yield start
        yield LAST

    def starts_before(self, moment: datetime) -> Iterator[datetime]:
        """Every start before *moment*, descending."""
        start = floor_moment(moment, self.width)
        if start < moment:
            yield start
        while start > FIRST:
            start -= self.width
            yield start


@dataclass(frozen=True, slots=True)
class CalendarGrid:
    """The calendar's units in a *zone*; *unit* is one of UNITS."""

    unit: str
    zone: tzinfo

    def starts_from(self, moment: datetime) -> Iterator[datetime]:
        """Every start at or after *moment*, ascending; then LAST."""
        yield from (start for start in self._starts(moment, 1) if start >= moment)
        yield LAST

    def starts_before(self, moment: datetime) -> Iterator[datetime]:
        """Every start before *moment*, descending."""
        return (start for start in self._starts(moment, -1) if start < moment)

    def _starts(self, moment: datetime, step: int) -> Iterator[datetime]:
        """Starts by *step* from *moment* to the end of time; the first ones may precede it."""
        day = local_date(moment, self.zone)
        units = (_first_day(day, self.unit, n) for n in count(-_MARGIN * step, step))
        existing = iter(dropwhile(lambda first: first is None, units))
        days = (day_start(first, self.zone) for first in iter(existing.__next__, None))
        return (start for start, _ in groupby(days))


Grid = EvenGrid | CalendarGrid
_GRIDS = {interval: EvenGrid(width) for interval, width in WIDTHS.items()}
_UTC_DAYS = EvenGrid(DAY)


def make_grid(interval: str, zone: tzinfo = UTC) -> Grid:
    """The grid of *interval*, one of INTERVALS; *zone* applies to days and longer."""
    if interval == "1d" and str(zone) == "UTC":
        return _UTC_DAYS
    return _GRIDS.get(interval) or CalendarGrid(interval, zone)


def next_start(grid: Grid, moment: datetime) -> datetime:
    """The first start at or after *moment*; LAST if none exists."""
    return next(grid.starts_from(moment))


def bucket_start(grid: Grid, moment: datetime) -> datetime:
    """The start of the bucket that contains the minute of *moment*; FIRST if it began earlier."""
    start = next_start(grid, moment)
    return start if start == moment else next(grid.starts_before(moment), FIRST)


def ascending_buckets(grid: Grid, within: Span) -> Iterator[Span]:
    """The buckets that start in *within*, ascending."""
    for start, end in pairwise(grid.starts_from(within.since)):
        if start >= within.until:
            return
        yield Span(start, end)


def descending_buckets(grid: Grid, within: Span) -> Iterator[Span]:
    """The buckets that start in *within*, descending."""
    end = next_start(grid, within.until)
    for start in grid.starts_before(within.until):
        if start < within.since:
            return
        yield Span(start, end)
        end = start


def local_date(moment: datetime, zone: tzinfo) -> date:
    """The date in *zone* at *moment*; at the ends of time, the UTC date."""
    try:
        return moment.astimezone(zone).date()
    except OverflowError:
        return moment.date()


@lru_cache(_MAX_CACHED_DAYS)
def day_start(day: date, zone: tzinfo) -> datetime:
    """The first UTC minute of *day* in *zone*, or of the next day that exists there.

    The first one of a repeated midnight; the end of a skipped one. FIRST if it would be earlier.
    """
    midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 -- the zone comes next
    try:
        start = midnight.replace(tzinfo=zone).astimezone(UTC)
        is_skipped = start.astimezone(zone).replace(tzinfo=None) != midnight
    except OverflowError:
        return FIRST
    return _search_start(day, zone, start) if is_skipped else _next_minute(start)


def _search_start(day: date, zone: tzinfo, latest: datetime) -> datetime:
    """The start of *day* where midnight is skipped: at most a day before *latest*."""
    earliest = _next_minute(latest - DAY)

    def has_begun(minutes: int) -> bool:
        return local_date(earliest + minutes * MINUTE, zone) >= day

    return earliest + bisect_left(range(DAY // MINUTE + 1), x=True, key=has_begun) * MINUTE


def _next_minute(moment: datetime) -> datetime:
    """The first whole minute from *moment* on: historical offsets have seconds."""
    whole = moment.replace(second=0, microsecond=0)
    return whole if whole == moment else whole + MINUTE


def _first_day(day: date, unit: str, later: int) -> date | None:
    """The first day of the unit that contains *day*, or of the one *later* units after it.

    None if it lies outside the years 1 to 9999.
    """
    try:
        if months := _MONTHS_OF.get(unit):
            units = (day.year * _MONTHS + day.month - 1) // months + later
            year, month = divmod(units * months, _MONTHS)
            return date(year, month + 1, 1)
        days, ordinal = _DAYS_OF[unit], day.toordinal()
        return date.fromordinal(ordinal - (ordinal - _ORIGIN) % days + later * days)
    except ValueError:
        return None
