"""Ranges of prices: all their pages together, in both orders and directions."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.api import linked_url
from tests.support.database import insert_minutes, minutes_from, upsert_prices
from tracker.times import MINUTE

Query = dict[str, Any]

BOUNDARY = datetime(1970, 1, 1, tzinfo=UTC) + 52 * timedelta(days=365)  # between two chunks
NOW = datetime.now(UTC)
FIRST = datetime.min.replace(tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)

# Around the edge minute by minute; some more than a month away, some in other chunks or to come.
minutes = (st.integers(-20, 60) | st.sampled_from([-(10**6), -60_000, 60_000, 10**6, 10**7])).map(
    lambda count: BOUNDARY + count * MINUTE
)
moments = st.builds(
    lambda minute, late: minute + timedelta(seconds=late),
    minutes,
    st.sampled_from([-0.000001, 0, 0.000001, 59]),
) | st.sampled_from([FIRST, LAST])
queries = st.fixed_dictionaries(
    {"order": st.sampled_from(["asc", "desc"])},
    optional={
        "start_date": moments,
        "end_date": moments,
        "include": st.just("source,observed_at"),
    },
)


OUTSIDE = BOUNDARY - 10**5 * MINUTE  # a price that makes an index known
NUMBERS = count(1)


def is_within(query: Query, minute: datetime) -> bool:
    """Whether *minute* is in the requested range, by the definition in the README."""
    start, end = query.get("start_date"), query.get("end_date")
    if start and end:
        return start <= minute < end or end < minute <= start
    if query["order"] == "asc":
        return (start is None or minute >= start) and (minute < end if end else minute <= NOW)
    return minute <= (start or NOW) and (end is None or minute > end)


def insert_index(conn: psycopg.Connection, stored: Iterable[datetime]) -> str:
    """The name of a new index with those prices."""
    index = f"index{next(NUMBERS)}_usd"
    store_minutes(conn, index, stored)
    return index


def store_minutes(conn: psycopg.Connection, index: str, minutes: Iterable[datetime]) -> None:
    """Insert prices of *index* or change existing ones."""
    upsert_prices(conn, index, dict.fromkeys(minutes, f"{next(NUMBERS)}.50"))


def to_query(query: Query) -> dict[str, str]:
    """*query* as strings."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in query.items()
    }


def follow_pages(
    client: httpx.Client, page: httpx.Response, rel: str, change: Callable[[], None]
) -> Iterator[httpx.Response]:
    """The page and those that its links of *rel* lead to; *change* is called after each."""
    for _ in range(200):
        assert page.status_code == 200, page.text
        yield page
        change()
        if rel not in page.links:
            return
        page = client.get(linked_url(page, rel))
    raise AssertionError(f"{page.url} is not the last")


def all_minutes(pages: Iterable[httpx.Response]) -> list[datetime]:
    """The minutes of all *pages*."""
    return [minute for page in pages for minute in page_minutes(page)]


def page_minutes(page: httpx.Response) -> list[datetime]:
    """The minutes of its prices."""
    return [datetime.fromisoformat(price["created_at"]) for price in page.json()]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stored=st.lists(minutes, max_size=30),
    query=queries,
    limit=st.integers(1, 7),
    added=st.lists(st.lists(minutes, max_size=8), max_size=12),
)
def test_pages_cover_the_range_once(
    client: httpx.Client,
    writer: psycopg.Connection,
    *,
    stored: list[datetime],
    query: Query,
    limit: int,
    added: list[list[datetime]],
) -> None:
    """By next links and back, while prices are inserted and repaired."""
    stored = [*stored, OUTSIDE]  # an index without a price is unknown
    index, batches = insert_index(writer, stored), iter(added)

    def change() -> None:
        if batch := next(batches, None):
            store_minutes(writer, index, batch)

    params = {"ticker": index, "limit": str(limit), **to_query(query)}
    forward = list(follow_pages(client, client.get("/prices", params=params), "next", change))
    back = list(follow_pages(client, forward[-1], "prev", change))

    expected = {minute for minute in stored if is_within(query, minute)}
    added_minutes = {minute for batch in added for minute in batch if is_within(query, minute)}
    for pages, required in ((forward, expected), (back[::-1], set(all_minutes(forward)))):
        found = all_minutes(pages)
        assert found == sorted(set(found), reverse=query["order"] == "desc")
        assert required <= set(found) <= expected | added_minutes
    assert [len(page_minutes(page)) for page in forward[:-1]] == [limit] * (len(forward) - 1)
    assert "prev" not in forward[0].links


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stored=st.lists(minutes, max_size=20), query=queries, cursor=moments, forward=st.booleans())
def test_link_exists_where_the_range_has_more_prices(
    client: httpx.Client,
    writer: psycopg.Connection,
    *,
    stored: list[datetime],
    query: Query,
    cursor: datetime,
    forward: bool,
) -> None:
    stored = [*stored, OUTSIDE]
    index = insert_index(writer, stored)
    params = to_query({**query, "before" if forward else "after": cursor})
    page = client.get("/prices", params={"ticker": index, "limit": "3", **params})

    expected = sorted({minute for minute in stored if is_within(query, minute)})
    on_side = [minute for minute in expected if (minute < cursor if forward else minute > cursor)]
    nearest_three = on_side[-3:] if forward else on_side[:3]
    others = [minute for minute in expected if minute not in on_side]
    beyond = len(on_side) > 3
    older, newer = ("prev", "next") if query["order"] == "asc" else ("next", "prev")

    assert sorted(all_minutes([page])) == nearest_three
    assert (older in page.links) == (beyond if forward else bool(others))
    assert (newer in page.links) == (bool(others) if forward else beyond)


