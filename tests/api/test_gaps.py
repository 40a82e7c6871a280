"""Gaps and coverage over real HTTP: edges, defaults, pages, and what is refused."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest

from tests.support.serving import linked_url, problem
from tracker.times import MINUTE, minute_of

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
BOTH = pytest.mark.parametrize("path", ["/prices/gaps", "/prices/coverage"])


def store(conn: psycopg.Connection, minutes: list[datetime], source: str = "poll") -> None:
    """Prices of btc_usd."""
    conn.execute(
        "INSERT INTO prices (ticker, price, created_at, source)"
        " SELECT 'btc_usd', 1.50, unnest(%s::timestamptz[]), %s",
        [minutes, source],
    )


def miss(conn: psycopg.Connection, minutes: list[datetime], reason: str) -> None:
    """Records of btc_usd."""
    conn.execute(
        "INSERT INTO misses (ticker, minute, reason, attempts)"
        " SELECT 'btc_usd', unnest(%s::timestamptz[]), %s, 3",
        [minutes, reason],
    )


def grid(first: datetime, count: int) -> list[datetime]:
    """*count* minutes from *first* on."""
    return [first + n * MINUTE for n in range(count)]


def text(moment: datetime) -> str:
    """A moment as the API writes it."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def rows(client: httpx.Client, path: str, **asked: object) -> list[dict[str, Any]]:
    """What *path* says of btc_usd."""
    answer = client.get(path, params={"ticker": "btc_usd", **asked})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    found: list[dict[str, Any]] = answer.json()
    return found


def gap(first: datetime, minutes: int, reason: str = "not_polled") -> dict[str, object]:
    """As the API shows it."""
    last = first + (minutes - 1) * MINUTE
    return {"from": text(first), "to": text(last), "minutes": minutes, "reason": reason}


def bucket(start: datetime, *counts: int, ratio: float) -> dict[str, object]:
    """As the API shows it."""
    names = ["expected", "polled", "chart", "missing"]
    found = dict(zip(names, counts, strict=True))
    return {"from": text(start), **found, "imported": 0, "ratio": ratio}


def walk(client: httpx.Client, path: str) -> list[list[dict[str, Any]]]:
    """Each page from *path* on, following `Link`."""
    pages, following = [], path
    while following:
        answer = client.get(following)
        pages.append(answer.json())
        following = linked_url(answer)
    return pages


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_a_run_ends_where_its_reason_does(
    client: httpx.Client, writer: psycopg.Connection, prefix: str
) -> None:
    """Across hours too; a record of a minute that was repaired explains nothing."""
    store(writer, [NOON, NOON + 70 * MINUTE, NOON + 80 * MINUTE])
    miss(writer, grid(NOON + 50 * MINUTE, 20), "exchange_unavailable")
    miss(writer, grid(NOON + 70 * MINUTE, 2), "rate_limited")

    found = rows(client, f"{prefix}/prices/gaps", end_date=text(NOON + 81 * MINUTE))

    assert found == [
        gap(NOON + 72 * MINUTE, 8),
        gap(NOON + 71 * MINUTE, 1, "rate_limited"),
        gap(NOON + 50 * MINUTE, 20, "exchange_unavailable"),
        gap(NOON + MINUTE, 49),
    ]
    assert [list(each) for each in found] == [["from", "to", "minutes", "reason"]] * 4


