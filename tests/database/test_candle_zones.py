"""candles() and returns() on the calendar of a zone, against Python's own calendar."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import psycopg
import pytest
from psycopg.errors import InvalidParameterValue

from tests.support.api import serve_api
from tests.support.database import insert_prices
from tests.support.reference import random_walk
from tracker.settings import Settings
from tracker.times import DAY, MINUTE

# Zones by what is odd about them, with a day near their change of clocks.
ZONES = {
    "UTC": date(2024, 3, 31),
    "Europe/Berlin": date(2024, 3, 31),
    "America/New_York": date(2024, 11, 3),
    "Asia/Kolkata": date(2024, 3, 31),  # half an hour
    "Asia/Kathmandu": date(2024, 1, 1),  # a quarter
    "Australia/Lord_Howe": date(2024, 4, 7),  # half an hour of summer time
    "Atlantic/Azores": date(2024, 10, 27),  # midnight comes twice
    "America/Havana": date(2024, 11, 3),  # 00:30 comes twice
    "Asia/Beirut": date(2024, 3, 31),  # no midnight
    "Pacific/Apia": date(2011, 12, 30),  # no such day
    "Africa/Cairo": date(2023, 4, 28),  # no midnight
}
KEYS: dict[str, Callable[[date], date]] = {
    "1 day": lambda day: day,
    "1 week": lambda day: day - timedelta(days=day.weekday()),
    "3 days": lambda day: day - timedelta(days=(day - date(1970, 1, 1)).days % 3),
    "1 month": lambda day: day.replace(day=1),
}
INTERVALS = {
    "1 day": "1d",
    "3 days": "3d",
    "1 week": "1w",
    "1 month": "1M",
    "3 months": "1Q",
    "1 year": "1Y",
}

Candle = tuple[datetime, Decimal, Decimal, Decimal, Decimal, int]


@pytest.fixture(scope="module", params=ZONES)
def zone(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def series(base: Settings, zone: str) -> dict[datetime, Decimal]:
    """Some days of prices with gaps around the zone's day."""
    start = datetime.combine(ZONES[zone], datetime.min.time(), UTC) - 3 * DAY
    series = random_walk(4, start, 6 * 1440, 65_000)
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        conn.execute("TRUNCATE prices, tickers")
        insert_prices(conn, "btc_usd", series)
    return series


def expected_candles(series: dict[datetime, Decimal], zone: str, width: str) -> list[Candle]:
    """The candles of each local day, week or month, computed minute by minute."""
    tz, key = ZoneInfo(zone), KEYS[width]
    first, last = min(series), max(series)
    begun: dict[date, datetime] = {}
    prices: dict[date, list[Decimal]] = {}
    minute = first - 40 * DAY
    while minute <= last:
        bucket = key(minute.astimezone(tz).date())
        begun.setdefault(bucket, minute)
        if minute in series:
            prices.setdefault(bucket, []).append(series[minute])
        minute += MINUTE
    return [
        (begun[bucket], some[0], max(some), min(some), some[-1], len(some))
        for bucket, some in sorted(prices.items())
    ]


@pytest.mark.parametrize("width", KEYS)
def test_candles_follow_the_calendar_of_their_zone(
    base: Settings, series: dict[datetime, Decimal], zone: str, width: str
) -> None:
    query = "SELECT * FROM candles('btc_usd', %s, '-infinity', 'infinity', %s)"
    with psycopg.connect(base.database_dsn) as conn:
        found = conn.execute(query, [width, zone]).fetchall()
        assert found == expected_candles(series, zone, width)

        inside = found[1:-1]
        if inside:
            query = query.replace("'-infinity', 'infinity'", "%s, %s")
            bounds = [found[1][0], found[-1][0]]
            assert conn.execute(query, [width, *bounds, zone]).fetchall() == inside


