"""What is tracked, over real HTTP: counts, ends, and the last day's movement."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest

from tests.support.serving import problem
from tracker.times import MINUTE

NOON = datetime(2024, 1, 15, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NOTHING = {
    "since": None,
    "rows": 0,
    "first": None,
    "newest": None,
    "change_24h": None,
    "change_percent_24h": None,
    "high_24h": None,
    "low_24h": None,
}


def store(conn: psycopg.Connection, prices: dict[datetime, str], ticker: str = "btc_usd") -> None:
    """Prices of one index."""
    conn.cursor().executemany(
        "INSERT INTO prices (ticker, created_at, price) VALUES (%s, %s, %s)",
        [(ticker, minute, price) for minute, price in prices.items()],
    )


def found(client: httpx.Client) -> dict[str, dict[str, Any]]:
    """Each index by its name."""
    answer = client.get("/tickers")
    assert answer.status_code == 200, answer.text
    return {row["ticker"]: row for row in answer.json()}


def day(client: httpx.Client) -> list[str | None]:
    """How btc_usd moved: change, percent, high, low."""
    return list(found(client)["btc_usd"].values())[-4:]


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_all_that_is_polled_or_stored_is_there(
    client: httpx.Client, writer: psycopg.Connection, prefix: str
) -> None:
    """Those polled first, in the order of TICKERS; then those of old, by name."""
    store(writer, {NOON: "2.00"}, "old_usd")
    store(writer, {NOON: "1.50", NOON + 3 * MINUTE: "1.75"}, "eth_usd")
    writer.execute("INSERT INTO tickers (ticker, since) VALUES ('ape_usd', %s)", [NOON])

    rows = client.get(f"{prefix}/tickers").json()

    assert [(row["ticker"], row["configured"]) for row in rows] == [
        ("btc_usd", True),
        ("eth_usd", True),
        ("ape_usd", False),
        ("old_usd", False),
    ]
    assert rows[0] == {"ticker": "btc_usd", "configured": True, **NOTHING}
    missed = {**NOTHING, "since": "2024-01-15T12:30:00Z"}
    assert rows[2] == {"ticker": "ape_usd", "configured": False, **missed}
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
    }


def test_rows_are_counted_whatever_changes(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """Holes are not counted; repaired ones are; what is deleted is not."""
    store(writer, {NOON + n * 7 * MINUTE: "1.00" for n in range(100)})
    assert found(client)["btc_usd"]["rows"] == 100
    store(writer, {NOON + MINUTE: "1.00"})
    assert found(client)["btc_usd"]["rows"] == 101
    writer.execute("DELETE FROM prices WHERE created_at > %s", [NOON + 7 * MINUTE])
    assert found(client)["btc_usd"]["rows"] == 3


@pytest.mark.parametrize(
    ("before", "past"),
    [
        (DAY, "100.00"),
        (DAY + 59 * MINUTE, "100.00"),
        (DAY + HOUR, None),
        (DAY - MINUTE, None),
    ],
)
def test_the_change_is_that_since_a_day_before(
    client: httpx.Client, writer: psycopg.Connection, before: timedelta, past: str | None
) -> None:
    """The price 24 hours before the newest, or the last one of the hour that ends there."""
    store(writer, {NOON - before: "100.00", NOON: "98.765"})

    expected = ["-1.235", "-1.2350"] if past else [None, None]
    assert day(client)[:2] == expected


def test_the_nearest_price_counts(client: httpx.Client, writer: psycopg.Connection) -> None:
    """Of that hour the last one; an equal price is a change of zero, and has no sign."""
    store(writer, {NOON - DAY - n * MINUTE: f"{300 + n}.00" for n in (3, 20, 50)})
    store(writer, {NOON: "303.00"})
    assert day(client)[:2] == ["0.00", "0.0000"]

    store(writer, {NOON + MINUTE: "302.999999999"})
    assert day(client)[:2] == ["-0.000000001", "0.0000"]


def test_high_and_low_are_those_of_the_day(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """To the minute at its start, up to the newest; what lies before is not in it."""
    store(writer, {NOON - DAY - MINUTE: "1.00", NOON - DAY: "9.00", NOON: "5.00"})
    assert day(client)[2:] == ["9.00", "5.00"]
    store(writer, {NOON - DAY + 5 * MINUTE: "4.00", NOON - 9 * HOUR: "3.00"})
    assert day(client)[2:] == ["9.00", "3.00"]
    store(writer, {NOON + MINUTE: "5.00"})
    assert day(client)[2:] == ["5.00", "3.00"]


def test_a_price_to_come_is_not_the_newest(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """A clock that was wrong once does not hide what is known."""
    store(writer, {NOON: "5.00", datetime(2999, 1, 1, tzinfo=UTC): "6.00"})

    row = found(client)["btc_usd"]
    assert (row["rows"], row["newest"]["price"], row["high_24h"]) == (2, "5.00", "5.00")


def test_extremes_are_exact(client: httpx.Client, writer: psycopg.Connection) -> None:
    """No digit is lost, however many there are."""
    tiny = "0." + "0" * 29 + "1"
    store(writer, {NOON - DAY: tiny, NOON: "123456789012345678.00"})

    change, percent, high, low = day(client)
    assert change == "123456789012345677." + "9" * 30
    assert percent is not None
    assert percent.startswith("12345678901234567799999")
    assert (high, low) == ("123456789012345678.00", tiny)


def test_as_csv_objects_are_columns(client: httpx.Client, writer: psycopg.Connection) -> None:
    """What is null is empty."""
    store(writer, {NOON: "1.50"})
    header, polled, never, end = client.get("/tickers?format=csv").text.split("\r\n")

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
    ]
    at = "2024-01-15T12:30:00Z"
    assert polled.split(",") == [
        *("btc_usd", "true", at, "1", "1.50", at, "1.50", at, "", "", "1.50", "1.50")
    ]
    assert (never, end) == ("eth_usd,true,,0,,,,,,,,", "")


def test_there_is_nothing_to_ask(client: httpx.Client) -> None:
    """But the format."""
    assert problem(client.get("/tickers?ticker=btc_usd"), 422) == {
        "ticker": "is not a parameter here; parameters: format"
    }