def test_a_bucket_counts_what_is_in_the_window(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """Cut at both ends; before the index was tracked nothing is expected."""
    store(writer, grid(NOON + 30 * MINUTE, 30))
    store(writer, grid(NOON + 60 * MINUTE, 59), "chart")
    end = text(NOON + 125 * MINUTE)

    assert rows(client, "/prices/coverage", end_date=end) == [
        bucket(NOON + 120 * MINUTE, 5, 0, 0, 5, ratio=0.0),
        bucket(NOON + 60 * MINUTE, 60, 0, 59, 1, ratio=0.9833),
        bucket(NOON, 30, 30, 0, 0, ratio=1.0),
    ]
    start = text(NOON + 40 * MINUTE)
    days = rows(client, "/prices/coverage", start_date=start, end_date=end, interval="1d")
    assert days == [bucket(NOON.replace(hour=0), 85, 20, 59, 6, ratio=0.9294)]
    inside = {"start_date": start, "end_date": text(NOON + 42 * MINUTE)}
    assert rows(client, "/prices/coverage", **inside) == [bucket(NOON, 2, 2, 0, 0, ratio=1.0)]


def test_the_window_has_its_start_and_not_its_end(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """A moment within a minute: the minutes that begin from it on, and before it."""
    store(writer, [NOON - MINUTE, NOON + 9 * MINUTE])
    second = timedelta(seconds=1)

    def within(start: datetime, end: datetime) -> list[dict[str, Any]]:
        return rows(client, "/prices/gaps", start_date=text(start), end_date=text(end))

    assert within(NOON, NOON + MINUTE) == [gap(NOON, 1)]
    assert within(NOON + second, NOON + MINUTE) == []
    assert within(NOON, NOON + MINUTE + second) == [gap(NOON, 2)]
    assert within(NOON, NOON) == within(NOON + MINUTE, NOON) == []
    assert within(NOON - timedelta(days=9), NOON + 9 * MINUTE) == [gap(NOON, 9)]


def test_the_present_minute_is_not_missing_yet(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """By default, and if the end lies in the future; prices to come are not counted."""
    now = minute_of(datetime.now(UTC))
    store(writer, [now - 5 * MINUTE, *grid(now, 4)])
    ends: list[dict[str, object]] = [
        {},
        {"end_date": text(now + timedelta(days=400))},
        {"end_date": "9999-12-31T23:59:59.999Z", "start_date": "0001-01-01"},
    ]
    found = [rows(client, "/prices/gaps", **end) for end in ends]
    counted = [rows(client, "/prices/coverage", **end) for end in ends]
    passed = (minute_of(datetime.now(UTC)) - now) // MINUTE  # mostly 0

    assert found == [[gap(now - 4 * MINUTE, 4)]] * 3
    for buckets in counted:
        assert sum(each["missing"] for each in buckets) == 4
        assert 5 <= sum(each["expected"] for each in buckets) <= 5 + passed
    assert rows(client, "/prices/gaps", start_date=text(now + timedelta(days=1))) == []


@BOTH
def test_nothing_is_missing_before_there_is_anything(
    client: httpx.Client, writer: psycopg.Connection, path: str
) -> None:
    """Tracked and never polled; tracked from this minute on; asked of the time before."""
    assert rows(client, path) == []

    now = minute_of(datetime.now(UTC))
    writer.execute("INSERT INTO tickers (ticker, since) VALUES ('btc_usd', %s)", [now + MINUTE])
    assert rows(client, path) == []

    writer.execute("UPDATE tickers SET since = %s", [NOON])
    assert rows(client, path, end_date=text(NOON)) == []
    assert len(rows(client, path, end_date=text(NOON + MINUTE))) == 1
    answer = client.get(f"{path}?ticker=btc_usd&end_date={text(NOON + MINUTE)}&limit=1")
    assert "next" not in answer.links


def test_following_the_links_gives_every_gap_once(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """The link carries the start on; the last page has none, however full it is."""
    store(writer, [NOON + n * 45 * MINUTE for n in range(13)])
    miss(writer, [NOON + n * 7 * MINUTE for n in range(60)], "too_late")
    window = f"ticker=btc_usd&start_date={text(NOON + MINUTE)}"
    first = client.get(f"/v1/prices/gaps?{window}&end_date={text(NOON + 541 * MINUTE)}&limit=5")
    whole = client.get(f"/prices/gaps?{window}&end_date={text(NOON + 541 * MINUTE)}&limit=1000")
    everything = whole.json()

    assert "next" not in whole.links
    assert first.links["next"]["url"] == (f"?{window}&limit=5&end_date={everything[4]['from']}")
    for limit in (1, 7, len(everything) - 1, len(everything)):
        end = text(NOON + 541 * MINUTE)
        pages = walk(client, f"/prices/gaps?{window}&end_date={end}&limit={limit}")
        places = range(0, len(everything), limit)
        assert pages == [everything[n : n + limit] for n in places]


@pytest.mark.parametrize("interval", ["1h", "1d"])
def test_following_the_links_gives_every_bucket_once(
    client: httpx.Client, writer: psycopg.Connection, interval: str
) -> None:
    """Through days without any price too; the default is fifty hours."""
    store(writer, [NOON, NOON + timedelta(days=4)])
    end = text(NOON + timedelta(days=4, minutes=30))
    path = f"/prices/coverage?ticker=btc_usd&end_date={end}&interval={interval}"
    everything = client.get(f"{path}&limit=1000").json()

    assert len(everything) == {"1h": 97, "1d": 5}[interval]
    assert sum(each["expected"] for each in everything) == 4 * 1440 + 30
    assert sum(each["polled"] for each in everything) == 2
    for limit in (1, 4, 5, 97):
        places = range(0, len(everything), limit)
        assert walk(client, f"{path}&limit={limit}") == [everything[n : n + limit] for n in places]
    default = client.get(f"/prices/coverage?ticker=btc_usd&end_date={end}")
    assert len(default.json()) == 50
    assert f"&limit=50&end_date={default.json()[-1]['from']}>" in default.headers["link"]


def test_a_minute_moves_from_gap_to_row_when_it_is_repaired(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """At once, and its record stays."""
    store(writer, [NOON, NOON + 4 * MINUTE])
    miss(writer, grid(NOON + MINUTE, 3), "bad_answer")
    end = text(NOON + 5 * MINUTE)
    before = rows(client, "/prices/gaps", end_date=end)
    store(writer, [NOON + 2 * MINUTE], "chart")

    assert before == [gap(NOON + MINUTE, 3, "bad_answer")]
    assert rows(client, "/prices/gaps", end_date=end) == [
        gap(NOON + 3 * MINUTE, 1, "bad_answer"),
        gap(NOON + MINUTE, 1, "bad_answer"),
    ]
    assert rows(client, "/prices/coverage", end_date=end) == [bucket(NOON, 5, 2, 1, 2, ratio=0.6)]


@BOTH
def test_what_cannot_be_answered_is_refused(
    client: httpx.Client, writer: psycopg.Connection, path: str
) -> None:
    """Each culprit by its name; an index that nobody tracks is one."""
    store(writer, [NOON])

    assert problem(client.get(path), 422) == {"ticker": "is required"}
    unknown = problem(client.get(f"{path}?ticker=never_usd"), 422)
    assert unknown["ticker"].startswith("'never_usd' is not tracked; tracked: btc_usd")
    bad = "?ticker=btc_usd&start_date=x&end_date=&limit=0&date=1&interval=1w"
    known = ["ticker", "start_date", "end_date"]
    reasons = problem(client.get(path + bad), 422)
    assert set(reasons) == {"start_date", "end_date", "limit", "date", "interval"}
    assert f"parameters: {', '.join(known)}" in reasons["date"]
    if path == "/prices/coverage":
        assert reasons["interval"] == "is not one of 1h, 1d: '1w'"
