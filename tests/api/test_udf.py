"""The UDF protocol over real HTTP, as TradingView's client speaks it: it reads bodies alone."""

import json
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import psycopg
import pytest

from tests.support.servers import fresh_database
from tests.support.serving import served
from tracker.settings import Settings
from tracker.times import MINUTE

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
DAY = timedelta(days=1)
RESOLUTIONS = ["1", "5", "15", "30", "60", "240", "1D", "1W", "1M"]


def store(conn: psycopg.Connection, first: datetime, step: timedelta, prices: list[str]) -> None:
    """Prices of btc_usd from *first* on."""
    conn.cursor().executemany(
        "INSERT INTO prices (ticker, created_at, price) VALUES ('btc_usd', %s, %s)",
        [(first + n * step, price) for n, price in enumerate(prices)],
    )


def asked(client: httpx.Client, path: str, status: int = 200, **query: object) -> Any:
    """What the client reads: the body as JSON, after looking at the status for ourselves."""
    answer = client.get(f"/udf/{path}", params=query)  # type: ignore[arg-type]
    assert answer.status_code == status, answer.text
    return json.loads(answer.text)


def history(client: httpx.Client, resolution: str = "60", **query: object) -> Any:
    """Bars of btc_usd; a moment is sent in Unix seconds, as the client does."""
    times = {name: int(at.timestamp()) for name, at in query.items() if isinstance(at, datetime)}
    named = {name.rstrip("_"): value for name, value in {**query, **times}.items()}
    return asked(client, "history", symbol="btc_usd", resolution=resolution, **named)


def seconds(*moments: datetime) -> list[int]:
    """Unix times."""
    return [int(moment.timestamp()) for moment in moments]


def test_the_configuration_names_what_there_is(client: httpx.Client) -> None:
    """Search is supported, so that no group is ever asked for."""
    found = asked(client, "config")

    assert found["supported_resolutions"] == RESOLUTIONS
    named = {name for name, supported in found.items() if supported is True}
    assert named == {"supports_search", "supports_time"}
    assert [exchange["value"] for exchange in found["exchanges"]] == ["", "DERIBIT"]
    assert asked(client, "../v1/udf/config") == found


def test_the_time_is_in_seconds(client: httpx.Client) -> None:
    """Digits alone, as plain text."""
    answer = client.get("/udf/time")

    assert answer.headers["content-type"].startswith("text/plain")
    assert abs(int(answer.text) - time.time()) < 60


@pytest.mark.parametrize("symbol", ["btc_usd", "BTC_USD", "DERIBIT:BTC_USD", "deribit:btc_usd"])
def test_a_symbol_is_resolved(
    client: httpx.Client, writer: psycopg.Connection, symbol: str
) -> None:
    """In any case, with or without the exchange; s would tell the client of an error."""
    store(writer, NOON, MINUTE, ["68241.50", "68241.1234"])
    found = asked(client, "symbols", symbol=symbol, currencyCode="USD")

    assert found == {
        "name": "BTC_USD",
        "ticker": "btc_usd",
        "description": "BTC / USD index",
        "type": "index",
        "exchange": "DERIBIT",
        "listed_exchange": "DERIBIT",
        "session": "24x7",
        "timezone": "Etc/UTC",
        "format": "price",
        "minmov": 1,
        "pricescale": 10_000,
        "currency_code": "USD",
        "has_intraday": True,
        "intraday_multipliers": ["1", "5", "15", "30", "60", "240"],
        "has_daily": True,
        "has_weekly_and_monthly": True,
        "has_no_volume": True,
        "visible_plots_set": "ohlc",
        "supported_resolutions": RESOLUTIONS,
    }


@pytest.mark.usefixtures("writer")
def test_a_symbol_without_prices_has_two_decimals(client: httpx.Client) -> None:
    """Until there is one to learn from."""
    assert asked(client, "symbols", symbol="ETH_USD")["pricescale"] == 100


def test_searching_is_case_blind(client: httpx.Client, writer: psycopg.Connection) -> None:
    """The client sends capitals; an empty word finds all; what is of another kind is not here."""
    store(writer, NOON, MINUTE, ["1.50"])

    def tickers(**query: object) -> list[str]:
        return [found["ticker"] for found in asked(client, "search", **query)]

    assert asked(client, "search", query="BTC", type="", exchange="", limit=30) == [
        {
            "symbol": "BTC_USD",
            "full_name": "DERIBIT:BTC_USD",
            "description": "BTC / USD index",
            "exchange": "DERIBIT",
            "ticker": "btc_usd",
            "type": "index",
        }
    ]
    assert tickers() == tickers(query="") == tickers(query="usd index") == ["btc_usd", "eth_usd"]
    assert tickers(query="USD", limit=1) == ["btc_usd"]
    assert tickers(query="deribit:eth", type="index", exchange="DERIBIT") == ["eth_usd"]
    assert tickers(query="xrp") == tickers(type="stock") == tickers(exchange="NYSE") == []


def test_history_is_columns_of_numbers(client: httpx.Client, writer: psycopg.Connection) -> None:
    """Oldest first; from is in it, to is not."""
    store(writer, NOON, 15 * MINUTE, [f"{100 + n}.50" for n in range(12)])
    found = history(client, from_=NOON, to=NOON + 2 * DAY)

    assert found == {
        "s": "ok",
        "t": seconds(*(NOON + n * 60 * MINUTE for n in range(3))),
        "o": [100.5, 104.5, 108.5],
        "h": [103.5, 107.5, 111.5],
        "l": [100.5, 104.5, 108.5],
        "c": [103.5, 107.5, 111.5],
    }
    part = history(client, from_=NOON + MINUTE, to=NOON + 120 * MINUTE)
    assert part["t"] == seconds(NOON + 60 * MINUTE)


