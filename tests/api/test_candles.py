"""Candles over HTTP: exact prices, pages, freshness."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import psycopg
import pytest

from tests.support.api import follow_links, format_moment, get_json, linked_url
from tests.support.database import insert_prices
from tests.support.tables import MEDIA_TYPES, read_table
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


def test_candle_has_exact_prices(client: httpx.Client, writer: psycopg.Connection) -> None:
    """An hour without prices has no candle."""
    prices = ["68241.50", "68300.00", "68000.123456789", "68100.00"]
    insert_prices(
        writer, "btc_usd", {NOON + n * 5 * MINUTE: price for n, price in enumerate(prices)}
    )
    insert_prices(writer, "btc_usd", {NOON + 2 * HOUR: "1.00"})

    response = client.get("/prices/candles?ticker=btc_usd")

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


@pytest.mark.parametrize("name", MEDIA_TYPES)
def test_table_has_the_candles_of_json(
    client: httpx.Client, writer: psycopg.Connection, name: str
) -> None:
    """Times as such, prices exact or the nearest doubles; an ETag, and the links of JSON."""
    insert_prices(writer, "btc_usd", make_series(NOON, 7 * MINUTE, 40))
    insert_prices(writer, "btc_usd", {NOON + DAY: "0.000000000123456789"})
    path = "/prices/candles?ticker=btc_usd&limit=4"
    listed, table = client.get(path), client.get(f"{path}&format={name}")
    doubles = client.get(f"{path}&format={name}&price_type=float64")
    expected = [
        (datetime.fromisoformat(row["created_at"]), *map(Decimal, texts), row["samples"])
        for row in listed.json()
        for texts in [[row[key] for key in KEYS[1:5]]]
    ]

    frame = read_table(name, table.content)
    assert (frame.columns, frame.rows()) == (KEYS, expected)
    assert read_table(name, doubles.content)["low"].to_list() == [float(row[3]) for row in expected]
    assert table.headers["content-type"] == MEDIA_TYPES[name]
    assert table.headers["link"] == listed.headers["link"].replace(
        "limit=4", f"limit=4&format={name}"
    )
    assert "content-encoding" not in table.headers  # though the client accepts gzip
    again = client.get(f"{path}&format={name}", headers={"If-None-Match": table.headers["etag"]})
    assert again.status_code == 304
    assert read_table(
        name, client.get(f"{path}&format={name}&end_date=1999-01-01").content
    ).is_empty()


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


@pytest.mark.parametrize("order", ["desc", "asc"])
def test_later_bound_may_be_the_start(
    client: httpx.Client, writer: psycopg.Connection, order: str
) -> None:
    """Inclusive, as the end is exclusive; links lead through the same range."""
    insert_prices(writer, "btc_usd", make_series(NOON, MINUTE, 60))
    query = f"ticker=btc_usd&interval=5m&order={order}&limit=2"
    bounds = "start_date=2024-01-15T12:40Z&end_date=2024-01-15T12:10Z"
    pages = follow_links(client, f"/prices/candles?{query}&{bounds}")

    starts = [row["created_at"][14:16] for page in pages for row in page]
    assert starts == ["15", "20", "25", "30", "35", "40"][:: 1 if order == "asc" else -1]
