"""Candles over real HTTP: edges, zones, pages, and what is refused."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import psycopg
import pytest

from tests.support.serving import linked_url, problem
from tracker.times import MINUTE, minute_of

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
KEYS = ["created_at", "open", "high", "low", "close", "samples"]


def store(conn: psycopg.Connection, prices: dict[datetime, str]) -> None:
    """Prices of btc_usd."""
    conn.execute(
        "INSERT INTO prices (ticker, created_at, price)"
        " SELECT 'btc_usd', minute, price"
        " FROM unnest(%s::timestamptz[], %s::numeric[]) AS row (minute, price)",
        [list(prices), list(prices.values())],
    )


def grid(first: datetime, step: timedelta, count: int) -> dict[datetime, str]:
    """*count* prices from *first* on, a cent more each time."""
    return {first + n * step: f"{100 + Decimal(n) / 100:.2f}" for n in range(count)}


def text(moment: datetime) -> str:
    """A moment as the API writes it."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def rows(client: httpx.Client, **asked: object) -> list[dict[str, Any]]:
    """The candles of btc_usd."""
    query: dict[str, Any] = {"ticker": "btc_usd", **asked}
    answer = client.get("/prices/candles", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def starts(client: httpx.Client, **asked: object) -> list[str]:
    """Where they begin."""
    return [row["created_at"] for row in rows(client, **asked)]


def walk(client: httpx.Client, path: str, rel: str = "next") -> list[list[dict[str, Any]]]:
    """Each page from *path* on, following `Link`."""
    pages, following = [], path
    while following:
        answer = client.get(following)
        assert answer.status_code == 200, answer.text
        pages.append(answer.json())
        following = linked_url(answer, rel)
    return pages


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_a_candle_has_first_highest_lowest_and_last(
    client: httpx.Client, writer: psycopg.Connection, prefix: str
) -> None:
    """Exact, to the last digit; an hour without prices makes none."""
    prices = ["68241.50", "68300.00", "68000.123456789", "68100.00"]
    store(writer, {NOON + n * 5 * MINUTE: price for n, price in enumerate(prices)})
    store(writer, {NOON + 2 * HOUR: "1.00"})

    answer = client.get(f"{prefix}/prices/candles?ticker=btc_usd")

    one = {"open": "1.00", "high": "1.00", "low": "1.00", "close": "1.00", "samples": 1}
    assert answer.json() == [
        {"created_at": "2024-01-15T14:00:00Z", **one},
        {
            "created_at": "2024-01-15T12:00:00Z",
            "open": "68241.50",
            "high": "68300.00",
            "low": "68000.123456789",
            "close": "68100.00",
            "samples": 4,
        },
    ]
    assert [list(row) for row in answer.json()] == [KEYS] * 2


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ("1m", 90),
        ("5m", 18),
        ("15m", 6),
        ("30m", 3),
        ("1h", 2),
        ("4h", 1),
        ("1d", 1),
        ("1w", 1),
        ("1M", 1),
    ],
)
def test_every_interval_covers_every_minute(
    client: httpx.Client, writer: psycopg.Connection, interval: str, expected: int
) -> None:
    """Buckets begin at midnight, on Monday, on the first."""
    store(writer, grid(NOON, MINUTE, 90))
    found = rows(client, interval=interval, limit=1000)

    assert len(found) == expected
    assert sum(row["samples"] for row in found) == 90
    assert (found[-1]["open"], found[0]["close"]) == ("100.00", "100.89")
    begin = {"4h": NOON, "1d": NOON.replace(hour=0), "1w": NOON.replace(hour=0)}
    first = begin.get(interval, NOON if interval != "1M" else NOON.replace(day=1, hour=0))
    assert found[-1]["created_at"] == text(first)


