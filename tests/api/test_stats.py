"""Statistics over HTTP: values, ranges, formats, freshness."""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import psycopg
import pytest

from tests.support.api import format_moment, get_json, serve_api
from tests.support.database import insert_minutes, insert_prices
from tests.support.reference import random_walk
from tests.support.statistics import assert_statistics, compute_statistics
from tracker.settings import Settings
from tracker.times import MINUTE, minute_of

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
BTC = random_walk(8, NOON, 1600, 65_000)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def client(base: Settings) -> Iterator[httpx.Client]:
    """The API of a database with a day and some hours of prices."""
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        insert_prices(conn, "btc_usd", BTC, "chart")
    with serve_api(base) as client:
        yield client


def read_statistics(client: httpx.Client, **query: object) -> dict[str, Any]:
    """The response for btc_usd, with moments and decimals as values."""
    row: dict[str, Any] = get_json(client, "/prices/stats", **({"ticker": "btc_usd"} | query))
    assert row.pop("ticker") == query.get("ticker", "btc_usd")
    for name, value in row.items():
        if isinstance(value, str):
            is_moment = name.endswith("_at")
            row[name] = datetime.fromisoformat(value) if is_moment else Decimal(value)
    return row


@pytest.mark.parametrize(
    ("start", "end", "since", "until"),
    [
        (NOON, NOON + DAY, NOON, NOON + DAY),
        (NOON + 5.5 * MINUTE, NOON + 99.25 * MINUTE, NOON + 6 * MINUTE, NOON + 100 * MINUTE),
        (NOON + DAY, NOON, NOON + MINUTE, NOON + DAY + MINUTE),  # the other way around
        (None, NOON + 1600 * MINUTE, NOON + 160 * MINUTE, NOON + 1600 * MINUTE),
        (NOON - 9 * MINUTE, NOON, NOON, NOON),
    ],
    ids=["day", "parts of minutes", "reversed", "end alone", "empty"],
)
def test_statistics_of_a_range(
    client: httpx.Client,
    start: datetime | None,
    end: datetime,
    since: datetime,
    until: datetime,
) -> None:
    bounds = {"end_date": format_moment(end)} | (
        {"start_date": format_moment(start)} if start else {}
    )
    found = read_statistics(client, **bounds)

    assert_statistics(found, compute_statistics(BTC, since, until))
    assert (found["chart"], found["polled"], found["imported"]) == (found["samples"], 0, 0)
    expected = (until - since) // MINUTE
    assert (found["expected"], found["missing"]) == (expected, expected - found["samples"])
    ratio = found["samples"] * 10_000 // expected / 10_000 if expected else None
    assert found["ratio"] == ratio


def test_default_range_is_the_last_day(client: httpx.Client, base_conn: psycopg.Connection) -> None:
    """Up to the price of the current minute."""
    now = minute_of(datetime.now(UTC))
    insert_minutes(base_conn, [now - DAY - 5 * MINUTE], "eth_usd", price="9.00")
    insert_minutes(base_conn, [now - 60 * MINUTE, now - 59 * MINUTE], "eth_usd", price="2.00")
    insert_minutes(base_conn, [now], "eth_usd", price="3.00")
    found = read_statistics(client, ticker="eth_usd")

    assert (found["samples"], found["high"], found["last_at"]) == (3, Decimal("3.00"), now)
    assert 1439 <= found["expected"] <= 1441


def test_formats_have_the_same_values(client: httpx.Client) -> None:
    query = "/prices/stats?ticker=btc_usd&end_date=2024-01-16T12:00Z"
    row = client.get(query).json()
    table = client.get(f"{query}&format=csv").text
    lines = client.get(f"{query}&format=ndjson")

    [cells] = csv.DictReader(io.StringIO(table))
    assert cells == {name: str(value) for name, value in row.items()}
    assert lines.text.count("\n") == 1
    assert lines.json() == row
    with_nulls = client.get("/prices/stats?ticker=btc_usd&end_date=2020-01-01&format=csv").text
    assert with_nulls.splitlines()[1].startswith("btc_usd,,,")


def test_range_is_limited_to_a_year(client: httpx.Client) -> None:
    year = "/prices/stats?ticker=btc_usd&start_date=2024-01-01&end_date="
    assert client.get(f"{year}2025-01-01").status_code == 200
    for query in (f"{year}2025-01-01T00:01Z", year.removesuffix("&end_date=")):
        response = client.get(query)
        assert response.status_code == 422
        [error] = response.json()["errors"]
        assert error["name"] == "start_date"
        assert "366 days" in error["reason"]
    assert client.get("/prices/stats?ticker=btc_usd&end_date=0001-01-01").status_code == 200
    assert client.get("/prices/stats?ticker=btc_usd&limit=1").status_code == 422


def test_past_statistics_stay_fresh(client: httpx.Client) -> None:
    past = client.get("/prices/stats?ticker=btc_usd&end_date=2024-01-16")
    again = client.get(past.url, headers={"If-None-Match": past.headers["etag"]})
    assert past.headers["cache-control"] == "max-age=60, must-revalidate"
    assert again.status_code == 304
    present = client.get("/prices/stats?ticker=btc_usd")
    assert present.headers["cache-control"] == "max-age=1, must-revalidate"
