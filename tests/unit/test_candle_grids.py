"""Starts of buckets, also where clocks change at midnight, and at the ends of time."""

from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import islice, pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.candles import (
    INTERVALS,
    UNITS,
    CalendarGrid,
    EvenGrid,
    Grid,
    ascending_buckets,
    bucket_start,
    day_start,
    descending_buckets,
    local_date,
    make_grid,
    next_start,
)
from tracker.times import FIRST, LAST, MINUTE, Span

HOUR = timedelta(hours=1)
YEARS = Span(datetime(1880, 1, 1, tzinfo=UTC), datetime(2035, 1, 1, tzinfo=UTC))

intervals = st.sampled_from(INTERVALS)
names = st.sampled_from(sorted(available_timezones()))
moments = st.integers(0, YEARS.minutes).map(lambda n: YEARS.since + n * MINUTE)
ever = st.sampled_from([FIRST, FIRST + 20 * HOUR, LAST - 20 * HOUR, LAST]) | moments


def day_lengths(zone: str, day: str, count: int = 3) -> list[tuple[str, float]]:
    """Start and number of hours of the days from *day* on."""
    since = datetime.fromisoformat(day).replace(tzinfo=UTC) - HOUR * 26
    grid = make_grid("1d", ZoneInfo(zone))
    days = islice(ascending_buckets(grid, Span(since, LAST)), count)
    return [(f"{each.since:%m-%d %H:%M}", (each.until - each.since) / HOUR) for each in days]


@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        ("UTC", "2024-03-10", [("03-09 00:00", 24), ("03-10 00:00", 24), ("03-11 00:00", 24)]),
        ("Asia/Kolkata", "2024-03-10", [("03-09 18:30", 24), ("03-10 18:30", 24)]),
        ("America/New_York", "2024-03-10", [("03-09 05:00", 24), ("03-10 05:00", 23)]),
        ("Europe/London", "2024-10-27", [("10-25 23:00", 24), ("10-26 23:00", 25)]),
        ("Australia/Lord_Howe", "2024-04-07", [("04-06 13:00", 24.5), ("04-07 13:30", 24)]),
        # Midnight is skipped: the day begins at one o'clock.
        ("America/Sao_Paulo", "2017-10-15", [("10-14 03:00", 24), ("10-15 03:00", 23)]),
        # Midnight comes twice: the day begins with the first.
        ("America/Havana", "2023-11-05", [("11-04 04:00", 24), ("11-05 04:00", 25)]),
        # A minute after midnight it is yesterday again: the day has begun all the same.
        ("America/St_Johns", "2010-11-07", [("11-06 02:30", 24), ("11-07 02:30", 25)]),
        # Half an hour before midnight the clock goes on an hour, and so skips it.
        ("America/Toronto", "1919-03-31", [("03-30 05:00", 23.5), ("03-31 04:30", 23.5)]),
        # A day that there never was: two begin at once, and the first has nothing.
        ("Pacific/Apia", "2011-12-31", [("12-30 10:00", 24), ("12-31 10:00", 24)]),
        # 19 minutes and 32 seconds ahead: the first whole minute counts.
        ("Europe/Amsterdam", "1937-01-02", [("12-31 23:41", 24), ("01-01 23:41", 24)]),
    ],
)
def test_days_begin_by_the_calendar(zone: str, day: str, expected: list[tuple[str, float]]) -> None:
    """By the IANA database, to the minute."""
    assert day_lengths(zone, day, len(expected)) == expected
    assert day_start(date.fromisoformat(day), ZoneInfo(zone)).tzinfo is UTC


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    """At local midnight, whatever the clock does between."""
    zone = ZoneInfo("Europe/Berlin")
    spring = Span(datetime(2024, 3, 20, tzinfo=UTC), datetime(2024, 5, 15, tzinfo=UTC))
    months = list(ascending_buckets(make_grid("1M", zone), spring))
    weeks = list(ascending_buckets(make_grid("1w", zone), spring))

    assert [f"{each.since:%m-%d %H}" for each in months] == ["03-31 22", "04-30 22"]
    assert [f"{each.since:%m-%d %H}" for each in weeks][:3] == ["03-24 23", "03-31 22", "04-07 22"]
    assert {each.since.astimezone(zone).weekday() for each in weeks} == {0}


