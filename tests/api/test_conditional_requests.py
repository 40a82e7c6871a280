"""How long clients may cache a response, when its ETag changes, and conditions on it."""

from datetime import UTC, datetime, timedelta

import httpx
import psycopg
import pytest

from tests.support.api import error_reasons
from tests.support.database import insert_minutes, minutes_from, upsert_prices
from tracker.times import MINUTE, minute_of
from tracker.web import responses

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
PAGE = "/prices?ticker=btc_usd&start_date=2024-01-15T13:00"
SETTLED = "max-age=60, must-revalidate"


@pytest.fixture
def writer(writer: psycopg.Connection) -> psycopg.Connection:
    """The database contains an hour of prices."""
    insert_minutes(writer, minutes_from(NOON, 60))
    return writer


@pytest.mark.parametrize(
    ("newest", "seconds"),
    [
        (timedelta(seconds=-1), 60),
        (timedelta(seconds=0), 60),
        (timedelta(seconds=1), 60),
        (timedelta(seconds=2), 59),
        (timedelta(seconds=30.5), 30),
        (timedelta(seconds=58.9), 2),
        (timedelta(seconds=61.5), 1),
        (timedelta(hours=1), 1),
        (None, 1),
    ],
)
def test_newest_price_is_fresh_until_the_next_is_due(
    newest: timedelta | None, seconds: int
) -> None:
    """Two seconds after its minute, of which one is our own cache's;

    an overdue price may come at any moment.
    """
    newest_at = None if newest is None else NOON - newest
    assert responses.until_next_price(newest_at, NOON) == {
        "Cache-Control": f"max-age={seconds}, must-revalidate"
    }


@pytest.mark.parametrize(
    ("path", "is_live"),
    [
        ("/prices?ticker=btc_usd", True),
        ("/prices?ticker=btc_usd&order=asc&limit=1000", True),
        ("/prices?ticker=btc_usd&order=asc&limit=50", False),
        (PAGE, False),
        ("/prices?ticker=btc_usd&before=2024-01-15T12:30", False),
        ("/prices?ticker=btc_usd&after=2024-01-15T12:30", True),
        ("/prices?ticker=btc_usd&start_date=9999-01-01", True),
        ("/prices/last?ticker=btc_usd", True),
        ("/prices/filtered?ticker=btc_usd&date=2024-01-15T12:30", False),
        ("/prices/filtered?ticker=btc_usd&date=9999-01-01&tolerance=0", None),
        ("/prices/gaps?ticker=btc_usd", True),
        ("/prices/gaps?ticker=btc_usd&end_date=2024-02-01", False),
        ("/prices/coverage?ticker=btc_usd&interval=1d", True),
        ("/prices/coverage?ticker=btc_usd&end_date=2024-02-01", False),
    ],
)
def test_response_is_fresh_until_it_may_change(
    client: httpx.Client, writer: psycopg.Connection, path: str, *, is_live: bool | None
) -> None:
    """Live responses until the next price is due, others for a minute, errors never."""
    insert_minutes(writer, [minute_of(datetime.now(UTC)) - 2 * MINUTE])
    before = datetime.now(UTC)
    response = client.get(path)
    duration = datetime.now(UTC) - before
    cache_control = response.headers["cache-control"]

    if is_live is None:
        assert (response.status_code, cache_control) == (404, "no-store")
    elif not is_live:
        assert cache_control == SETTLED
    elif "gaps" in path or "coverage" in path:
        moments = [before + duration * n / 100 for n in range(101)]
        expected = [responses.until_next_price(minute_of(now), now) for now in moments]
        assert {"Cache-Control": cache_control} in expected
    else:
        assert cache_control == "max-age=1, must-revalidate"


