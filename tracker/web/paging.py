"""Paging on the minute grid: the minutes of a listing, those of a page, and its neighbours.

A cursor is a minute, never a count: rows that arrive meanwhile move no page. All but the
fetching is pure arithmetic.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Self

from tracker.queries.prices import EMPTY_PAGE, PageQuery, PricePage
from tracker.times import EPOCH, FIRST, LAST, MINUTE
from tracker.web.batching import PageBatcher
from tracker.web.responses import CSV, PriceFormat


@dataclass(frozen=True, slots=True)
class MinuteRange:
    """Consecutive minutes, counted from 1970; both ends are inclusive, empty if last < first.

    Counted, because numbers have no first year and no last one.
    """

    first: int
    last: int

    def __bool__(self) -> bool:
        """Whether it has any minute."""
        return self.first <= self.last

    @property
    def since(self) -> datetime:
        """The first minute, of a range that is not empty."""
        return minute_at(self.first)

    @property
    def until(self) -> datetime:
        """The last minute, of a range that is not empty."""
        return minute_at(self.last)

    def starting(self, moment: datetime) -> Self:
        """The minutes at or after *moment*."""
        return replace(self, first=max(self.first, _ceiling(moment)))

    def ending(self, moment: datetime) -> Self:
        """The minutes at or before *moment*."""
        return replace(self, last=min(self.last, minute_number(moment)))

    def after(self, moment: datetime) -> Self:
        """The minutes after *moment*."""
        return replace(self, first=max(self.first, minute_number(moment) + 1))

    def before(self, moment: datetime) -> Self:
        """The minutes before *moment*."""
        return replace(self, last=min(self.last, _ceiling(moment) - 1))

    def reaches(self, moment: datetime) -> bool:
        """Whether it has the minute of *moment*, or a later one."""
        return bool(self) and self.last >= minute_number(moment)


def minute_number(moment: datetime) -> int:
    """The number of the minute that contains *moment*, counted from 1970."""
    return (moment - EPOCH) // MINUTE


def minute_at(number: int) -> datetime:
    """The start of the minute *number*, or the nearest in the years 1 to 9999."""
    return EPOCH + min(max(number, ALL_MINUTES.first), ALL_MINUTES.last) * MINUTE


def _ceiling(moment: datetime) -> int:
    return -((EPOCH - moment) // MINUTE)


ALL_MINUTES = MinuteRange(minute_number(FIRST), minute_number(LAST))


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The range that a client pages through, and the place of one page in it.

    minutes: all minutes of the listing.
    ascending: whether the oldest prices come first.
    before, after: cursors, exclusive; the page is adjacent to its cursor.
    """

    minutes: MinuteRange
    ascending: bool
    before: datetime | None = None
    after: datetime | None = None

    @property
    def has_cursor(self) -> bool:
        """Whether the page is not the first of its listing."""
        return bool(self.before or self.after)

    @property
    def reads_ascending(self) -> bool:
        """The order in which the page is read, so that it is adjacent to its cursor."""
        return self.before is None if self.has_cursor else self.ascending

    @property
    def readable(self) -> MinuteRange:
        """The minutes on the page's side of the cursors."""
        minutes = self.minutes.before(self.before) if self.before else self.minutes
        return minutes.after(self.after) if self.after else minutes

    def behind(self, edge: int) -> MinuteRange:
        """The minutes on the other side of the page, whose first minute as it is read is *edge*."""
        if self.reads_ascending:
            return MinuteRange(self.minutes.first, min(edge - 1, self.minutes.last))
        return MinuteRange(max(edge + 1, self.minutes.first), self.minutes.last)


def make_listing(
    start: datetime | None,
    end: datetime | None,
    now: datetime,
    *,
    ascending: bool,
    before: datetime | None = None,
    after: datetime | None = None,
) -> Listing:
    """The listing from *start*, inclusive, to *end*, exclusive, in the order of the listing.

    It has minutes after *now* only where *start* or *end* is later.
    """
    if ascending:
        minutes = ALL_MINUTES.before(end) if end else ALL_MINUTES.ending(now)
        minutes = minutes.starting(start) if start else minutes
    else:
        minutes = ALL_MINUTES.ending(start or now)
        minutes = minutes.after(end) if end else minutes
    return Listing(minutes=minutes, ascending=ascending, before=before, after=after)


def minutes_around(moment: datetime, tolerance: int) -> tuple[MinuteRange, MinuteRange]:
    """The minutes up to *moment*, and those after it, at most *tolerance* seconds away.

    The minute that contains *moment* is always in the first.
    """
    distance = timedelta(seconds=tolerance)
    earliest = moment - distance if moment - FIRST > distance else FIRST
    latest = moment + distance if LAST - moment > distance else LAST
    earlier = ALL_MINUTES.ending(moment)
    later = ALL_MINUTES.after(moment).ending(latest)
    return replace(earlier, first=min(_ceiling(earliest), earlier.last)), later


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPage:
    """A page of a listing.

    lines: its prices as text in the order of the listing, LF between two; None without any.
    newest: its newest minute, if it has one.
    read: the minutes that were read; a change elsewhere does not change the page.
    older, newer: the cursors of the pages with older and with newer prices; None: no such page.
    """

    lines: str | None
    newest: datetime | None
    read: MinuteRange
    older: datetime | None
    newer: datetime | None


async def fetch_page(
    pages: PageBatcher, ticker: str, listing: Listing, limit: int, price_format: PriceFormat
) -> ListedPage:
    """The page of at most *limit* prices. Raises DatabaseDown, MigrationsPending."""
    fetch = partial(fetch_prices, pages, ticker, deadline=pages.deadline())
    minutes, ascending = listing.readable, listing.reads_ascending
    page = await fetch(minutes, limit, price_format=price_format, ascending=ascending)
    end = page.last_at if page.more else None
    if page.first_at:
        edge = minute_number(page.first_at)
    else:
        edge = minutes.first if ascending else minutes.last
    back = None
    if listing.has_cursor:
        minutes_behind = listing.behind(edge)
        behind = await fetch(minutes_behind, 1, price_format=_PLAIN, ascending=not ascending)
        back = None if behind.text is None else minute_at(edge)
    if end is not None:
        last = minute_number(end)
        minutes = replace(minutes, last=last) if ascending else replace(minutes, first=last)
    lines = page.text
    if lines and ascending != listing.ascending:
        lines = "\n".join(reversed(lines.split("\n")))
    return ListedPage(
        lines=lines,
        newest=page.last_at if ascending else page.first_at,
        read=minutes,
        older=back if ascending else end,
        newer=end if ascending else back,
    )


async def fetch_prices(
    pages: PageBatcher,
    ticker: str,
    minutes: MinuteRange,
    count: int,
    *,
    price_format: PriceFormat,
    deadline: float,
    ascending: bool,
) -> PricePage:
    """Up to *count* prices of *minutes*: the newest, or the oldest if *ascending*."""
    if not minutes:
        return EMPTY_PAGE
    query = PageQuery(
        ticker=ticker,
        template=price_format.template(ticker),
        since=minutes.since,
        until=minutes.until,
        count=count,
        ascending=ascending,
        with_source=bool(price_format.extras),
    )
    return await pages.fetch(query, deadline)


_PLAIN = PriceFormat(CSV)
