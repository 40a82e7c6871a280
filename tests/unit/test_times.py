"""Moments and minutes in UTC."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from tracker.times import Clock, format_moment, minute_of, parse_moment

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
