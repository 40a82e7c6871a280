"""The algebra of what is missing: stretches of minutes, why they are missing, how many are there.

Pure: what the database knows comes in as values. Lists are newest first, as answers are.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby

from tracker.models import MINUTE, minute_of

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NOT_POLLED = "not_polled"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PARTS = 10_000  # a ratio has four decimals


@dataclass(frozen=True, slots=True)
class Span:
    """Minutes on end: since <= minute < until. Raises ValueError if it ends before it begins."""

    since: datetime
    until: datetime

    def __post_init__(self) -> None:
        """Refuse what is no stretch of time."""
        if self.until < self.since:
            raise ValueError(f"ends before it begins: {self}")

    @property
    def minutes(self) -> int:
        """How many minutes it has."""
        return (self.until - self.since) // MINUTE


@dataclass(frozen=True, slots=True)
class Gap(Span):
    """Missing minutes on end, all for one reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Hours:
    """An hour that lacks minutes, or is followed by hours that lack them all.

    ended: the end of that hour, and the start of the hours without any minute.
    until: the end of those; the same as *ended* if there are none.
    samples: how many minutes of the hour itself are stored, at most 60.
    """

    ended: datetime
    until: datetime
    samples: int

    @property
    def partial(self) -> bool:
        """Some of its minutes are stored, and some are not."""
        return self.samples < HOUR // MINUTE

    @property
    def since(self) -> datetime:
        """Where looking further back goes on."""
        return self.ended - HOUR if self.partial else self.ended


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a bucket is stored.

    since: the bucket's start; the minutes that are expected may begin later.
    expected: its minutes that could be stored by now; at least 1.
    polled, chart: how many of them are stored, by where they come from.
    """

    since: datetime
    expected: int
    polled: int = 0
    chart: int = 0

    @property
    def missing(self) -> int:
        """How many minutes are not stored."""
        return self.expected - self.polled - self.chart

    @property
    def ratio(self) -> float:
        """The part that is stored, four decimals, rounded down: 1 says that nothing is missing."""
        return (self.polled + self.chart) * _PARTS // self.expected / _PARTS


def window(since: datetime, start: datetime | None, end: datetime | None, now: datetime) -> Span:
    """The minutes in [start, end) that can be stored by *now*, tracked *since*; maybe none.

    The present minute is still being polled: the newest one that counts is the last complete one.
    """
    complete = minute_of(now)
    until = complete if end is None else min(_up(min(end, complete)), complete)
    first = since if start is None else max(since, _up(min(start, complete)))
    return Span(min(first, until), until)


def floor(moment: datetime, width: timedelta) -> datetime:
    """The start of the UTC bucket, *width* wide, that contains *moment*."""
    return moment - (moment - _EPOCH) % width


def rounded(span: Span, width: timedelta) -> Span:
    """The smallest span of whole buckets that contains *span*."""
    return Span(floor(span.since, width), _ceiling(span.until, width))


def hour_holes(hour: datetime, stored: int) -> Iterator[Span]:
    """The missing stretches of the hour from *hour* on; bit n of *stored* is minute n."""
    missing = [n for n in range(HOUR // MINUTE - 1, -1, -1) if not stored >> n & 1]
    for _, run in groupby(enumerate(missing), lambda placed: placed[0] + placed[1]):
        minutes = [n for _, n in run]
        yield Span(hour + minutes[-1] * MINUTE, hour + (minutes[0] + 1) * MINUTE)


def holes(hours: Iterable[Hours], stored: dict[datetime, int], within: Span) -> list[Span]:
    """Every missing stretch of *hours*, cut to *within*; *stored* has the bits of partial hours."""
    found: list[Span] = []
    for each in hours:
        found.append(Span(each.ended, each.until))
        if each.partial:
            found += hour_holes(each.since, stored[each.since])
    cut = (_cut(hole, within) for hole in found)
    return [hole for hole in cut if hole.minutes]


def explained(missing: Iterable[Span], records: Sequence[Gap]) -> Iterator[Gap]:
    """*missing* with reasons: those of *records*, which lie inside, else that nobody asked."""
    left = list(reversed(records))
    for hole in missing:
        until = hole.until
        while left and left[-1].since >= hole.since:
            record = left.pop()
            yield Gap(record.until, until, NOT_POLLED)
            yield record
            until = record.since
        yield Gap(hole.since, until, NOT_POLLED)


def merged(gaps: Iterable[Gap]) -> list[Gap]:
    """*gaps* as runs: those that touch and have one reason are one; empty ones are left out."""
    runs: list[Gap] = []
    for gap in gaps:
        if not gap.minutes:
            continue
        if runs and (runs[-1].since, runs[-1].reason) == (gap.until, gap.reason):
            gap = replace(runs.pop(), since=gap.since)  # noqa: PLW2901 -- the run goes on
        runs.append(gap)
    return runs


def buckets(within: Span, width: timedelta, count: int) -> list[Span]:
    """Up to *count* buckets of *within*, newest first, those at its ends cut to it."""
    found: list[Span] = []
    until = within.until
    while within.since < until and len(found) < count:
        start = floor(until - MINUTE, width)
        found.append(Span(max(start, within.since), until))
        until = start
    return found


def covered(
    expected: Iterable[Span], width: timedelta, counted: Iterable[tuple[datetime, int, int]]
) -> list[Coverage]:
    """The coverage of each bucket; *counted* has (start, polled, chart), a bucket maybe twice."""
    polled: Counter[datetime] = Counter()
    chart: Counter[datetime] = Counter()
    for start, of_polls, of_charts in counted:
        polled[start] += of_polls
        chart[start] += of_charts
    starts = ((floor(bucket.since, width), bucket.minutes) for bucket in expected)
    return [Coverage(start, minutes, polled[start], chart[start]) for start, minutes in starts]


def split(span: Span) -> tuple[Span, list[Span]]:
    """The whole hours of *span*, and its minutes before and after them: up to two spans."""
    first, last = _ceiling(span.since, HOUR), floor(span.until, HOUR)
    if last < first:
        return Span(first, first), [span]
    edges = [Span(last, span.until), Span(span.since, first)]
    return Span(first, last), [edge for edge in edges if edge.minutes]


def _cut(span: Span, within: Span) -> Span:
    since = min(max(span.since, within.since), within.until)
    return Span(since, max(min(span.until, within.until), since))


def _up(moment: datetime) -> datetime:
    return _ceiling(moment, MINUTE)


def _ceiling(moment: datetime, width: timedelta) -> datetime:
    start = floor(moment, width)
    return start if start == moment else start + width