@pytest.mark.parametrize("resolution", [*RESOLUTIONS, "D", "W", "M"])
def test_every_resolution_is_served(
    client: httpx.Client, writer: psycopg.Connection, resolution: str
) -> None:
    """A day's bar stands at its midnight, in UTC; all of them end with the same price."""
    store(writer, NOON, MINUTE, [f"{100 + n}.00" for n in range(30)])
    found = history(client, resolution, from_=NOON - 40 * DAY, to=NOON + DAY)

    days = {
        "D": NOON.replace(hour=0),
        "W": NOON.replace(hour=0),
        "M": datetime(2024, 1, 1, tzinfo=UTC),
    }
    width = timedelta(minutes=int(resolution)) if resolution.isdecimal() else DAY
    last = days.get(resolution[-1], NOON + (timedelta(minutes=29) // width) * width)
    assert (found["t"][-1], found["c"][-1]) == (*seconds(last), 129.0)
    assert len(found["t"]) == -(-timedelta(minutes=30) // width)


def test_countback_matters_more_than_from(client: httpx.Client, writer: psycopg.Connection) -> None:
    """As many bars before to as there are, over any hole; nothing before them is no_data."""
    store(writer, NOON - 900 * DAY, MINUTE, ["1.00", "2.00", "3.00"])
    store(writer, NOON, MINUTE, ["4.00", "5.00"])

    def closes(**query: object) -> list[float]:
        found: list[float] = history(client, "1", from_=NOON, to=NOON + DAY, **query)["c"]
        return found

    assert closes() == closes(countback=0) == closes(countback=2) == [4.0, 5.0]
    assert closes(countback=4, firstDataRequest="true") == [2.0, 3.0, 4.0, 5.0]
    assert closes(countback=10**12) == [1.0, 2.0, 3.0, 4.0, 5.0]
    ended = history(client, "1", from_=0, to=NOON - 900 * DAY, countback=300)
    assert ended == {"s": "no_data"}


def test_a_hole_says_where_to_go_on(client: httpx.Client, writer: psycopg.Connection) -> None:
    """At the newest bar before it; before the first one there is nothing to go on to."""
    store(writer, NOON, MINUTE, ["1.00", "2.00"])
    hole = history(client, "60", from_=NOON + DAY, to=NOON + 2 * DAY)

    assert hole == {"s": "no_data", "nextTime": seconds(NOON)[0]}
    assert history(client, "1D", from_=NOON - 9 * DAY, to=NOON - DAY) == {"s": "no_data"}
    assert history(client, "60", from_=NOON + DAY, to=NOON - DAY) == {"s": "no_data"}


def test_scrolling_back_as_the_client_does_gives_every_bar_once(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """Each request ends where the bars that it has begin, until there is no more."""
    store(writer, NOON - 50 * DAY, 17 * MINUTE, ["1.00"] * 40)
    store(writer, NOON, 13 * MINUTE, ["2.00"] * 40)
    whole = history(client, "15", from_=NOON - 99 * DAY, to=NOON + 9 * DAY)["t"]
    found: list[int] = []
    to = NOON + 9 * DAY
    while (page := history(client, "15", from_=to - DAY, to=to, countback=7))["s"] == "ok":
        found = [*page["t"], *found]
        to = datetime.fromtimestamp(found[0], UTC)

    assert found == whole
    assert len(found) > 70


@pytest.mark.parametrize("path", ["symbols", "history"])
def test_an_unknown_symbol_is_an_error_to_client_and_reader(
    client: httpx.Client, path: str
) -> None:
    """A problem document with the status that fits, and with the keys that the client looks for."""
    found = asked(client, path, 404, symbol="AAPL", resolution="60")

    assert (found["s"], found["errmsg"]) == ("error", "symbol: 'aapl' does not exist")
    assert (found["status"], found["title"], found["detail"]) == (404, "Not Found", found["errmsg"])


def test_each_culprit_is_named(client: httpx.Client) -> None:
    """What the client should have sent; what is not ours to read is left alone."""
    assert asked(client, "symbols", 422)["errmsg"] == "symbol: is required"
    bad = asked(client, "history", 422, resolution="7", to="then", countback="-1", symbol="btc_usd")
    assert {error["name"] for error in bad["errors"]} == {"resolution", "to", "countback"}
    assert asked(client, "search", 422, limit="many")["s"] == "error"
    twice = client.get("/udf/symbols?symbol=btc_usd&symbol=eth_usd")
    assert (twice.status_code, twice.json()["s"]) == (422, "error")
    assert int(twice.headers["content-length"]) == len(twice.content)


def test_a_database_without_tables_is_an_error_too(servers: Settings) -> None:
    """503, when to come back, and the keys."""
    with fresh_database(servers) as empty, served(empty) as client:
        answer = client.get("/udf/history?symbol=btc_usd&resolution=1")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["s"] == "error"


def test_numbers_are_as_near_as_json_allows(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """The nearest double of the stored decimal."""
    price = "68241.123456789123456789"
    store(writer, NOON, MINUTE, [price])

    assert history(client, "1", from_=NOON, to=NOON + DAY)["c"] == [float(Decimal(price))]
    assert asked(client, "symbols", symbol="btc_usd")["pricescale"] == 10**12
