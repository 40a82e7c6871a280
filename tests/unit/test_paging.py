"""The arithmetic of pages: minutes counted from 1970, and the minutes of a listing."""

from datetime import UTC, datetime, timedelta

import pytest

from tracker.times import EPOCH, FIRST, LAST, MINUTE
from tracker.web.prices import following_minute, listing_minutes, minute_at, minute_number

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
NUMBER = minute_number(NOON)
SECOND = timedelta(seconds=1)


def at(minutes: float) -> datetime:
    """That many minutes after noon."""
    return NOON + minutes * MINUTE


@pytest.mark.parametrize(
    ("moment", "number", "following"),
    [
        (EPOCH, 0, 0),
        (EPOCH + 59 * SECOND, 0, 1),
        (EPOCH + 60 * SECOND, 1, 1),
        (EPOCH - SECOND, -1, 0),
        (NOON, 28_422_000, 28_422_000),
        (FIRST, -1_035_593_280, -1_035_593_280),
        (LAST, 4_223_371_679, 4_223_371_680),
    ],
)
def test_minutes_are_counted_from_1970(moment: datetime, number: int, following: int) -> None:
    assert minute_number(moment) == number
    assert following_minute(moment) == following
    assert minute_at(number) == moment.replace(second=0, microsecond=0)


def test_minute_outside_the_calendar_is_the_nearest() -> None:
    assert minute_at(minute_number(FIRST) - 1) == FIRST
    assert minute_at(minute_number(LAST) + 1) == LAST.replace(second=0, microsecond=0)


@pytest.mark.parametrize(
    ("start", "end", "ascending", "first", "last"),
    [
        (None, None, False, None, 30),
        (None, None, True, None, 30),
        (10, None, False, None, 10),
        (10.5, None, False, None, 10),
        (99, None, False, None, 99),
        (None, 10, False, 11, 30),
        (None, 9.5, False, 10, 30),
        (20, 10, False, 11, 20),
        (10, None, True, 10, 30),
        (9.5, None, True, 10, 30),
        (None, 10, True, None, 9),
        (None, 10.5, True, None, 10),
        (None, 99, True, None, 98),
        (10, 20, True, 10, 19),
        (10, 20, False, 10, 19),
        (20, 10, True, 11, 20),
        (20.5, 9.5, True, 10, 20),
        (99, 98, False, 99, 99),
    ],
)
def test_listing_starts_inclusive_and_ends_exclusive(
    start: float | None, end: float | None, *, ascending: bool, first: int | None, last: int
) -> None:
    """Whichever is the later one, now 12:30:30; only an explicit boundary is after now."""
    boundaries = (None if minute is None else at(minute) for minute in (start, end))
    minutes = listing_minutes(*boundaries, at(30.5), ascending=ascending)
    oldest = minute_number(FIRST) if first is None else NUMBER + first
    assert (minutes.start, minutes.stop) == (oldest, NUMBER + last + 1)


def test_listing_between_equal_boundaries_is_empty() -> None:
    assert not listing_minutes(at(1), at(1), NOON, ascending=True)
    assert not listing_minutes(at(1), at(1), NOON, ascending=False)
    assert not listing_minutes(at(1.5), at(1.2), NOON, ascending=True)
