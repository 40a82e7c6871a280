"""Arithmetic of gaps and coverage: spans of minutes, reasons, and counts.

Pure functions of rows of the database. Lists are descending, like the API's responses.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from tracker.times import MINUTE, Span, ceil_moment, floor_moment, minute_of

NOT_POLLED = "not_polled"

_RATIO_SCALE = 10_000  # four decimals


@dataclass(frozen=True, slots=True)
class Gap(Span):
    """Consecutive missing minutes with one reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class RecordedGap(Span):
    """Consecutive missing minutes, and one island of recorded misses in them, which may be empty.

    since, until: the minutes without a price.
    recorded_since, recorded_until, reason: the island, and the reason of its misses.
    """

    recorded_since: datetime
    recorded_until: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """The stored part of a bucket.

    since: the bucket's start; the expected minutes may begin later.
    expected: the number of its minutes that could be stored by now, at least 1.
    polled, chart, imported: the numbers of stored minutes by source.
    """

    since: datetime
    expected: int
    polled: int = 0
    chart: int = 0
    imported: int = 0

    @property
    def stored(self) -> int:
        """The number of stored minutes."""
        return self.polled + self.chart + self.imported

    @property
    def missing(self) -> int:
        """The number of missing minutes."""
        return self.expected - self.stored

    @property
    def ratio(self) -> float:
        """The stored part, rounded down to four decimals: 1 only if no minute is missing."""
        return self.stored * _RATIO_SCALE // self.expected / _RATIO_SCALE


def expected_span(
    since: datetime, start: datetime | None, end: datetime | None, now: datetime
) -> Span:
    """The minutes in [start, end) that could be stored by *now*, tracked *since*; may be empty.

    The present minute is still being polled, therefore the last complete one is the newest.
    """
    complete = minute_of(now)
    until = complete if end is None else min(ceil_moment(min(end, complete), MINUTE), complete)
    first = since if start is None else max(since, ceil_moment(min(start, complete), MINUTE))
    return Span(min(first, until), until)


def split_by_reason(rows: Iterable[RecordedGap]) -> Iterator[Gap]:
    """The gaps of *rows*, descending, one for each reason of consecutive minutes."""
    for (since, until), islands in groupby(rows, lambda row: (row.since, row.until)):
        end = until
        for island in islands:
            yield from _nonempty(island.recorded_until, end, NOT_POLLED)
            yield from _nonempty(island.recorded_since, island.recorded_until, island.reason)
            end = island.recorded_since
        yield from _nonempty(since, end, NOT_POLLED)


def split_into_buckets(within: Span, width: timedelta, count: int) -> list[Span]:
    """Up to *count* buckets of *within*, descending; the first and last are clipped to it."""
    buckets: list[Span] = []
    until = within.until
    while within.since < until and len(buckets) < count:
        start = floor_moment(until - MINUTE, width)
        buckets.append(Span(max(start, within.since), until))
        until = start
    return buckets


def compute_coverage(
    expected: Iterable[Span], width: timedelta, counted: Iterable[tuple[datetime, int, int, int]]
) -> list[Coverage]:
    """The coverage of each bucket of *expected*.

    counted: (start, polled, chart, imported), several rows for a bucket that was read in parts.
    """
    sums: dict[datetime, Counter[str]] = defaultdict(Counter)
    for start, polled, chart, imported in counted:
        sums[start].update(polled=polled, chart=chart, imported=imported)
    starts = ((floor_moment(bucket.since, width), bucket.minutes) for bucket in expected)
    return [Coverage(start, minutes, **sums[start]) for start, minutes in starts]


def _nonempty(since: datetime, until: datetime, reason: str) -> list[Gap]:
    return [Gap(since, until, reason)] if since < until else []
