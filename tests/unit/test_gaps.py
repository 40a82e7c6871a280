"""The arithmetic of gaps: reasons, buckets and their coverage."""

from datetime import UTC, datetime, timedelta

import pytest

from tracker import gaps
from tracker.gaps import Coverage, Gap, RecordedGap
from tracker.times import DAY, FIRST, HOUR, LAST, MINUTE, Span

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def at(minutes: float) -> datetime:
    """That many minutes after noon."""
    return NOON + minutes * MINUTE


def span(first: float, end: float) -> Span:
    """The minutes from *first* to before *end*, counted from noon."""
    return Span(at(first), at(end))


def test_coverage_counts_sources() -> None:
    bucket = Coverage(NOON, 60, polled=30, chart=5, imported=2)
    assert (bucket.stored, bucket.missing, bucket.ratio) == (37, 23, 0.6166)
    assert (Coverage(NOON, 60).stored, Coverage(NOON, 60).missing) == (0, 60)


@pytest.mark.parametrize(
    ("expected", "stored", "ratio"),
    [(3, 2, 0.6666), (3, 3, 1), (20_000, 19_999, 0.9999), (60, 0, 0), (10_000, 1, 0.0001)],
)
def test_ratio_is_rounded_down(expected: int, stored: int, ratio: float) -> None:
    """Only a complete bucket has 1."""
    assert Coverage(NOON, expected, imported=stored).ratio == ratio


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, (0, 10)),  # from the first tracked minute to the last complete one
        (-5, None, (0, 10)),
        (3, None, (3, 10)),
        (3.5, None, (4, 10)),
        (None, 7, (0, 7)),
        (None, 6.5, (0, 7)),
        (3, 7, (3, 7)),
        (None, 12, (0, 10)),
        (None, 9.5, (0, 10)),
        (9.5, 9.6, (10, 10)),
        (11, None, (10, 10)),
        (7, 3, (3, 3)),
        (3, -1, (-1, -1)),
    ],
)
def test_window_has_complete_tracked_minutes(
    start: float | None, end: float | None, expected: tuple[float, float]
) -> None:
    """It begins at or after start, and ends before end; tracked since noon, now 12:10:30."""
    bounds = (None if minutes is None else at(minutes) for minutes in (start, end))
    assert gaps.expected_span(NOON, *bounds, at(10.5)) == span(*expected)


def test_window_before_first_tracked_minute_is_empty() -> None:
    assert gaps.expected_span(at(20), None, None, at(10)) == span(10, 10)


def test_window_accepts_any_moments() -> None:
    """Bounds are limited before they are rounded, so that the last year causes no overflow."""
    assert gaps.expected_span(NOON, FIRST, LAST, at(10)) == span(0, 10)
    assert gaps.expected_span(NOON, LAST, LAST, at(10)) == span(10, 10)


def hole(first: int, end: int, recorded: int, recorded_end: int, reason: str = "") -> RecordedGap:
    """A hole with a run of records inside it, in minutes after noon."""
    return RecordedGap(at(first), at(end), at(recorded), at(recorded_end), reason)


def gap(first: int, end: int, reason: str = "not_polled") -> Gap:
    """A gap, in minutes after noon."""
    return Gap(at(first), at(end), reason)


@pytest.mark.parametrize(
    ("holes", "expected"),
    [
        ([], []),
        ([hole(0, 9, 0, 0)], [gap(0, 9)]),
        ([hole(0, 9, 0, 9, "refused")], [gap(0, 9, "refused")]),
        ([hole(0, 9, 0, 4, "refused")], [gap(4, 9), gap(0, 4, "refused")]),
        ([hole(0, 9, 4, 9, "refused")], [gap(4, 9, "refused"), gap(0, 4)]),
        ([hole(0, 9, 3, 4, "refused")], [gap(4, 9), gap(3, 4, "refused"), gap(0, 3)]),
        (
            [hole(0, 9, 6, 8, "too_late"), hole(0, 9, 2, 3, "refused")],
            [gap(8, 9), gap(6, 8, "too_late"), gap(3, 6), gap(2, 3, "refused"), gap(0, 2)],
        ),
        (
            [hole(0, 9, 3, 6, "too_late"), hole(0, 9, 0, 3, "refused")],
            [gap(6, 9), gap(3, 6, "too_late"), gap(0, 3, "refused")],
        ),
        ([hole(5, 9, 5, 5), hole(0, 3, 1, 2, "refused")],
         [gap(5, 9), gap(2, 3), gap(1, 2, "refused"), gap(0, 1)]),
        ([hole(5, 9, 5, 5), hole(5, 8, 5, 5), hole(4, 8, 4, 4)], [gap(5, 9), gap(5, 8), gap(4, 8)]),
    ],
)  # fmt: skip
def test_holes_are_explained_by_records(holes: list[RecordedGap], expected: list[Gap]) -> None:
    """Newest first; minutes without a record were not polled."""
    assert list(gaps.split_by_reason(holes)) == expected


@pytest.mark.parametrize(
    ("within", "width", "count", "expected"),
    [
        (span(0, 180), HOUR, 9, [span(120, 180), span(60, 120), span(0, 60)]),
        (span(0, 180), HOUR, 2, [span(120, 180), span(60, 120)]),
        (span(0, 180), HOUR, 0, []),
        (span(30, 90), HOUR, 9, [span(60, 90), span(30, 60)]),
        (span(30, 61), HOUR, 9, [span(60, 61), span(30, 60)]),
        (span(59, 60), HOUR, 9, [span(59, 60)]),
        (span(60, 60), HOUR, 9, []),
        (span(-720, 0), DAY, 9, [span(-720, 0)]),
    ],
)
def test_buckets_are_cut_to_span(
    within: Span, width: timedelta, count: int, expected: list[Span]
) -> None:
    """Newest first, at most *count*."""
    assert gaps.split_into_buckets(within, width, count) == expected


def test_covered_adds_parts_of_bucket() -> None:
    """A bucket starts at the full hour, also where fewer minutes are expected."""
    counted = [(at(0), 1, 2, 3), (at(60), 20, 10, 0), (at(0), 4, 0, 5), (at(600), 9, 9, 9)]
    assert gaps.compute_coverage([span(60, 100), span(30, 60), span(-60, 0)], HOUR, counted) == [
        Coverage(at(60), 40, 20, 10, 0),
        Coverage(at(0), 30, 5, 2, 8),
        Coverage(at(-60), 60, 0, 0, 0),
    ]
