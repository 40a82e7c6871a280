"""The algebra of what is missing: stretches of minutes, why they are missing, how many are there.

Pure: what the database knows comes in as values. Lists are newest first, as answers are.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from tracker.times import EPOCH, MINUTE, minute_of

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NOT_POLLED = "not_polled"

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
class Hole(Span):
    """Missing minutes on end, and a run of records inside them, which may be empty.

    since, until: the minutes without a price.
    recorded_since, recorded_until, reason: those among them that have a record, and of what.
    """

    recorded_since: datetime
    recorded_until: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a bucket is stored.

    since: the bucket's start; the minutes that are expected may begin later.
    expected: its minutes that could be stored by now; at least 1.
    polled, chart, imported: how many of them are stored, by source.
    """

    since: datetime
    expected: int
    polled: int = 0
    chart: int = 0
    imported: int = 0

    @property
    def stored(self) -> int:
        """How many minutes are stored."""
        return self.polled + self.chart + self.imported

    @property
    def missing(self) -> int:
        """How many minutes are not stored."""
        return self.expected - self.stored

    @property
    def ratio(self) -> float:
        """The part that is stored, four decimals, rounded down: 1 says that nothing is missing."""
        return self.stored * _PARTS // self.expected / _PARTS


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
    return moment - (moment - EPOCH) % width


def explained(holes: Iterable[Hole]) -> Iterator[Gap]:
    """The gaps of *holes*, newest first; one with several runs of records comes once for each."""
    for (since, until), runs in groupby(holes, lambda hole: (hole.since, hole.until)):
        end = until
        for run in runs:
            yield from _some(run.recorded_until, end, NOT_POLLED)
            yield from _some(run.recorded_since, run.recorded_until, run.reason)
            end = run.recorded_since
        yield from _some(since, end, NOT_POLLED)


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
    expected: Iterable[Span], width: timedelta, counted: Iterable[tuple[datetime, int, int, int]]
) -> list[Coverage]:
    """The coverage of each bucket of *expected*.

    counted: (start, polled, chart, imported), a bucket more than once where it was read in parts.
    """
    sums: dict[datetime, Counter[str]] = defaultdict(Counter)
    for start, polled, chart, imported in counted:
        sums[start].update(polled=polled, chart=chart, imported=imported)
    starts = ((floor(bucket.since, width), bucket.minutes) for bucket in expected)
    return [Coverage(start, minutes, **sums[start]) for start, minutes in starts]


def split(span: Span) -> tuple[Span, list[Span]]:
    """The whole hours of *span*, and its minutes before and after them: up to two spans."""
    first, last = _ceiling(span.since, HOUR), floor(span.until, HOUR)
    if last < first:
        return Span(first, first), [span]
    edges = [Span(last, span.until), Span(span.since, first)]
    return Span(first, last), [edge for edge in edges if edge.minutes]


def _some(since: datetime, until: datetime, reason: str) -> list[Gap]:
    return [Gap(since, until, reason)] if since < until else []


def _up(moment: datetime) -> datetime:
    return _ceiling(moment, MINUTE)


def _ceiling(moment: datetime, width: timedelta) -> datetime:
    start = floor(moment, width)
    return start if start == moment else start + width
