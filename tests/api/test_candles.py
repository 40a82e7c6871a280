"""Candles over HTTP: boundaries, zones, pages."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import psycopg
import pytest

from tests.support.api import follow_links, format_moment, get_json, linked_url
from tests.support.database import insert_prices
from tracker.times import MINUTE, minute_of

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
KEYS = ["created_at", "open", "high", "low", "close", "samples"]


def make_series(first: datetime, step: timedelta, count: int) -> dict[datetime, str]:
    """*count* prices from *first* on, a cent more each time."""
    return {first + n * step: f"{100 + Decimal(n) / 100:.2f}" for n in range(count)}


def get_candles(client: httpx.Client, **query: object) -> list[dict[str, Any]]:
    """The candles of btc_usd."""
    candles: list[dict[str, Any]] = get_json(client, "/prices/candles", ticker="btc_usd", **query)
    return candles


def get_starts(client: httpx.Client, **query: object) -> list[str]:
    """The starts of the candles."""
    return [row["created_at"] for row in get_candles(client, **query)]


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_candle_has_exact_prices(
    client: httpx.Client, writer: psycopg.Connection, prefix: str
) -> None:
    """An hour without prices has no candle."""
    prices = ["68241.50", "68300.00", "68000.123456789", "68100.00"]
    insert_prices(
        writer, "btc_usd", {NOON + n * 5 * MINUTE: price for n, price in enumerate(prices)}
    )
    insert_prices(writer, "btc_usd", {NOON + 2 * HOUR: "1.00"})

    response = client.get(f"{prefix}/prices/candles?ticker=btc_usd")

    single = {"open": "1.00", "high": "1.00", "low": "1.00", "close": "1.00", "samples": 1}
    assert response.json() == [
        {"created_at": "2024-01-15T14:00:00Z", **single},
        {
            "created_at": "2024-01-15T12:00:00Z",
            "open": "68241.50",
            "high": "68300.00",
            "low": "68000.123456789",
            "close": "68100.00",
            "samples": 4,
        },
    ]
    assert [list(row) for row in response.json()] == [KEYS] * 2


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ("1m", 90),
        ("5m", 18),
        ("15m", 6),
        ("30m", 3),
        ("1h", 2),
        ("4h", 1),
        ("1d", 1),
        ("1w", 1),
        ("1M", 1),
    ],
)
def test_every_interval_covers_every_minute(
    client: httpx.Client, writer: psycopg.Connection, interval: str, expected: int
) -> None:
    """Buckets begin at midnight, on Monday, on the first of a month."""
    insert_prices(writer, "btc_usd", make_series(NOON, MINUTE, 90))
    candles = get_candles(client, interval=interval, limit=1000)

    assert len(candles) == expected
    assert sum(row["samples"] for row in candles) == 90
    assert (candles[-1]["open"], candles[0]["close"]) == ("100.00", "100.89")
    starts = {"4h": NOON, "1d": NOON.replace(hour=0), "1w": NOON.replace(hour=0)}
    first = starts.get(interval, NOON if interval != "1M" else NOON.replace(day=1, hour=0))
    assert candles[-1]["created_at"] == format_moment(first)


def test_days_follow_the_zone(client: httpx.Client, writer: psycopg.Connection) -> None:
    """Days of 23 hours where clocks change, half an hour off where the zone is."""
    insert_prices(
        writer, "btc_usd", make_series(datetime(2024, 3, 9, tzinfo=UTC), 30 * MINUTE, 4 * 48)
    )
    york = get_candles(client, interval="1d", tz="America/New_York", order="asc")
    kolkata = get_candles(client, interval="1d", tz="Asia/Kolkata", order="asc")

    assert [(row["created_at"], row["samples"]) for row in york] == [
        ("2024-03-08T05:00:00Z", 10),
        ("2024-03-09T05:00:00Z", 48),
        ("2024-03-10T05:00:00Z", 46),
        ("2024-03-11T04:00:00Z", 48),
        ("2024-03-12T04:00:00Z", 40),
    ]
    assert [(row["created_at"], row["samples"]) for row in kolkata] == [
        ("2024-03-08T18:30:00Z", 37),
        ("2024-03-09T18:30:00Z", 48),
        ("2024-03-10T18:30:00Z", 48),
        ("2024-03-11T18:30:00Z", 48),
        ("2024-03-12T18:30:00Z", 11),
    ]
    assert (kolkata[0]["close"], kolkata[1]["open"]) == ("100.36", "100.37")


def test_bucket_belongs_to_the_window_of_its_start(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """With all its prices, also those after the window."""
    insert_prices(writer, "btc_usd", make_series(NOON, MINUTE, 180))

    def within(start: datetime, end: datetime, interval: str = "1h") -> list[dict[str, Any]]:
        return get_candles(
            client, start_date=format_moment(start), end_date=format_moment(end), interval=interval
        )

    assert [row["samples"] for row in within(NOON, NOON + MINUTE)] == [60]
    assert [row["samples"] for row in within(NOON, NOON + MINUTE, "30m")] == [30]
    assert within(NOON + MINUTE, NOON + HOUR) == []
    assert within(NOON + MINUTE, NOON + 30 * MINUTE, "30m") == []
    assert len(within(NOON + MINUTE, NOON + HOUR + MINUTE)) == 1
    assert within(NOON, NOON) == within(NOON + HOUR, NOON) == []
    month = within(NOON.replace(day=1, hour=0), NOON.replace(day=2), "1M")
    assert [row["samples"] for row in month] == [180]


def test_current_bucket_is_returned(client: httpx.Client, writer: psycopg.Connection) -> None:
    now = minute_of(datetime.now(UTC))
    insert_prices(writer, "btc_usd", {now: "1.00"})

    for interval in ("1m", "30m", "1h", "1d", "1M"):
        assert [row["samples"] for row in get_candles(client, interval=interval)] == [1]


def test_page_is_full_across_a_gap_of_years(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    insert_prices(writer, "btc_usd", make_series(NOON - 3000 * DAY, MINUTE, 5))
    insert_prices(writer, "btc_usd", make_series(NOON, MINUTE, 5))

    for interval in ("1m", "5m", "1h", "1d", "1M"):
        candles = get_starts(client, interval=interval, limit=10)
        assert candles == get_starts(client, interval=interval, limit=10, order="asc")[::-1]
        assert len(candles) == (10 if interval == "1m" else 2)
    ever = {"start_date": "0001-01-01", "end_date": "9999-12-31T23:59:59.999999Z"}
    assert len(get_starts(client, **ever, interval="1w", tz="Asia/Tokyo")) == 2
    assert len(get_starts(client, **ever, interval="1w", tz="America/Lima", order="asc")) == 2


@pytest.mark.parametrize("order", ["desc", "asc"])
@pytest.mark.parametrize(
    "interval", ["interval=5m", "interval=4h", "interval=1d&tz=Asia/Kathmandu"]
)
def test_links_lead_through_every_candle_once(
    client: httpx.Client, writer: psycopg.Connection, interval: str, order: str
) -> None:
    insert_prices(writer, "btc_usd", make_series(NOON, 10 * MINUTE, 20))
    insert_prices(writer, "btc_usd", make_series(NOON + 40 * DAY, 7 * HOUR, 20))
    path = f"/v1/prices/candles?ticker=btc_usd&{interval}&order={order}"
    everything = client.get(f"{path}&limit=1000").json()

    assert sum(row["samples"] for row in everything) == 40
    for limit in (1, 3, len(everything) - 1, len(everything)):
        places = range(0, len(everything), limit)
        pages = follow_links(client, f"{path}&limit={limit}")
        assert pages == [everything[n : n + limit] for n in places]
    boundary = everything[-1]["created_at"]
    cursor = f"{'before' if order == 'desc' else 'after'}={boundary}"
    back = follow_links(client, f"{path}&limit=3&{cursor}", "prev")
    assert [row for page in back[:0:-1] for row in page] == everything


def test_link_keeps_the_query(client: httpx.Client, writer: psycopg.Connection) -> None:
    """The zone's plus sign too."""
    insert_prices(writer, "btc_usd", make_series(NOON, DAY, 5))
    query = "ticker=btc_usd&interval=1d&tz=Etc%2FGMT%2B5&start_date=2024-01-15T12:00:00Z"
    response = client.get(f"/prices/candles?{query}&limit=2")

    link = f"?{query}&limit=2&before=2024-01-18T05:00:00Z"
    assert response.links["next"]["url"] == link
    assert [row["created_at"] for row in client.get(linked_url(response)).json()] == [
        "2024-01-17T05:00:00Z",
        "2024-01-16T05:00:00Z",
    ]


def test_closed_candles_are_cacheable_until_a_repair(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    insert_prices(writer, "btc_usd", {NOON: "1.50"})
    path = "/prices/candles?ticker=btc_usd&interval=1d"
    closed = client.get(f"{path}&end_date={format_moment(NOON)}")
    condition = {"If-None-Match": closed.headers["etag"]}

    assert "max-age" in closed.headers["cache-control"]
    assert client.get(str(closed.url), headers=condition).status_code == 304
    insert_prices(writer, "btc_usd", {NOON + MINUTE: "1.75"})
    repeated = client.get(str(closed.url), headers=condition)
    assert (repeated.status_code, repeated.json()[0]["close"]) == (200, "1.75")
    for still_open in (path, f"{path}&end_date={format_moment(datetime.now(UTC))}"):
        assert client.get(still_open).headers["cache-control"] == "no-cache"
