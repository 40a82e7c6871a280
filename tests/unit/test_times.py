"""Moments, minutes and spans of minutes in UTC."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.times import (
    DAY,
    HOUR,
    LAST,
    MINUTE,
    Clock,
    Span,
    floor_moment,
    format_moment,
    minute_of,
    next_instant,
    parse_in_unit,
    parse_moment,
    parse_retry_after,
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1705320000000000000", NOON),
        ("1705320000123456789", NOON + timedelta(microseconds=123_456)),
        ("99999999999999999", datetime(5138, 11, 16, 9, 46, 39, 999999, tzinfo=UTC)),
        ("100000000000000000", datetime(1973, 3, 3, 9, 46, 40, tzinfo=UTC)),
        ("253402300799999999999", LAST),
    ],
)
def test_unix_time_may_be_nanoseconds(text: str, expected: datetime) -> None:
    """From 1e17 on, such as pandas' Timestamp.value; digits below microseconds are truncated."""
    assert parse_moment(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("2026", "202611", "20261120", "202611201530", "20261120153000", "19991231", "21000101"),
        *(" 20261120 ", "+20261120", "20261120.0", "20261120.5", "2.026112e7", "020261120"),
        *("20261399", "202613", "20269999999999"),
    ],
)
def test_number_that_looks_like_a_date_is_refused(text: str) -> None:
    """Rather than read as a moment in 1970; possible dates and impossible ones."""
    with pytest.raises(ValueError, match=r"^looks like a date without hyphens") as caught:
        parse_moment(text)
    assert str(caught.value) == (
        "looks like a date without hyphens, but a number is a Unix time: write a date as"
        f" 2024-01-15, with a time as 2024-01-15T12:00Z: {text!r}"
    )
    parse_moment(text, allow_date_digits=True)


@pytest.mark.parametrize(
    "text", ["0", "1", "-1", "999", "1899", "2200", "-2026", "20260", "2026112", "2026112015"]
)
def test_other_number_is_a_unix_time(text: str) -> None:
    assert parse_moment(text) == parse_moment(text, allow_date_digits=True)


def test_date_and_time_without_hyphens_are_a_date() -> None:
    assert parse_moment("20240115T1200") == parse_moment("20240115T12:00Z") == NOON


@pytest.mark.parametrize(
    ("unit", "text", "after"),
    [
        ("s", " 1705320000 ", 0),
        ("s", "1705320000.5", 500_000),
        ("s", "1.70532E+09", 0),
        ("s", "-60", -(1705320000 + 60) * 10**6),
        ("ms", "1705320000001", 1_000),
        ("us", "1705320000000001", 1),
        ("ns", "1705320000000001999", 1),
        ("iso", "2024-01-15t12:00z", 0),
    ],
)
def test_moment_in_unit_is_exact(unit: str, text: str, after: int) -> None:
    """To the microsecond; finer digits are truncated."""
    assert parse_in_unit(text, unit) == NOON + timedelta(microseconds=after)


@pytest.mark.parametrize(
    ("unit", "text", "why"),
    [
        ("s", "1e999", "is outside the years 1 to 9999: '1e999'"),
        ("ms", "noon", "is not a number of ms since 1970: 'noon'"),
        ("s", "9" * 15, f"is outside the years 1 to 9999: '{'9' * 15}'"),
        ("us", "1" * 31, f"is not a number of us since 1970: '{'1' * 31}'"),
        ("iso", "20240115120000", "is not RFC 3339 / ISO 8601: '20240115120000'"),
    ],
)
def test_moment_of_another_unit_is_invalid(unit: str, text: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{why}$"):
        parse_in_unit(text, unit)


def test_retry_after_is_seconds_or_a_date() -> None:
    """A date counts from the response's; one of the past is no wait; anything else is no value."""

    def parse(value: str, **others: str) -> float | None:
        return parse_retry_after({"retry-after": value, **others})

    assert parse(" 120 ") == 120
    assert parse("0") == parse("Mon, 15 Jan 2024 12:00:00 GMT") == 0
    assert 10**9 < (parse("Fri, 31 Dec 9999 23:59:59 GMT") or 0) < 10**12
    noon, later = "Mon, 15 Jan 2024 12:00:00 GMT", "Mon, 15 Jan 2024 12:00:07 GMT"
    assert (parse(later, date=noon), parse(noon, date=later)) == (7, 0)
    for text in ("", "-1", "soon", "1.5", "\u0661", "Mon, 15 Jan 2024 12:00:00 -0000"):
        assert parse(text) is None
    assert parse_retry_after({}) is None


def test_unix_time_has_30_decimals_at_most() -> None:
    digits = "0" * 29 + "9"
    assert parse_moment(f"1705320000.{digits}") == NOON
    with pytest.raises(ValueError, match="neither"):
        parse_moment(f"1705320000.0{digits}")


def test_iso_week_ends_on_sunday() -> None:
    assert parse_moment("2024-W02-7") == NOON.replace(day=14, hour=0)
    with pytest.raises(ValueError, match="neither"):
        parse_moment("2024-W02-8")


def test_last_moment_has_no_next_one() -> None:
    assert next_instant(NOON) == NOON + timedelta(microseconds=1)
    assert next_instant(LAST) == LAST


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
            "is neither a date or time such as 2024-01-15 or 2024-01-15T12:00:00Z nor a Unix time: "
            + repr("soon"),
        ),
        ("1e999", "is outside the years 1 to 9999: '1e999'"),
        ("253402300800000000000", "is outside the years 1 to 9999: '253402300800000000000'"),
        ("2026-02-29", "is no moment, because 2026-02 has 28 days: '2026-02-29'"),
        ("20260230T12", "is no moment, because 2026-02 has 28 days: '20260230T12'"),
        (
            "2026-02-29T23:59:60+23:59",
            "is no moment, because 2026-02 has 28 days: '2026-02-29T23:59:60+23:59'",
        ),
        ("2026-04-00", "is no moment, because 2026-04 has 30 days: '2026-04-00'"),
        ("2026-13-01", "is no moment, because its month is 13, not 1 to 12: '2026-13-01'"),
        ("0000-01-01", "is no moment, because its year is 0, not 1 to 9999: '0000-01-01'"),
        ("2025-W53-1", "is no moment, because 2025 has no week 53: '2025-W53-1'"),
        ("2026-01-01T25", "is no moment, because its hour is 25, not 0 to 23: '2026-01-01T25'"),
        (
            "2026-01-01 12:60",
            "is no moment, because its minute is 60, not 0 to 59: '2026-01-01 12:60'",
        ),
        (
            "2026-01-01t12:00:61z",
            "is no moment, because its second is 61, not 0 to 60: '2026-01-01t12:00:61z'",
        ),
        (
            "2026-01-01T12+24:00",
            "is no moment, because its offset's hour is 24, not 0 to 23: '2026-01-01T12+24:00'",
        ),
        (
            "2026-01-01T12+05:60",
            "is no moment, because its offset's minute is 60, not 0 to 59: '2026-01-01T12+05:60'",
        ),
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