def page_times(response: httpx.Response) -> list[str]:
    """The times of day on a page."""
    assert response.status_code == 200, response.text
    return [price["created_at"][11:16] for price in response.json()]


NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)


def test_links_keep_the_query(client: httpx.Client, writer: psycopg.Connection) -> None:
    insert_minutes(writer, minutes_from(NOON, 9))
    query = (
        "/v1/prices?format=json&order=asc&include=observed_at,source&limit=2"
        "&end_date=2024-01-15T12:07&start_date=2024-01-15T13:31%2B01:30&ticker=btc_usd"
    )
    query_string = query.removeprefix("/v1/prices")

    first = client.get(query)
    second = client.get(linked_url(first))
    third = client.get(linked_url(second))

    pages = [page_times(page) for page in (first, second, third)]
    assert pages == [["12:01", "12:02"], ["12:03", "12:04"], ["12:05", "12:06"]]
    urls = {rel: link["url"] for rel, link in second.links.items()}
    assert urls == {
        "next": f"{query_string}&after=2024-01-15T12:04:00Z",
        "prev": f"{query_string}&before=2024-01-15T12:03:00Z",
    }
    assert [list(first.links), list(third.links)] == [["next"], ["prev"]]
    assert client.get(linked_url(third, "prev")).json() == second.json()
    assert client.get(linked_url(second, "prev")).json() == first.json()


@pytest.mark.parametrize("path", ["/prices?", "/prices/candles?interval=1m&"])
@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("desc", [["12:06", "12:05"], ["12:04", "12:03"], ["12:02"]]),
        ("asc", [["12:02", "12:03"], ["12:04", "12:05"], ["12:06"]]),
    ],
)
def test_both_cursors_bound_every_page(
    client: httpx.Client,
    writer: psycopg.Connection,
    path: str,
    order: str,
    expected: list[list[str]],
) -> None:
    """Links replace the nearer one and keep the other."""
    insert_minutes(writer, minutes_from(NOON, 9))
    query = f"ticker=btc_usd&limit=2&after=2024-01-15T12:01&before=2024-01-15T12:07&order={order}"
    first = client.get(path + query)
    pages = list(follow_pages(client, first, "next", lambda: None))
    assert [page_times(page) for page in pages] == expected
    assert [list(page.links) for page in pages] == [["next"], ["next"], []]


def test_previous_links_reach_the_newest_prices(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    insert_minutes(writer, minutes_from(NOON, 4))
    first = client.get("/prices?ticker=btc_usd&limit=2")
    second = client.get(linked_url(first))
    insert_minutes(writer, minutes_from(NOON + 4 * MINUTE, 3))

    back = client.get(linked_url(second, "prev"))
    newest = client.get(linked_url(back, "prev"))

    assert "prev" not in first.links
    assert [page_times(page) for page in (first, second, back, newest)] == [
        ["12:03", "12:02"],
        ["12:01", "12:00"],
        ["12:03", "12:02"],
        ["12:05", "12:04"],
    ]
    assert page_times(client.get(linked_url(newest, "prev"))) == ["12:06"]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stored=st.lists(minutes, max_size=12),
    date=moments,
    tolerance=st.sampled_from([0, 1, 59, 60, 86400]),
)
def test_filtered_returns_the_nearest_price_within_the_tolerance(
    client: httpx.Client,
    writer: psycopg.Connection,
    *,
    stored: list[datetime],
    date: datetime,
    tolerance: int,
) -> None:
    """Or the price of its own minute; of two equally near ones the earlier."""
    stored = [*stored, OUTSIDE]
    index = insert_index(writer, stored)
    params = to_query({"ticker": index, "date": date, "tolerance": str(tolerance)})
    response = client.get("/prices/filtered", params=params)

    candidates = [
        minute
        for minute in sorted(set(stored))
        if (abs(minute - date) <= timedelta(seconds=tolerance) and tolerance)
        or timedelta() <= date - minute < MINUTE
    ]
    expected = min(candidates, key=lambda minute: abs(minute - date), default=None)
    assert response.status_code == (200 if expected else 404)
    if expected:
        assert datetime.fromisoformat(response.json()["created_at"]) == expected
