"""The tracked indexes over HTTP: counts, first and newest prices, and the last day's movement."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.database import insert_minutes, insert_prices
from tracker.times import MINUTE, minute_of

NOON = datetime(2024, 1, 15, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NUMBERS = count(1)
NOTHING = {
    "since": None,
    "rows": 0,
    "first": None,
    "newest": None,
    "change_24h": None,
    "change_percent_24h": None,
    "high_24h": None,
    "low_24h": None,
    "decimals": 2,
    "missing_24h": 0,
}


def get_tickers(client: httpx.Client) -> dict[str, dict[str, Any]]:
    """Each index by its name."""
    response = client.get("/tickers")
    assert response.status_code == 200, response.text
    return {row["ticker"]: row for row in response.json()}


def get_movement(client: httpx.Client) -> list[str | None]:
    """The movement of btc_usd: change, percent, high, low."""
    row = get_tickers(client)["btc_usd"]
    return [row[name] for name in ("change_24h", "change_percent_24h", "high_24h", "low_24h")]


def test_configured_and_stored_indexes_are_listed(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """The configured ones first, in the order of TICKERS."""
    insert_prices(writer, "old_usd", {NOON: "2.00"})
    insert_prices(writer, "eth_usd", {NOON: "1.50", NOON + 3 * MINUTE: "1.75"})
    writer.execute("INSERT INTO tickers (ticker, since) VALUES ('ape_usd', %s)", [NOON])

    rows = client.get("/tickers").json()

    assert [(row["ticker"], row["configured"]) for row in rows] == [
        ("btc_usd", True),
        ("eth_usd", True),
        ("ape_usd", False),
        ("old_usd", False),
    ]
    assert rows[0] == {
        "ticker": "btc_usd",
        "configured": True,
        "base": "BTC",
        "quote": "USD",
        **NOTHING,
    }
    missed = {**NOTHING, "since": "2024-01-15T12:30:00Z", "missing_24h": 1440}
    assert rows[2] == {
        "ticker": "ape_usd",
        "configured": False,
        "base": "APE",
        "quote": "USD",
        **missed,
    }
    assert rows[1] == {
        "ticker": "eth_usd",
        "configured": True,
        "since": "2024-01-15T12:30:00Z",
        "rows": 2,
        "first": {"price": "1.50", "created_at": "2024-01-15T12:30:00Z"},
        "newest": {"price": "1.75", "created_at": "2024-01-15T12:33:00Z"},
        "change_24h": None,
        "change_percent_24h": None,
        "high_24h": "1.75",
        "low_24h": "1.50",
        "base": "ETH",
        "quote": "USD",
        "decimals": 2,
        "missing_24h": 1440,
    }


def test_rows_are_counted_after_every_change(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    insert_prices(writer, "btc_usd", {NOON + n * 7 * MINUTE: "1.00" for n in range(100)})
    assert get_tickers(client)["btc_usd"]["rows"] == 100
    insert_prices(writer, "btc_usd", {NOON + MINUTE: "1.00"})
    assert get_tickers(client)["btc_usd"]["rows"] == 101
    writer.execute("DELETE FROM prices WHERE created_at > %s", [NOON + 7 * MINUTE])
    assert get_tickers(client)["btc_usd"]["rows"] == 3


@pytest.mark.parametrize(
    ("age", "past"),
    [
        (DAY, "100.00"),
        (DAY + 59 * MINUTE, "100.00"),
        (DAY + HOUR, None),
        (DAY - MINUTE, None),
    ],
)
def test_change_compares_with_the_price_a_day_before(
    client: httpx.Client, writer: psycopg.Connection, age: timedelta, past: str | None
) -> None:
    """The price 24 hours before the newest, or the last one of the hour that ends there."""
    insert_prices(writer, "btc_usd", {NOON - age: "100.00", NOON: "98.765"})

    expected = ["-1.235", "-1.2350"] if past else [None, None]
    assert get_movement(client)[:2] == expected


def test_change_uses_the_last_price_of_that_hour(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """An equal price is a change of zero, without a sign."""
    insert_prices(
        writer, "btc_usd", {NOON - DAY - n * MINUTE: f"{300 + n}.00" for n in (3, 20, 50)}
    )
    insert_prices(writer, "btc_usd", {NOON: "303.00"})
    assert get_movement(client)[:2] == ["0.00", "0.0000"]

    insert_prices(writer, "btc_usd", {NOON + MINUTE: "302.999999999"})
    assert get_movement(client)[:2] == ["-0.000000001", "0.0000"]


def test_high_and_low_cover_the_last_day(client: httpx.Client, writer: psycopg.Connection) -> None:
    insert_prices(
        writer, "btc_usd", {NOON - DAY - MINUTE: "1.00", NOON - DAY: "9.00", NOON: "5.00"}
    )
    assert get_movement(client)[2:] == ["9.00", "5.00"]
    insert_prices(writer, "btc_usd", {NOON - DAY + 5 * MINUTE: "4.00", NOON - 9 * HOUR: "3.00"})
    assert get_movement(client)[2:] == ["9.00", "3.00"]
    insert_prices(writer, "btc_usd", {NOON + MINUTE: "5.00"})
    assert get_movement(client)[2:] == ["5.00", "3.00"]


def test_price_in_the_future_is_not_the_newest(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    insert_prices(writer, "btc_usd", {NOON: "5.00", datetime(2999, 1, 1, tzinfo=UTC): "6.00"})

    row = get_tickers(client)["btc_usd"]
    assert (row["rows"], row["newest"]["price"], row["high_24h"]) == (2, "5.00", "5.00")


def test_movement_keeps_every_digit(client: httpx.Client, writer: psycopg.Connection) -> None:
    tiny = "0." + "0" * 29 + "1"
    insert_prices(writer, "btc_usd", {NOON - DAY: tiny, NOON: "123456789012345678.00"})

    change, percent, high, low = get_movement(client)
    assert change == "123456789012345677." + "9" * 30
    assert percent is not None
    assert percent.startswith("12345678901234567799999")
    assert (high, low) == ("123456789012345678.00", tiny)


def test_csv_has_a_column_for_each_nested_value(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    insert_prices(writer, "btc_usd", {NOON: "1.50"})
    header, polled, unpolled, end = client.get("/tickers?format=csv").text.split("\r\n")

    assert header.split(",") == [
        "ticker",
        "configured",
        "since",
        "rows",
        "first_price",
        "first_created_at",
        "newest_price",
        "newest_created_at",
        "change_24h",
        "change_percent_24h",
        "high_24h",
        "low_24h",
        "base",
        "quote",
        "decimals",
        "missing_24h",
    ]
    at = "2024-01-15T12:30:00Z"
    assert polled.split(",") == [
        *("btc_usd", "true", at, "1", "1.50", at, "1.50", at, "", "", "1.50", "1.50"),
        *("BTC", "USD", "2", "1440"),
    ]
    assert (unpolled, end) == ("eth_usd,true,,0,,,,,,,,,ETH,USD,2,0", "")


hours = st.lists(
    st.tuples(
        st.sampled_from(["poll", "chart", "import"]),
        st.lists(st.decimals("0.01", "9.99", places=6), min_size=1, max_size=3),
    ),
    min_size=1,
    max_size=4,
)


def count_decimals(prices: Iterable[Decimal]) -> int:
    """The most decimals of any of *prices*, without zeros at the end; at least two."""
    return max(2, *(len(f"{price:f}".partition(".")[2].rstrip("0")) for price in prices))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stored=hours)
def test_decimals_are_those_of_polled_prices(
    client: httpx.Client,
    writer: psycopg.Connection,
    stored: list[tuple[str, list[Decimal]]],
) -> None:
    """By all hours of polls of the last day, else by the polls of any, else by all prices."""
    index = f"decimals{next(NUMBERS)}_usd"
    polled, every = list[Decimal](), list[Decimal]()
    for hour, (source, prices) in enumerate(stored):
        series = {NOON + hour * HOUR + n * MINUTE: f"{p:f}" for n, p in enumerate(prices)}
        insert_prices(writer, index, series, source)
        every += prices
        polled += prices if source == "poll" else []

    decimals = get_tickers(client)[index]["decimals"]
    whole = [prices for source, prices in stored[:-1] if source == "poll"]
    expected = [price for prices in whole for price in prices] or polled or every
    assert decimals == count_decimals(expected)
    symbol = client.get(f"/udf/symbols?symbol={index}").json()
    assert symbol["pricescale"] == 10**decimals


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    since=st.integers(-1500, 5),
    stored=st.sets(st.integers(-1500, 5), max_size=20),
)
def test_missing_minutes_are_those_of_gaps(
    client: httpx.Client, writer: psycopg.Connection, since: int, stored: set[int]
) -> None:
    """Of the 1,440 minutes before the current one."""
    index = f"missing{next(NUMBERS)}_usd"
    now = minute_of(datetime.now(UTC))
    stored = {since, *(minute for minute in stored if minute > since)}
    insert_minutes(writer, [now + minute * MINUTE for minute in stored], index)

    missing = get_tickers(client)[index]["missing_24h"]
    if minute_of(datetime.now(UTC)) == now:  # else the next minute has begun
        window = range(max(since, -1440), 0)
        assert missing == len(window) - len(stored.intersection(window))
