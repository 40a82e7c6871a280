"""Filled series over HTTP: every minute and bucket of a range, flagged, in pages of any length."""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import psycopg
import pytest

from tests.support.api import error_reasons, format_moment, serve_api
from tests.support.database import insert_minutes, insert_prices
from tracker.settings import Settings
from tracker.times import MINUTE, minute_of

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
# With gaps at both ends of hours and of the range, and one of days.
STORED = {
    NOON + n * MINUTE: Decimal(100 + n).quantize(Decimal("0.01"))
    for n in (0, 1, 2, 5, 6, 58, 61, 62, 150, 3 * 1440, 3 * 1440 + 1)
}
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def client(base: Settings) -> Iterator[httpx.Client]:
    """The API of a database with some prices."""
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        insert_prices(conn, "btc_usd", STORED)
    with serve_api(base) as client:
        yield client


def read_pages(client: httpx.Client, path: str, **query: object) -> tuple[Rows, list[str]]:
    """The rows of all pages from the first on, and the links back from the last to the first."""
    response = client.get(path, params={"ticker": "btc_usd", **query})
    rows, urls = [], []
    while True:
        assert response.status_code == 200, response.text
        rows += response.json()
        urls.append(str(response.url))
        if "next" not in response.links:
            break
        response = client.get(response.url.join(response.links["next"]["url"]))
    back = [response.json()]
    while "prev" in response.links:
        response = client.get(response.url.join(response.links["prev"]["url"]))
        back.append(response.json())
    assert [row for page in back[::-1] for row in page] == rows
    return rows, urls


def expected_minutes(since: datetime, until: datetime, fill: str) -> Rows:
    """Each minute in [since, until), ascending."""
    ids = {minute: n for n, minute in enumerate(STORED, 1)}
    price: Decimal | None = None
    rows = []
    for minute in (NOON - 10 * MINUTE + n * MINUTE for n in range(5000)):
        price = STORED.get(minute, price)
        is_filled = minute not in STORED
        shown = None if is_filled and fill == "null" else price
        if since <= minute < until:
            rows.append(
                {
                    "id": ids.get(minute),
                    "ticker": "btc_usd",
                    "price": None if shown is None else str(shown),
                    "created_at": format_moment(minute),
                    "filled": is_filled,
                }
            )
    return rows