def test_days_are_those_of_the_zone(client: httpx.Client, writer: psycopg.Connection) -> None:
    """Of 23 and 25 hours where clocks move; half an hour off where the zone is."""
    store(writer, grid(datetime(2024, 3, 9, tzinfo=UTC), 30 * MINUTE, 4 * 48))
    york = rows(client, interval="1d", tz="America/New_York", order="asc")
    kolkata = rows(client, interval="1d", tz="Asia/Kolkata", order="asc")

    assert [(row["created_at"], row["samples"]) for row in york] == [
        ("2024-03-08T05:00:00Z", 10),
        ("2024-03-09T05:00:00Z", 48),
        ("2024-03-10T05:00:00Z", 46),
        ("2024-03-11T04:00:00Z", 48),
        ("2024-03-12T04:00:00Z", 40),
    ]
    assert [(row["created_at"], row["samples"]) for row in kolkata] == [
        ("2024-03-08T18:30:00Z", 37),
        ("2024-03-09T18:30:00Z", 48),
        ("2024-03-10T18:30:00Z", 48),
        ("2024-03-11T18:30:00Z", 48),
        ("2024-03-12T18:30:00Z", 11),
    ]
    assert (kolkata[0]["close"], kolkata[1]["open"]) == ("100.36", "100.37")


