"""Gaps and coverage over HTTP: boundaries, defaults, pages."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest

from tests.support.api import follow_links, format_moment, get_json
from tests.support.database import insert_minutes, insert_misses, minutes_from
from tracker.times import MINUTE, minute_of

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
BOTH = pytest.mark.parametrize("path", ["/prices/gaps", "/prices/coverage"])


def get_rows(client: httpx.Client, path: str, **query: object) -> list[dict[str, Any]]:
    """The response of *path* for btc_usd."""
    rows: list[dict[str, Any]] = get_json(client, path, ticker="btc_usd", **query)
    return rows


def make_gap(first: datetime, minutes: int, reason: str = "not_polled") -> dict[str, object]:
    """A gap in the format of the API."""
    last = first + (minutes - 1) * MINUTE
    return {
        "from": format_moment(first),
        "to": format_moment(last),
        "minutes": minutes,
        "reason": reason,
    }


def make_bucket(start: datetime, *counts: int, ratio: float) -> dict[str, object]:
    """A bucket of coverage in the format of the API."""
    names = ["expected", "polled", "chart", "imported", "missing"]
    gaps = dict(zip(names, counts, strict=True))
    return {"from": format_moment(start), **gaps, "ratio": ratio}


def test_gap_has_one_reason(client: httpx.Client, writer: psycopg.Connection) -> None:
    """Across hours too; the miss of a repaired minute explains no gap."""
    insert_minutes(writer, [NOON, NOON + 70 * MINUTE, NOON + 80 * MINUTE])
    insert_misses(writer, "btc_usd", minutes_from(NOON + 50 * MINUTE, 20), "exchange_unavailable")
    insert_misses(writer, "btc_usd", minutes_from(NOON + 70 * MINUTE, 2), "rate_limited")

    gaps = get_rows(client, "/prices/gaps", end_date=format_moment(NOON + 81 * MINUTE))

    assert gaps == [
        make_gap(NOON + 72 * MINUTE, 8),
        make_gap(NOON + 71 * MINUTE, 1, "rate_limited"),
        make_gap(NOON + 50 * MINUTE, 20, "exchange_unavailable"),
        make_gap(NOON + MINUTE, 49),
    ]
    assert [list(each) for each in gaps] == [["from", "to", "minutes", "reason"]] * 4


def test_coverage_counts_minutes_of_the_window_since_tracking(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    insert_minutes(writer, minutes_from(NOON + 30 * MINUTE, 30))
    insert_minutes(writer, minutes_from(NOON + 60 * MINUTE, 59), source="chart")
    insert_minutes(writer, minutes_from(NOON + 120 * MINUTE, 3), source="import")
    end = format_moment(NOON + 125 * MINUTE)

    assert get_rows(client, "/prices/coverage", end_date=end) == [
        make_bucket(NOON + 120 * MINUTE, 5, 0, 0, 3, 2, ratio=0.6),
        make_bucket(NOON + 60 * MINUTE, 60, 0, 59, 0, 1, ratio=0.9833),
        make_bucket(NOON, 30, 30, 0, 0, 0, ratio=1.0),
    ]
    start = format_moment(NOON + 40 * MINUTE)
    days = get_rows(client, "/prices/coverage", start_date=start, end_date=end, interval="1d")
    assert days == [make_bucket(NOON.replace(hour=0), 85, 20, 59, 3, 3, ratio=0.9647)]
    inside = {"start_date": start, "end_date": format_moment(NOON + 42 * MINUTE)}
    assert get_rows(client, "/prices/coverage", **inside) == [
        make_bucket(NOON, 2, 2, 0, 0, 0, ratio=1.0)
    ]


def test_current_minute_is_not_missing(client: httpx.Client, writer: psycopg.Connection) -> None:
    now = minute_of(datetime.now(UTC))
    insert_minutes(writer, [now - 5 * MINUTE, *minutes_from(now, 4)])
    ends: list[dict[str, object]] = [
        {},
        {"end_date": format_moment(now + timedelta(days=400))},
        {"end_date": "9999-12-31T23:59:59.999Z", "start_date": "0001-01-01"},
    ]
    gaps = [get_rows(client, "/prices/gaps", **end) for end in ends]
    counted = [get_rows(client, "/prices/coverage", **end) for end in ends]
    passed = (minute_of(datetime.now(UTC)) - now) // MINUTE  # mostly 0

    assert gaps == [[make_gap(now - 4 * MINUTE, 4)]] * 3
    for buckets in counted:
        assert sum(each["missing"] for each in buckets) == 4
        assert 5 <= sum(each["expected"] for each in buckets) <= 5 + passed
    assert get_rows(client, "/prices/gaps", start_date=format_moment(now + timedelta(days=1))) == []


@BOTH
def test_nothing_is_missing_before_tracking(
    client: httpx.Client, writer: psycopg.Connection, path: str
) -> None:
    assert get_rows(client, path) == []

    now = minute_of(datetime.now(UTC))
    writer.execute("INSERT INTO tickers (ticker, since) VALUES ('btc_usd', %s)", [now + MINUTE])
    assert get_rows(client, path) == []

    writer.execute("UPDATE tickers SET since = %s", [NOON])
    assert get_rows(client, path, end_date=format_moment(NOON)) == []
    assert len(get_rows(client, path, end_date=format_moment(NOON + MINUTE))) == 1
    response = client.get(f"{path}?ticker=btc_usd&end_date={format_moment(NOON + MINUTE)}&limit=1")
    assert "next" not in response.links


def test_links_lead_through_every_gap_once(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    insert_minutes(writer, [NOON + n * 45 * MINUTE for n in range(13)])
    insert_misses(writer, "btc_usd", [NOON + n * 7 * MINUTE for n in range(60)], "too_late")
    window = f"ticker=btc_usd&start_date={format_moment(NOON + MINUTE)}"
    path = f"/prices/gaps?{window}&end_date={format_moment(NOON + 541 * MINUTE)}"
    first, whole = (client.get(f"{path}&limit={limit}") for limit in (5, 1000))
    everything = whole.json()

    assert "next" not in whole.links
    assert first.links["next"]["url"] == (f"?{window}&limit=5&end_date={everything[4]['from']}")
    for limit in (1, 7, len(everything) - 1, len(everything)):
        places = range(0, len(everything), limit)
        assert follow_links(client, f"{path}&limit={limit}") == [
            everything[n : n + limit] for n in places
        ]


@pytest.mark.parametrize("interval", ["1h", "1d"])
def test_links_lead_through_every_bucket_once(
    client: httpx.Client, writer: psycopg.Connection, interval: str
) -> None:
    insert_minutes(writer, [NOON, NOON + timedelta(days=4)])
    end = format_moment(NOON + timedelta(days=4, minutes=30))
    path = f"/prices/coverage?ticker=btc_usd&end_date={end}&interval={interval}"
    everything = client.get(f"{path}&limit=1000").json()

    assert len(everything) == {"1h": 97, "1d": 5}[interval]
    assert sum(each["expected"] for each in everything) == 4 * 1440 + 30
    assert sum(each["polled"] for each in everything) == 2
    for limit in (1, 4, 5, 97):
        places = range(0, len(everything), limit)
        assert follow_links(client, f"{path}&limit={limit}") == [
            everything[n : n + limit] for n in places
        ]
    default = client.get(f"/prices/coverage?ticker=btc_usd&end_date={end}")
    assert len(default.json()) == 50
    assert f"&limit=50&end_date={default.json()[-1]['from']}>" in default.headers["link"]


def test_repaired_minute_leaves_its_gap(client: httpx.Client, writer: psycopg.Connection) -> None:
    insert_minutes(writer, [NOON, NOON + 4 * MINUTE])
    insert_misses(writer, "btc_usd", minutes_from(NOON + MINUTE, 3), "bad_answer")
    end = format_moment(NOON + 5 * MINUTE)
    before = get_rows(client, "/prices/gaps", end_date=end)
    insert_minutes(writer, [NOON + 2 * MINUTE], source="chart")

    assert before == [make_gap(NOON + MINUTE, 3, "bad_answer")]
    assert get_rows(client, "/prices/gaps", end_date=end) == [
        make_gap(NOON + 3 * MINUTE, 1, "bad_answer"),
        make_gap(NOON + MINUTE, 1, "bad_answer"),
    ]
    assert get_rows(client, "/prices/coverage", end_date=end) == [
        make_bucket(NOON, 5, 2, 1, 0, 2, ratio=0.6)
    ]


@BOTH
def test_later_bound_may_be_the_start(
    client: httpx.Client, writer: psycopg.Connection, path: str
) -> None:
    """The start is inclusive and the end exclusive; links lead through the same window."""
    insert_minutes(writer, minutes_from(NOON, 500)[::7])
    start, end = NOON + 200 * MINUTE, NOON + 10 * MINUTE
    ascending = {
        "start_date": format_moment(end + MINUTE),
        "end_date": format_moment(start + MINUTE),
    }
    reversed_bounds = {"start_date": format_moment(start), "end_date": format_moment(end)}
    expected = get_rows(client, path, **ascending, limit=1000)
    query = httpx.QueryParams({"ticker": "btc_usd", **reversed_bounds, "limit": 3})
    pages = follow_links(client, f"{path}?{query}")

    assert len(expected) > 3
    assert get_rows(client, path, **reversed_bounds, limit=1000) == expected
    assert [row for page in pages for row in page] == expected
