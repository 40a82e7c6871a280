"""Pages of prices and single prices over HTTP."""

from datetime import UTC, datetime, timedelta

import httpx
import psycopg

from tests.support.api import format_moment
from tests.support.database import insert_minutes
from tracker.times import MINUTE

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)


def page_minutes(response: httpx.Response) -> list[str]:
    """The minutes of a page, in its order."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return [price["created_at"] for price in response.json()]


def test_default_page_is_the_newest_fifty(client: httpx.Client, writer: psycopg.Connection) -> None:
    """Prices in the future are not returned."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    minutes = [now - n * MINUTE for n in range(60)]
    insert_minutes(writer, [now + timedelta(days=400), *minutes])

    response = client.get("/prices?ticker=btc_usd")

    assert page_minutes(response)[:2] == [format_moment(now), format_moment(now - MINUTE)]
    assert len(response.json()) == 50
    assert response.links["next"]["url"] == (
        f"?ticker=btc_usd&limit=50&before={format_moment(minutes[49])}"
    )
    assert client.get("/prices/last?ticker=btc_usd").json() == response.json()[0]


def test_missing_price_is_404(client: httpx.Client, writer: psycopg.Connection) -> None:
    """An empty page is no error."""
    insert_minutes(writer, [NOON, NOON + 2 * MINUTE], ticker="eth_usd")

    assert page_minutes(client.get("/prices?ticker=btc_usd")) == []
    last = client.get("/prices/last?ticker=btc_usd")
    assert last.status_code == 404
    assert last.json()["errors"] == [{"name": "ticker", "reason": "no price of btc_usd yet"}]
    missing = client.get("/prices/filtered?ticker=eth_usd&date=2024-01-15T12:01:30Z")
    assert missing.status_code == 404
    assert missing.json()["errors"] == [
        {"name": "date", "reason": "no price of eth_usd for 2024-01-15T12:01:00Z"}
    ]
    found = client.get("/prices/filtered?ticker=eth_usd&date=2024-01-15T12:02:59.999Z")
    assert found.json()["created_at"] == "2024-01-15T12:02:00Z"


def test_stored_index_is_served_without_being_configured(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    unknown = client.get("/prices/last?ticker=sol_usdc")
    insert_minutes(writer, [NOON], ticker="sol_usdc")

    assert unknown.status_code == 422
    assert client.get("/prices/last?ticker=sol_usdc").json()["ticker"] == "sol_usdc"
