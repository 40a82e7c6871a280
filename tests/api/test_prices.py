"""Pages of prices and single prices over HTTP."""

from datetime import UTC, datetime, timedelta

import httpx
import psycopg
import pytest

from tests.support.api import error_reasons, format_moment
from tests.support.database import insert_minutes, minutes_from
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


@pytest.mark.parametrize("order", ["desc", "asc"])
@pytest.mark.parametrize(
    ("bounds", "expected"),
    [(("12:01", "12:03"), ["12:01", "12:02"]), (("12:03", "12:01"), ["12:02", "12:03"])],
)
def test_range_lies_between_its_bounds(
    client: httpx.Client,
    writer: psycopg.Connection,
    order: str,
    bounds: tuple[str, str],
    expected: list[str],
) -> None:
    """Whichever is earlier: the start is inclusive, the end exclusive, the order as requested."""
    insert_minutes(writer, minutes_from(NOON, 5))
    start, end = bounds
    query = f"ticker=btc_usd&start_date=2024-01-15T{start}&end_date=2024-01-15T{end}"
    page = page_minutes(client.get(f"/prices?{query}&order={order}"))
    exported = client.get(f"/prices/export?{query}").text.splitlines()[1:]

    assert [minute[11:16] for minute in page] == expected[:: 1 if order == "asc" else -1]
    assert [line[-9:-4] for line in exported] == expected


def test_source_is_poll_chart_or_import(client: httpx.Client, writer: psycopg.Connection) -> None:
    """In pages, single prices and exports, and as the OpenAPI document lists them."""
    sources = ["poll", "chart", "import"]
    for number, source in enumerate(sources):
        insert_minutes(writer, [NOON + number * MINUTE], source=source)
    page = client.get("/prices?ticker=btc_usd&order=asc&include=source").json()
    last = client.get("/prices/last?ticker=btc_usd&include=source").json()
    found = client.get("/prices/filtered?ticker=btc_usd&date=2024-01-15T12:02&include=source")
    exported = client.get("/prices/export?ticker=btc_usd&include=source").text
    schemas = client.get("/openapi.json").json()["components"]["schemas"]

    assert [price["source"] for price in page] == sources
    assert last["source"] == found.json()["source"] == "import"
    assert [line.rpartition(",")[2] for line in exported.splitlines()[1:]] == sources
    assert schemas["Price"]["properties"]["source"]["$ref"] == "#/components/schemas/Source"
    assert schemas["Source"]["enum"] == sources


def test_list_is_repeated_or_separated_by_commas(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    insert_minutes(writer, [NOON])
    separated = client.get("/prices?ticker=btc_usd&include=source,observed_at")
    repeated = client.get("/prices?ticker=btc_usd&include=observed_at&include=source")
    assert separated.json() == repeated.json()
    assert list(separated.json()[0])[4:] == ["source", "observed_at"]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("start_date=20261120", "looks like a date without hyphens"),
        ("end_date=2026", "looks like a date without hyphens"),
        ("before=2026-02-29", "is no moment, because 2026-02 has 28 days"),
        ("after=2026-02-28T25:00", "is no moment, because its hour is 25, not 0 to 23"),
    ],
)
def test_moment_that_might_be_misread_is_refused(
    client: httpx.Client, query: str, reason: str
) -> None:
    response = client.get(f"/prices?ticker=btc_usd&{query}")
    [why] = error_reasons(response, 422).values()
    assert why.startswith(reason)


def test_nanoseconds_are_a_moment(client: httpx.Client, writer: psycopg.Connection) -> None:
    insert_minutes(writer, [NOON])
    nanoseconds = int(NOON.timestamp()) * 10**9 + 1
    response = client.get(f"/prices/filtered?ticker=btc_usd&date={nanoseconds}")
    assert response.json()["created_at"] == "2024-01-15T12:00:00Z"
