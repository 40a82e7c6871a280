"""Which minutes a question is about: pure counting on the minute grid, no clock, no database."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self

from tracker.times import EPOCH, FIRST, LAST, MINUTE


@dataclass(frozen=True, slots=True)
class Minutes:
    """Minutes on end, counted from 1970; both are inclusive, and none if *last* precedes *first*.

    Counted, because numbers have no first year and no last one.
    """

    first: int
    last: int

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self.first <= self.last

    @property
    def since(self) -> datetime:
        """The first of them, if there are any."""
        return moment(self.first)

    @property
    def until(self) -> datetime:
        """The last of them, if there are any."""
        return moment(self.last)

    def start(self, moment: datetime) -> Self:
        """Those at or after *moment*."""
        return replace(self, first=max(self.first, _ceiling(moment)))

    def end(self, moment: datetime) -> Self:
        """Those at or before *moment*."""
        return replace(self, last=min(self.last, number(moment)))

    def after(self, moment: datetime) -> Self:
        """Those after *moment*."""
        return replace(self, first=max(self.first, number(moment) + 1))

    def before(self, moment: datetime) -> Self:
        """Those before *moment*."""
        return replace(self, last=min(self.last, _ceiling(moment) - 1))

    def reaches(self, moment: datetime) -> bool:
        """Whether the minute of *moment*, or a later one, is among them."""
        return bool(self) and self.last >= number(moment)


def number(moment: datetime) -> int:
    """The number of the minute that contains *moment*."""
    return (moment - EPOCH) // MINUTE


def moment(number: int) -> datetime:
    """The start of the minute of that *number*; the nearest that can be told, if it has no year."""
    return EPOCH + min(max(number, EVER.first), EVER.last) * MINUTE


def _ceiling(moment: datetime) -> int:
    return -((EPOCH - moment) // MINUTE)


EVER = Minutes(number(FIRST), number(LAST))


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a page is a part of, and where in it the page lies.

    whole: the minutes of the whole listing.
    rising: whether it shows the oldest first.
    before, after: cursors; a page lies next to its cursor.
    """

    whole: Minutes
    rising: bool
    before: datetime | None = None
    after: datetime | None = None

    @property
    def inside(self) -> bool:
        """Whether a cursor says that there are other pages."""
        return bool(self.before or self.after)

    @property
    def upwards(self) -> bool:
        """Whether the page is read from its oldest price on, so that it lies next to its cursor."""
        return self.rising if not self.inside else self.before is None

    @property
    def left(self) -> Minutes:
        """The minutes that the cursors leave."""
        left = self.whole.before(self.before) if self.before else self.whole
        return left.after(self.after) if self.after else left


def listing(asked: Mapping[str, Any], now: datetime) -> Listing:
    """The listing of the parameters *asked*; it goes beyond *now* only where that is asked for."""
    rising = asked.get("order") == "asc"
    start, end = asked.get("start_date"), asked.get("end_date")
    if rising:
        whole = EVER.before(end) if end else EVER.end(now)
        whole = whole.start(start) if start else whole
    else:
        whole = EVER.end(start or now)
        whole = whole.after(end) if end else whole
    return Listing(whole=whole, rising=rising, before=asked.get("before"), after=asked.get("after"))


def around(moment: datetime, tolerance: int) -> tuple[Minutes, Minutes]:
    """The minutes up to *moment*, and those after it, at most *tolerance* seconds away.

    The minute that contains *moment* is always among the first.
    """
    aside = timedelta(seconds=tolerance)
    earliest = moment - aside if moment - FIRST > aside else FIRST
    latest = moment + aside if LAST - moment > aside else LAST
    earlier = EVER.end(moment)
    return replace(earlier, first=min(_ceiling(earliest), earlier.last)), EVER.after(moment).end(
        latest
    )