def test_fresh_price_is_cacheable_until_the_next_minute(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    insert_minutes(writer, [minute_of(datetime.now(UTC))])
    for path in ("/prices?ticker=btc_usd", "/prices/last?ticker=btc_usd"):
        response = client.get(path)
        seconds = int(response.headers["cache-control"].removeprefix("max-age=").partition(",")[0])
        newest = response.json() if "last" in path else response.json()[0]
        due = datetime.fromisoformat(newest["created_at"]) + timedelta(seconds=62)
        assert 1 <= seconds <= 60
        assert datetime.now(UTC) + timedelta(seconds=seconds - 1) <= due


def test_repair_changes_the_etag(client: httpx.Client, writer: psycopg.Connection) -> None:
    condition = {"If-None-Match": client.get(PAGE).headers["etag"]}
    assert client.get(PAGE, headers=condition).status_code == 304

    upsert_prices(writer, "btc_usd", {NOON + 30 * MINUTE: "2.50"})

    response = client.get(PAGE, headers=condition)
    assert response.status_code == 200
    assert "2.50" in response.text


def test_condition_is_a_list_of_etags_or_any(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """Compared weakly, and before any date; each coding has its own ETag."""
    assert writer
    plain = client.get(PAGE, headers={"Accept-Encoding": "identity"})
    compressed = client.get(PAGE)
    etag, other = plain.headers["etag"], compressed.headers["etag"]
    past = "Mon, 01 Jan 2001 00:00:00 GMT"

    def status(*conditions: tuple[str, str], coding: str = "identity") -> int:
        headers = [("Accept-Encoding", coding), *conditions]
        response = client.get(PAGE, headers=headers)
        is_new = response.status_code == 200
        assert bool(response.content) == is_new
        if not is_new:
            current = etag if coding == "identity" else other
            assert response.headers["etag"] == current
            assert {"cache-control", "vary"} <= set(response.headers)
            assert "content-type" not in response.headers
        return response.status_code

    assert etag != other
    for known in (etag, f"W/{etag}", f'"x", {etag}', f'W/"y" ,{etag},"z"', "*"):
        assert status(("If-None-Match", known)) == 304
        assert status(("If-None-Match", known), ("If-Modified-Since", past)) == 304
    for unknown in (other, '"x"', etag.strip('"'), '"*"', ""):
        assert status(("If-None-Match", unknown)) == 200
        future = "Fri, 01 Jan 2100 00:00:00 GMT"
        assert status(("If-None-Match", unknown), ("If-Modified-Since", future)) == 200
    assert status(("If-None-Match", '"x"'), ("If-None-Match", etag)) == 304
    assert status(("If-None-Match", other), coding="gzip") == 304
    assert status(("If-Modified-Since", past)) == 200
    assert client.head(PAGE, headers={"If-None-Match": "*"}).status_code == 304
    assert client.get("/prices?limit=0", headers={"If-None-Match": "*"}).status_code == 422


def test_if_match_is_412_without_the_current_etag(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """Compared strongly, before If-None-Match; a response without an ETag has none of a list."""
    assert writer
    client.headers["Accept-Encoding"] = "identity"
    etag = client.get(PAGE).headers["etag"]
    past = "Mon, 01 Jan 2001 00:00:00 GMT"

    for known in (etag, f'"x", {etag}', f'W/"y",{etag}', "*", ""):
        assert client.get(PAGE, headers={"If-Match": known}).status_code == 200
        both = {"If-Match": known, "If-None-Match": etag}
        assert client.get(PAGE, headers=both).status_code == 304
    assert client.get(PAGE, headers={"If-Unmodified-Since": past}).status_code == 200  # no date
    reasons = {"If-Match": "does not have the current ETag"}
    for unknown in ('"x"', f"W/{etag}", etag.strip('"'), '"*"'):
        headers = {"If-Match": unknown, "If-None-Match": "*"}
        assert error_reasons(client.get(PAGE, headers=headers), 412) == reasons
        assert client.head(PAGE, headers=headers).status_code == 412
    without_etag = ("/health/live", "/prices/export?ticker=btc_usd")
    for path in (*without_etag, "/prices/stream?ticker=btc_usd"):
        assert error_reasons(client.get(path, headers={"If-Match": etag}), 412) == reasons
    for path in without_etag:
        assert client.get(path, headers={"If-Match": "*"}).status_code == 200
    assert client.get("/prices?limit=0", headers={"If-Match": etag}).status_code == 422
