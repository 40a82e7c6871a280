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


def test_stored_index_is_served_without_being_configured(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    unknown = client.get("/prices/last?ticker=sol_usdc")
    insert_minutes(writer, [NOON], ticker="sol_usdc")

    assert unknown.status_code == 422
    assert client.get("/prices/last?ticker=sol_usdc").json()["ticker"] == "sol_usdc"