def test_a_bucket_belongs_to_the_window_it_begins_in(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """With all its prices, also those after the window; its start counts, the end does not."""
    store(writer, grid(NOON, MINUTE, 180))

    def within(start: datetime, end: datetime, interval: str = "1h") -> list[dict[str, Any]]:
        return rows(client, start_date=text(start), end_date=text(end), interval=interval)

    assert [row["samples"] for row in within(NOON, NOON + MINUTE)] == [60]
    assert [row["samples"] for row in within(NOON, NOON + MINUTE, "30m")] == [30]
    assert within(NOON + MINUTE, NOON + HOUR) == []
    assert within(NOON + MINUTE, NOON + 30 * MINUTE, "30m") == []
    assert len(within(NOON + MINUTE, NOON + HOUR + MINUTE)) == 1
    assert within(NOON, NOON) == within(NOON + HOUR, NOON) == []
    month = within(NOON.replace(day=1, hour=0), NOON.replace(day=2), "1M")
    assert [row["samples"] for row in month] == [180]


def test_the_bucket_in_progress_is_shown(client: httpx.Client, writer: psycopg.Connection) -> None:
    """With the minutes that there are; it grows."""
    now = minute_of(datetime.now(UTC))
    store(writer, {now: "1.00"})

    for interval in ("1m", "30m", "1h", "1d", "1M"):
        assert [row["samples"] for row in rows(client, interval=interval)] == [1]


def test_a_hole_of_years_costs_nothing(client: httpx.Client, writer: psycopg.Connection) -> None:
    """A page is full however long nothing was stored; also far in the past and the future."""
    store(writer, grid(NOON - 3000 * DAY, MINUTE, 5))
    store(writer, grid(NOON, MINUTE, 5))

    for interval in ("1m", "5m", "1h", "1d", "1M"):
        found = starts(client, interval=interval, limit=10)
        assert found == starts(client, interval=interval, limit=10, order="asc")[::-1]
        assert len(found) == (10 if interval == "1m" else 2)
    ever = {"start_date": "0001-01-01", "end_date": "9999-12-31T23:59:59.999999Z"}
    assert len(starts(client, **ever, interval="1w", tz="Asia/Tokyo")) == 2
    assert len(starts(client, **ever, interval="1w", tz="America/Lima", order="asc")) == 2


@pytest.mark.parametrize("name", ["start_date", "end_date", "before", "after"])
@pytest.mark.parametrize("edge", ["0001-01-01", "9999-12-31T23:59:59.999999Z"])
def test_the_ends_of_time(
    client: httpx.Client, writer: psycopg.Connection, name: str, edge: str
) -> None:
    """There is nothing beyond them, and no error."""
    store(writer, {NOON: "1.50"})
    for asked in ("interval=1m", "interval=4h", "interval=1d&tz=Asia/Kolkata", "interval=1M"):
        answer = client.get(f"/prices/candles?ticker=btc_usd&{asked}&{name}={edge}")
        assert (answer.status_code, len(answer.json()) <= 1) == (200, True), asked


@pytest.mark.parametrize("order", ["desc", "asc"])
@pytest.mark.parametrize(
    "interval", ["interval=5m", "interval=4h", "interval=1d&tz=Asia/Kathmandu"]
)
def test_following_the_links_gives_every_candle_once(
    client: httpx.Client, writer: psycopg.Connection, interval: str, order: str
) -> None:
    """From the first page to the last, and back."""
    store(writer, grid(NOON, 10 * MINUTE, 20))
    store(writer, grid(NOON + 40 * DAY, 7 * HOUR, 20))
    path = f"/v1/prices/candles?ticker=btc_usd&{interval}&order={order}"
    everything = client.get(f"{path}&limit=1000").json()

    assert sum(row["samples"] for row in everything) == 40
    for limit in (1, 3, len(everything) - 1, len(everything)):
        places = range(0, len(everything), limit)
        pages = walk(client, f"{path}&limit={limit}")
        assert pages == [everything[n : n + limit] for n in places]
    edge = everything[-1]["created_at"]
    cursor = f"{'before' if order == 'desc' else 'after'}={edge}"
    back = walk(client, f"{path}&limit=3&{cursor}", "prev")
    assert [row for page in back[:0:-1] for row in page] == everything


def test_a_link_keeps_what_was_asked(client: httpx.Client, writer: psycopg.Connection) -> None:
    """The zone's plus sign too, and the window."""
    store(writer, grid(NOON, DAY, 5))
    query = "ticker=btc_usd&interval=1d&tz=Etc%2FGMT%2B5&start_date=2024-01-15T12:00:00Z"
    answer = client.get(f"/prices/candles?{query}&limit=2")

    link = f"?{query}&limit=2&before=2024-01-18T05:00:00Z"
    assert answer.links["next"]["url"] == link
    assert [row["created_at"] for row in client.get(linked_url(answer)).json()] == [
        "2024-01-17T05:00:00Z",
        "2024-01-16T05:00:00Z",
    ]


def test_what_is_over_may_be_kept_and_still_follows_a_repair(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """For a while; then the tag tells of a change. A bucket in progress is asked for anew."""
    store(writer, {NOON: "1.50"})
    path = "/prices/candles?ticker=btc_usd&interval=1d"
    over = client.get(f"{path}&end_date={text(NOON)}")
    known = {"If-None-Match": over.headers["etag"]}

    assert "max-age" in over.headers["cache-control"]
    assert client.get(str(over.url), headers=known).status_code == 304
    store(writer, {NOON + MINUTE: "1.75"})
    again = client.get(str(over.url), headers=known)
    assert (again.status_code, again.json()[0]["close"]) == (200, "1.75")
    for still_open in (path, f"{path}&end_date={text(datetime.now(UTC))}"):
        assert client.get(still_open).headers["cache-control"] == "no-cache"


def test_rows_as_csv(client: httpx.Client, writer: psycopg.Connection) -> None:
    """A header line, then a line for each candle."""
    store(writer, {NOON: "1.50"})
    answer = client.get("/prices/candles?ticker=btc_usd&format=csv")

    assert answer.text == f"{','.join(KEYS)}\r\n2024-01-15T12:00:00Z,1.50,1.50,1.50,1.50,1\r\n"


def test_what_cannot_be_answered_is_refused(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """Each culprit by its name."""
    store(writer, {NOON: "1.50"})
    path = "/prices/candles?ticker=btc_usd"

    assert problem(client.get("/prices/candles"), 422) == {"ticker": "is required"}
    bad = "&interval=2h&tz=Mars/Olympus&order=up&limit=0&start_date=x&date=1"
    reasons = problem(client.get(path + bad), 422)
    assert set(reasons) == {"interval", "tz", "order", "limit", "start_date", "date"}
    assert reasons["tz"].endswith("Europe/Berlin: 'Mars/Olympus'")
    for zone in ("../UTC", "/etc/passwd", "America", "", "utc\x00"):
        asked = {"ticker": "btc_usd", "interval": "1d", "tz": zone}
        assert set(problem(client.get("/prices/candles", params=asked), 422)) == {"tz"}
    for interval in ("1m", "4h"):
        plain = client.get(f"{path}&interval={interval}")
        assert client.get(f"{path}&interval={interval}&tz=Asia/Tokyo").json() == plain.json()
    assert "is not tracked" in problem(client.get("/prices/candles?ticker=no_usd"), 422)["ticker"]