def test_three_days_quarters_and_years_begin_by_the_calendar() -> None:
    """Three days are counted from 1970-01-01, over the ends of months, years and summer time."""
    zone = ZoneInfo("Europe/Berlin")
    ever = Span(datetime(1969, 12, 30, tzinfo=UTC), datetime(2025, 3, 1, tzinfo=UTC))

    def local_starts(unit: str) -> list[date]:
        buckets = ascending_buckets(make_grid(unit, zone), ever)
        return [local_date(each.since, zone) for each in buckets]

    epoch = date(1970, 1, 1)
    days = local_starts("3d")
    assert days == [epoch + timedelta(days=3 * n) for n in range(len(days))]
    assert local_starts("1Y") == [date(year, 1, 1) for year in range(1970, 2026)]
    quarters = [date(year, month, 1) for year in range(1970, 2026) for month in (1, 4, 7, 10)]
    assert local_starts("1Q") == quarters[:-3]


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("interval", "zone", "expected"),
    [
        ("1m", BERLIN, EvenGrid(MINUTE)),
        ("5m", BERLIN, EvenGrid(5 * MINUTE)),
        ("15m", UTC, EvenGrid(15 * MINUTE)),
        ("30m", UTC, EvenGrid(30 * MINUTE)),
        ("1h", UTC, EvenGrid(HOUR)),
        *((f"{n}h", BERLIN, EvenGrid(n * HOUR)) for n in (2, 3, 4, 6, 8, 12)),
        ("1d", UTC, EvenGrid(24 * HOUR)),
        ("1d", ZoneInfo("UTC"), EvenGrid(24 * HOUR)),
        ("1d", BERLIN, CalendarGrid("1d", BERLIN)),
        ("1w", UTC, CalendarGrid("1w", UTC)),
        ("1M", BERLIN, CalendarGrid("1M", BERLIN)),
        *((unit, UTC, CalendarGrid(unit, UTC)) for unit in ("3d", "1Q", "1Y")),
    ],
)
def test_only_days_and_longer_need_calendar(interval: str, zone: tzinfo, expected: Grid) -> None:
    """Days of UTC are even, which is faster."""
    assert make_grid(interval, zone) == expected


@pytest.mark.parametrize(("interval", "start"), [("1h", 12), ("4h", 12), ("1d", 0)])
def test_start_of_bucket_belongs_to_it(interval: str, start: int) -> None:
    grid = make_grid(interval)
    noon = datetime(2024, 1, 15, 12, tzinfo=UTC)
    first = noon.replace(hour=start)

    assert bucket_start(grid, first) == next_start(grid, first) == first
    assert bucket_start(grid, first + MINUTE) == first
    assert bucket_start(grid, first - MINUTE) < first < next_start(grid, first + MINUTE)


def test_span_excludes_bucket_at_its_end() -> None:
    noon = datetime(2024, 1, 15, 12, tzinfo=UTC)
    expected = [Span(noon + n * HOUR, noon + (n + 1) * HOUR) for n in range(2)]
    for within in (Span(noon, noon + 2 * HOUR), Span(noon - MINUTE, noon + HOUR + MINUTE)):
        assert list(ascending_buckets(make_grid("1h"), within)) == expected
        assert list(descending_buckets(make_grid("1h"), within)) == expected[::-1]


@given(interval=intervals, name=names, moment=ever)
def test_every_minute_is_in_one_bucket(interval: str, name: str, moment: datetime) -> None:
    """Buckets touch, are the same in both directions, and begin on a minute, in every zone."""
    grid = make_grid(interval, ZoneInfo(name))
    before = list(islice(descending_buckets(grid, Span(FIRST, moment)), 4))
    after = list(islice(ascending_buckets(grid, Span(moment, LAST)), 4))
    every = [*before[::-1], *after]

    assert all(one.until == other.since for one, other in pairwise(every))
    assert all(each.since < each.until for each in every)
    assert all(each.since == each.since.replace(second=0, microsecond=0) for each in every)
    assert bucket_start(grid, moment) <= moment <= next_start(grid, moment)
    if after:
        again = descending_buckets(grid, Span(after[0].since, after[-1].until))
        assert list(again) == after[::-1]


@given(unit=st.sampled_from(UNITS), name=names, moment=moments)
def test_bucket_begins_a_day_of_its_zone(unit: str, name: str, moment: datetime) -> None:
    """A minute earlier the calendar shows an earlier day."""
    zone = ZoneInfo(name)
    start = bucket_start(make_grid(unit, zone), moment)
    day = local_date(start, zone)

    assert local_date(start - MINUTE, zone) < day
    assert start == day_start(day, zone)
    days = {"1d": 2, "3d": 4, "1w": 8, "1M": 32, "1Q": 93, "1Y": 367}[unit]
    assert moment - start < (days * 24 + 2) * HOUR


@pytest.mark.parametrize("minutes", [0.5, 7, 50, 90, 150, 300, 2880])
def test_width_that_does_not_divide_a_day_is_invalid(minutes: float) -> None:
    """Buckets would shift from day to day, or divide an hour of the rollup."""
    with pytest.raises(ValueError, match="does not divide a day"):
        EvenGrid(minutes * MINUTE)


@pytest.mark.parametrize("minutes", [1, 30, 60, 720, 1440])
def test_width_that_divides_a_day_is_valid(minutes: int) -> None:
    assert EvenGrid(minutes * MINUTE).width == minutes * MINUTE


@pytest.mark.parametrize("unit", UNITS)
def test_calendar_begins_with_the_first_moment(unit: str) -> None:
    """0001-01-01 was a Monday. In New York it began when UTC had it, but the day before is none."""
    first = FIRST + 2 * 24 * HOUR if unit == "3d" else FIRST
    assert next_start(CalendarGrid(unit, UTC), FIRST) == first
    assert bucket_start(CalendarGrid(unit, ZoneInfo("America/New_York")), FIRST + MINUTE) == FIRST
