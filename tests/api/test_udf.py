"""The UDF protocol over HTTP, as TradingView's client uses it."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import psycopg
import pytest

from tests.support.api import serve_api
from tests.support.database import create_database, insert_prices
from tracker.settings import Settings
from tracker.times import MINUTE

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def insert_steps(
    conn: psycopg.Connection, first: datetime, step: timedelta, prices: list[str]
) -> None:
    """Insert prices of btc_usd from *first* on."""
    insert_prices(conn, "btc_usd", {first + n * step: price for n, price in enumerate(prices)})


def get_udf(client: httpx.Client, path: str, status: int = 200, **query: object) -> Any:
    """The body of the response."""
    response = client.get(f"/udf/{path}", params=query)  # type: ignore[arg-type]
    assert response.status_code == status, response.text
    return json.loads(response.text)


def get_history(client: httpx.Client, resolution: str = "60", **query: object) -> Any:
    """Bars of btc_usd; moments are sent in Unix seconds."""
    times = {name: int(at.timestamp()) for name, at in query.items() if isinstance(at, datetime)}
    named = {name.rstrip("_"): value for name, value in {**query, **times}.items()}
    return get_udf(client, "history", symbol="btc_usd", resolution=resolution, **named)


def test_countback_takes_precedence_over_from(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    insert_steps(writer, NOON - 900 * DAY, MINUTE, ["1.00", "2.00", "3.00"])
    insert_steps(writer, NOON, MINUTE, ["4.00", "5.00"])

    def closes(**query: object) -> list[float]:
        bars: list[float] = get_history(client, "1", from_=NOON, to=NOON + DAY, **query)["c"]
        return bars

    assert closes() == closes(countback=0) == closes(countback=2) == [4.0, 5.0]
    assert closes(countback=4, firstDataRequest="true") == [2.0, 3.0, 4.0, 5.0]
    assert closes(countback=10**12) == [1.0, 2.0, 3.0, 4.0, 5.0]
    ended = get_history(client, "1", from_=0, to=NOON - 900 * DAY, countback=300)
    assert ended == {"s": "no_data"}


def test_scrolling_back_returns_every_bar_once(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    insert_steps(writer, NOON - 50 * DAY, 17 * MINUTE, ["1.00"] * 40)
    insert_steps(writer, NOON, 13 * MINUTE, ["2.00"] * 40)
    whole = get_history(client, "15", from_=NOON - 99 * DAY, to=NOON + 9 * DAY)["t"]
    bars: list[int] = []
    to = NOON + 9 * DAY
    while (page := get_history(client, "15", from_=to - DAY, to=to, countback=7))["s"] == "ok":
        bars = [*page["t"], *bars]
        to = datetime.fromtimestamp(bars[0], UTC)

    assert bars == whole
    assert len(bars) > 70


def test_unmigrated_database_is_503(servers: Settings) -> None:
    with create_database(servers) as empty, serve_api(empty) as client:
        response = client.get("/udf/history?symbol=btc_usd&resolution=1")

    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert response.json()["s"] == "error"


def test_prices_are_the_nearest_doubles(client: httpx.Client, writer: psycopg.Connection) -> None:
    price = "68241.123456789123456789"
    insert_steps(writer, NOON, MINUTE, [price])

    assert get_history(client, "1", from_=NOON, to=NOON + DAY)["c"] == [float(Decimal(price))]
    assert get_udf(client, "symbols", symbol="btc_usd")["pricescale"] == 10**12


@pytest.mark.parametrize(
    ("prices", "source", "scale"),
    [
        ([], "poll", 100),
        (["0.1234", "0.10"], "poll", 10**4),
        (["68241.50", "68241.51"], "poll", 100),
        (["0.12345600", "0.10"], "poll", 10**6),
        (["0.1234567", "0.10"], "import", 10**7),
    ],
)
def test_pricescale_has_the_decimals_of_the_index(
    client: httpx.Client, writer: psycopg.Connection, prices: list[str], source: str, scale: int
) -> None:
    """Not those of the last price alone, nor zeros at the end."""
    insert_prices(
        writer, "btc_usd", {NOON + n * MINUTE: price for n, price in enumerate(prices)}, source
    )
    assert get_udf(client, "symbols", symbol="btc_usd")["pricescale"] == scale


def test_averages_have_no_effect_on_pricescale(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    insert_prices(writer, "btc_usd", {NOON: "68241.50"})
    insert_prices(writer, "btc_usd", {NOON + MINUTE: "68241.1234567"}, "chart")
    assert get_udf(client, "symbols", symbol="btc_usd")["pricescale"] == 100


def test_numbers_are_unix_times(client: httpx.Client, writer: psycopg.Connection) -> None:
    """As the protocol has them, also where they look like a date."""
    first = datetime.fromtimestamp(20_240_100, UTC)
    insert_steps(writer, first, MINUTE, ["1.00", "2.00"])
    assert get_history(client, "1", from_=20_240_100, to=20_240_160)["c"] == [1.0]
