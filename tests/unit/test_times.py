"""Moments, minutes and spans of minutes in UTC."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.times import (
    DAY,
    HOUR,
    MINUTE,
    Clock,
    Span,
    floor_moment,
    format_moment,
    minute_of,
    parse_moment,
    split_whole_hours,
)

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (NOON, "2024-01-15T12:00:00Z"),
        (NOON + timedelta(seconds=7.25), "2024-01-15T12:00:07.250000Z"),
        (datetime.min.replace(tzinfo=UTC), "0001-01-01T00:00:00Z"),
    ],
)
def test_format_moment_round_trips(moment: datetime, expected: str) -> None:
    assert format_moment(moment) == expected
    assert parse_moment(expected) == moment


@pytest.mark.parametrize(
    "moment",
    [
        NOON,
        NOON + timedelta(seconds=59.999999),
        (NOON + timedelta(seconds=1)).astimezone(ZoneInfo("Asia/Kolkata")),
        (NOON + timedelta(microseconds=1)).astimezone(timezone(timedelta(minutes=-1, seconds=7))),
    ],
)
def test_minute_of_is_utc_minute(moment: datetime) -> None:
    assert minute_of(moment) == NOON
    assert minute_of(moment).tzinfo is UTC


def test_minute_of_naive_time_is_invalid() -> None:
    with pytest.raises(ValueError, match="naive time: 2024-01-15 12:00:00"):
        minute_of(NOON.replace(tzinfo=None))


def test_unix_time_has_30_decimals_at_most() -> None:
    digits = "0" * 29 + "9"
    assert parse_moment(f"1705320000.{digits}") == NOON
    with pytest.raises(ValueError, match="neither"):
        parse_moment(f"1705320000.0{digits}")


def test_iso_week_ends_on_sunday() -> None:
    assert parse_moment("2024-W02-7") == NOON.replace(day=14, hour=0)
    with pytest.raises(ValueError, match="neither"):
        parse_moment("2024-W02-8")


def test_clock_shows_utc() -> None:
    before = datetime.now(UTC)
    now = Clock().now()
    assert before <= now <= datetime.now(UTC)
    assert now.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "soon",
            "is neither RFC 3339 / ISO 8601 such as 2024-01-15T12:00:00Z nor a Unix time: 'soon'",
        ),
        ("1e999", "is outside the years 1 to 9999: '1e999'"),
    ],
)
def test_invalid_moment_has_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^is ") as caught:
        parse_moment(text)
    assert str(caught.value) == reason
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("2024-01-15T12:34:56.789", MINUTE, "2024-01-15T12:34"),
        ("2024-01-15T12:34", MINUTE, "2024-01-15T12:34"),
        ("2024-01-15T12:34", 15 * MINUTE, "2024-01-15T12:30"),
        ("2024-01-15T12:34", HOUR, "2024-01-15T12:00"),
        ("2024-01-15T12:34", DAY, "2024-01-15T00:00"),
        ("1969-12-31T23:59", HOUR, "1969-12-31T23:00"),
    ],
)
def test_floor_is_start_of_bucket(text: str, width: timedelta, expected: str) -> None:
    moment, start = (datetime.fromisoformat(each).replace(tzinfo=UTC) for each in (text, expected))
    assert floor_moment(moment, width) == start


def span(first: float, end: float) -> Span:
    """The minutes from *first* to before *end*, counted from noon."""
    return Span(NOON + first * MINUTE, NOON + end * MINUTE)


def test_span_counts_minutes() -> None:
    assert [span(0, end).minutes for end in (0, 1, 5, 1440)] == [0, 1, 5, 1440]


def test_span_that_ends_before_it_begins_is_invalid() -> None:
    with pytest.raises(ValueError, match="ends before it begins") as caught:
        span(1, 0)
    assert "2024, 1, 15, 12, 1" in str(caught.value)


@pytest.mark.parametrize(
    ("whole", "hours", "edges"),
    [
        (span(0, 120), span(0, 120), []),
        (span(-10, 130), span(0, 120), [span(120, 130), span(-10, 0)]),
        (span(0, 61), span(0, 60), [span(60, 61)]),
        (span(-1, 60), span(0, 60), [span(-1, 0)]),
        (span(10, 50), span(60, 60), [span(10, 50)]),
        (span(10, 60), span(60, 60), [span(10, 60)]),
        (span(10, 70), span(60, 60), [span(60, 70), span(10, 60)]),
        (span(0, 0), span(0, 0), []),
        (span(0, 59), span(0, 0), [span(0, 59)]),
    ],
)
def test_split_separates_whole_hours(whole: Span, hours: Span, edges: list[Span]) -> None:
    assert split_whole_hours(whole) == (hours, edges)


@given(st.integers(-5000, 5000), st.integers(0, 5000))
def test_split_keeps_every_minute(first: int, minutes: int) -> None:
    whole = span(first, first + minutes)
    hours, edges = split_whole_hours(whole)
    assert hours.minutes % 60 == 0
    assert hours.minutes + sum(edge.minutes for edge in edges) == minutes