@pytest.mark.parametrize("fill", ["null", "previous"])
@pytest.mark.parametrize("order", ["desc", "asc"])
@pytest.mark.parametrize(
    "part", [(-5, 70, 7), (3, 66, 1000), (30, 40, 10), (155, 160, 2), (0, 1, 1)]
)
def test_each_minute_of_the_range_is_listed_once(
    client: httpx.Client, fill: str, order: str, part: tuple[int, int, int]
) -> None:
    first, last, limit = part
    since, until = NOON + first * MINUTE, NOON + last * MINUTE
    bounds = {"start_date": format_moment(since), "end_date": format_moment(until)}
    rows, urls = read_pages(client, "/prices", fill=fill, order=order, limit=limit, **bounds)

    expected = expected_minutes(since, until, fill)
    assert rows == (expected if order == "asc" else expected[::-1])
    assert len(urls) == -(-len(expected) // limit)


def bucket_of(minute: datetime, interval: str) -> datetime:
    if interval == "1d":
        day = minute.astimezone(ZoneInfo("Europe/Berlin"))
        return day.replace(hour=0, minute=0).astimezone(UTC)
    width = {"5m": 5, "1h": 60}[interval] * MINUTE
    return minute - (minute - NOON) % width


@pytest.mark.parametrize("fill", ["null", "previous"])
@pytest.mark.parametrize("order", ["desc", "asc"])
@pytest.mark.parametrize(
    ("interval", "part"), [("5m", (-1, 3, 7)), ("1h", (2, 74, 1000)), ("1d", (-40, 99, 2))]
)
def test_each_bucket_of_the_range_is_listed_once(
    client: httpx.Client, fill: str, order: str, interval: str, part: tuple[int, int, int]
) -> None:
    *hours, limit = part
    since, until = (NOON + timedelta(hours=n) for n in hours)
    bounds = {"start_date": format_moment(since), "end_date": format_moment(until)}
    query = {"interval": interval, "tz": "Europe/Berlin", "fill": fill, "order": order}
    rows, _ = read_pages(client, "/prices/candles", **query, limit=limit, **bounds)

    starts = sorted({bucket_of(NOON + n * MINUTE, interval) for n in range(-3000, 7000)})
    expected: Rows = []
    close: str | None = None
    for start in starts:
        prices = [price for at, price in STORED.items() if bucket_of(at, interval) == start]
        four = [prices[0], max(prices), min(prices), prices[-1]] if prices else []
        shown = [str(price) for price in four] or [close] * 4
        row = dict(zip(("open", "high", "low", "close"), shown, strict=True))
        row = {"created_at": format_moment(start), **row, "samples": len(prices)}
        if since <= start < until:
            expected.append({**row, "filled": not prices})
        if prices and fill == "previous":
            close = str(prices[-1])
    assert rows == (expected if order == "asc" else expected[::-1])
    assert {row["filled"] for row in rows} == {True, False}


@pytest.mark.parametrize("path", ["/prices", "/prices/candles"])
def test_fill_needs_a_range(client: httpx.Client, path: str) -> None:
    for bounds in ("", "&start_date=2024-01-15", "&end_date=2024-01-15"):
        response = client.get(f"{path}?ticker=btc_usd&fill=null{bounds}")
        assert error_reasons(response, 422) == {"fill": "needs start_date and end_date"}
    response = client.get(f"{path}?ticker=btc_usd&fill=linear")
    assert error_reasons(response, 422) == {"fill": "is not one of null, previous: 'linear'"}


@pytest.mark.parametrize("path", ["/prices", "/prices/candles"])
def test_formats_have_the_same_rows(client: httpx.Client, path: str) -> None:
    query = f"{path}?ticker=btc_usd&fill=previous&order=asc&start_date=2024-01-15T11:58Z"
    query += "&end_date=2024-01-15T12:04Z" + "&interval=1m" * ("candles" in path)
    rows = client.get(query).json()
    lines = client.get(f"{query}&format=ndjson")
    table = csv.DictReader(io.StringIO(client.get(f"{query}&format=csv").text))

    assert [row["filled"] for row in rows] == [True, True, False, False, False, True]
    assert lines.text.count("\n") == len(rows) == 6
    assert list(table) == [
        {
            name: "" if value is None else str(value).lower() if name == "filled" else str(value)
            for name, value in row.items()
        }
        for row in rows
    ]


def test_filled_minute_has_no_origin(client: httpx.Client) -> None:
    query = "/prices?ticker=btc_usd&fill=previous&include=source,observed_at&limit=1"
    bounds = "&start_date=2024-01-15T12:03Z&end_date=2024-01-15T12:04Z"
    [row] = client.get(query + bounds).json()
    assert (row["source"], row["observed_at"], row["price"]) == (None, None, "102.00")
    response = client.get(f"/prices/candles?ticker=btc_usd&fill=null{bounds}&format=arrow")
    assert error_reasons(response, 422) == {"fill": "is not available as arrow"}


def test_present_minute_is_listed_once_it_is_stored(
    client: httpx.Client, base_conn: psycopg.Connection
) -> None:
    """Nothing later is invented, and no minute or bucket that may still get a price."""
    now = minute_of(datetime.now(UTC))
    bounds = {"start_date": format_moment(now - 3 * MINUTE), "end_date": "2100-01-01"}
    query = {"ticker": "eth_usd", "fill": "null", "order": "asc", "limit": "1000", **bounds}
    before = [
        client.get("/prices", params=query),
        client.get("/prices/candles", params=query | {"interval": "1m"}),
    ]
    insert_minutes(base_conn, [now], "eth_usd")
    after = client.get("/prices", params=query).json()
    candles = client.get("/prices/candles", params=query | {"interval": "1m"}).json()

    for response in before:
        assert {row["filled"] for row in response.json()} == {True}
        assert len(response.json()) in {3, 4}  # a minute may pass
    assert [row["filled"] for row in after[:4]] == [True, True, True, False]
    assert [row["filled"] for row in candles[:4]] == [True, True, True, False]
    assert len(after) in {4, 5}


def test_nothing_is_filled_without_the_parameter(client: httpx.Client) -> None:
    bounds = "&start_date=2024-01-15T12:00Z&end_date=2024-01-15T12:10Z"
    rows = client.get(f"/prices?ticker=btc_usd{bounds}").json()
    assert len(rows) == 5
    assert {*rows[0]} == {"id", "ticker", "price", "created_at"}