def test_sql_and_api_return_the_same_candles(
    base: Settings, series: dict[datetime, Decimal], zone: str
) -> None:
    query = "SELECT start, close, samples FROM candles('btc_usd', %s, '-infinity', 'infinity', %s)"
    with serve_api(base) as client, psycopg.connect(base.database_dsn) as conn:
        for width, interval in INTERVALS.items():
            parameters = {"ticker": "btc_usd", "interval": interval, "tz": zone, "order": "asc"}
            response = client.get("/prices/candles", params={**parameters, "limit": 1000})
            rows = [
                (datetime.fromisoformat(row["created_at"]), Decimal(row["close"]), row["samples"])
                for row in response.raise_for_status().json()
            ]
            assert conn.execute(query, [width, zone]).fetchall() == rows
    assert series


def test_returns_compare_with_the_local_day_before(
    base: Settings, series: dict[datetime, Decimal], zone: str
) -> None:
    tz = ZoneInfo(zone)
    closes = {
        candle[0].astimezone(tz).date(): candle
        for candle in expected_candles(series, zone, "1 day")
    }
    changes = [
        (candle[0], candle[4] / before[4] - 1) for before, candle in pairwise(closes.values())
    ]
    query = "SELECT start, change FROM returns('btc_usd', '1 day', '-infinity', 'infinity', %s)"
    with psycopg.connect(base.database_dsn) as conn:
        found = conn.execute(query, [zone]).fetchall()
        for start, change in found:
            bounded = query.replace("'-infinity', 'infinity'", "%s, %s")
            bounds = [start, start + MINUTE, zone]
            assert conn.execute(bounded, bounds).fetchall() == [(start, change)]

    assert [start for start, _ in found] == [start for start, _ in changes]
    assert [float(change) for _, change in found] == pytest.approx([float(c) for _, c in changes])


@pytest.mark.parametrize("width", ["1 hour", "90 min", "24 hours"])
def test_widths_below_a_day_use_utc(
    base: Settings, series: dict[datetime, Decimal], zone: str, width: str
) -> None:
    query = "SELECT * FROM candles('btc_usd', %s, '-infinity', 'infinity', %s)"
    with psycopg.connect(base.database_dsn) as conn:
        in_zone, in_utc = (conn.execute(query, [width, tz]).fetchall() for tz in (zone, "UTC"))
    assert in_zone == in_utc
    assert series


@pytest.mark.parametrize(
    "name", ["Mars/Phobos", "Mars/Phobos+3", "+02:00", "<+02>-2", "Etc/GMT+13", "CET", "est", ""]
)
def test_zone_without_an_iana_name_is_rejected(base: Settings, name: str) -> None:
    """For every width, and although PostgreSQL knows some."""
    calls = [
        f"SELECT * FROM {function}('btc_usd', '{width}', '2024-01-01Z', '2024-01-02Z', %s)"
        for function in ("candles", "returns")
        for width in ("1 min", "7 min", "1 hour", "1 day", "1 month")
    ]
    calls += [f"SELECT next_bucket('{width}', now(), %s)" for width in ("1 hour", "1 day")]
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        for call in calls:
            with pytest.raises(InvalidParameterValue, match=f'"{re.escape(name)}"'):
                conn.execute(call, [name])


def test_every_zone_of_the_api_is_accepted(base: Settings) -> None:
    """But for abbreviations, whose summer time PostgreSQL does not know."""
    zones = available_timezones() - {"localtime", "CET", "EET", "MET", "WET"}
    zones -= {"EST", "HST", "MST", "UCT", "Zulu"}
    query = "SELECT bool_and(internal.check_zone(name)) FROM unnest(%s::text[]) AS name"
    with psycopg.connect(base.database_dsn) as conn:
        known = {name for (name,) in conn.execute("SELECT name FROM pg_timezone_names")}
        assert len(zones & known) > 400
        names = sorted(zones & known)
        for each in (names, [name.lower() for name in names]):
            assert conn.execute(query, [each]).fetchone() == (True,)
