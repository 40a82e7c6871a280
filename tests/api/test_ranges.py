"""Ranges of prices: what their pages show together, in both orders and both directions."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.serving import linked_url
from tracker.times import MINUTE

Asked = dict[str, Any]

EDGE = datetime(1970, 1, 1, tzinfo=UTC) + 52 * timedelta(days=365)  # between two chunks
NOW = datetime.now(UTC)
FIRST = datetime.min.replace(tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)

# Around the edge minute by minute; some more than a month away, some in other chunks or to come.
minutes = (st.integers(-20, 60) | st.sampled_from([-(10**6), -60_000, 60_000, 10**6, 10**7])).map(
    lambda count: EDGE + count * MINUTE
)
moments = st.builds(
    lambda minute, late: minute + timedelta(seconds=late),
    minutes,
    st.sampled_from([-0.000001, 0, 0.000001, 59]),
) | st.sampled_from([FIRST, LAST])
questions = st.fixed_dictionaries(
    {"order": st.sampled_from(["asc", "desc"])},
    optional={
        "start_date": moments,
        "end_date": moments,
        "include": st.just("source,observed_at"),
    },
)


OUTSIDE = EDGE - 10**5 * MINUTE  # a price that makes an index known
NUMBERS = count()

KEEP = (
    "INSERT INTO prices (ticker, price, created_at, source)"
    " SELECT %s, 1.50, unnest(%s::timestamptz[]), 'chart'"
    " ON CONFLICT (ticker, created_at) DO UPDATE SET price = 2.50, source = 'poll'"
)


def within(asked: Asked, minute: datetime) -> bool:
    """Whether *minute* is in the range asked for, in words of the README."""
    start, end = asked.get("start_date"), asked.get("end_date")
    if asked["order"] == "asc":
        return (start is None or minute >= start) and (minute < end if end else minute <= NOW)
    return minute <= (start or NOW) and (end is None or minute > end)


def new_index(conn: psycopg.Connection, stored: Iterable[datetime]) -> str:
    """The name of an index that has those prices, and no other test's."""
    index = f"index{next(NUMBERS)}_usd"
    keep(conn, index, stored)
    return index


def keep(conn: psycopg.Connection, index: str, stored: Iterable[datetime]) -> None:
    """Prices of *index*, each minute once: those that are there change."""
    conn.execute(KEEP, [index, list(set(stored))])


def parameters(asked: Asked) -> dict[str, str]:
    """*asked* as a query string has it."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asked.items()
    }


def follow(
    client: httpx.Client, page: httpx.Response, rel: str, change: Callable[[], None]
) -> Iterator[httpx.Response]:
    """The page, and those that its links of *rel* lead to; *change* is called after each."""
    for _ in range(200):
        assert page.status_code == 200, page.text
        yield page
        change()
        if rel not in page.links:
            return
        page = client.get(linked_url(page, rel))
    raise AssertionError(f"{page.url} is not the last")


def shown(pages: Iterable[httpx.Response]) -> list[datetime]:
    """The minutes of all *pages*."""
    return [minute for page in pages for minute in minutes_in(page)]


def minutes_in(page: httpx.Response) -> list[datetime]:
    """The minutes of its prices."""
    return [datetime.fromisoformat(price["created_at"]) for price in page.json()]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stored=st.lists(minutes, max_size=30),
    asked=questions,
    limit=st.integers(1, 7),
    added=st.lists(st.lists(minutes, max_size=8), max_size=12),
)
def test_pages_together_are_the_range(
    client: httpx.Client,
    writer: psycopg.Connection,
    *,
    stored: list[datetime],
    asked: Asked,
    limit: int,
    added: list[list[datetime]],
) -> None:
    """Next by next, then back again, while rows come and are repaired: all of it, and once."""
    stored = [*stored, OUTSIDE]  # an index without a price is unknown
    index, coming = new_index(writer, stored), iter(added)

    def change() -> None:
        if batch := next(coming, None):
            keep(writer, index, batch)

    params = {"ticker": index, "limit": str(limit), **parameters(asked)}
    forth = list(follow(client, client.get("/prices", params=params), "next", change))
    back = list(follow(client, forth[-1], "prev", change))

    there = {minute for minute in stored if within(asked, minute)}
    came = {minute for batch in added for minute in batch if within(asked, minute)}
    for pages, least in ((forth, there), (back[::-1], set(shown(forth)))):
        found = shown(pages)
        assert found == sorted(set(found), reverse=asked["order"] == "desc")
        assert least <= set(found) <= there | came
    assert [len(minutes_in(page)) for page in forth[:-1]] == [limit] * (len(forth) - 1)
    assert "prev" not in forth[0].links


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stored=st.lists(minutes, max_size=20), asked=questions, cursor=moments, forth=st.booleans())
def test_page_links_to_the_neighbours_that_exist(
    client: httpx.Client,
    writer: psycopg.Connection,
    *,
    stored: list[datetime],
    asked: Asked,
    cursor: datetime,
    forth: bool,
) -> None:
    """Whatever the cursor: a link on a side means that the range has a price there."""
    stored = [*stored, OUTSIDE]
    index = new_index(writer, stored)
    params = parameters({**asked, "before" if forth else "after": cursor})
    page = client.get("/prices", params={"ticker": index, "limit": "3", **params})

    there = sorted({minute for minute in stored if within(asked, minute)})
    on_side = [minute for minute in there if (minute < cursor if forth else minute > cursor)]
    nearest_three = on_side[-3:] if forth else on_side[:3]
    others = [minute for minute in there if minute not in on_side]
    beyond = len(on_side) > 3
    older, newer = ("prev", "next") if asked["order"] == "asc" else ("next", "prev")

    assert sorted(shown([page])) == nearest_three
    assert (older in page.links) == (beyond if forth else bool(others))
    assert (newer in page.links) == (bool(others) if forth else beyond)


def store(conn: psycopg.Connection, *minutes: datetime) -> None:
    """Prices of btc_usd."""
    keep(conn, "btc_usd", minutes)


def minutes_of(answer: httpx.Response) -> list[str]:
    """The minutes of a page, of an hour before noon or after it, as they came."""
    assert answer.status_code == 200, answer.text
    return [price["created_at"][11:16] for price in answer.json()]


NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("start_date=12:03&end_date=12:01", ["12:03", "12:02"]),
        ("start_date=12:01&end_date=12:03&order=asc", ["12:01", "12:02"]),
        ("start_date=12:02:59.9&end_date=12:00:30&order=desc", ["12:02", "12:01"]),
        ("start_date=12:00:30&end_date=12:02:00.1&order=asc", ["12:01", "12:02"]),
        ("start_date=12:03&end_date=12:03", []),
        ("start_date=12:03&end_date=12:03&order=asc", []),
        ("start_date=12:01&end_date=12:03", []),
        ("start_date=12:03&end_date=12:01&order=asc", []),
    ],
)
def test_the_start_is_in_the_range_and_the_end_is_not(
    client: httpx.Client, writer: psycopg.Connection, asked: str, expected: list[str]
) -> None:
    """In both orders; a range that ends before it starts is empty."""
    store(writer, *[NOON + n * MINUTE for n in range(5)])
    day = asked.replace("_date=", "_date=2024-01-15T")
    answer = client.get(f"/prices?ticker=btc_usd&{day}")

    assert minutes_of(answer) == expected
    assert "link" not in answer.headers


def test_without_a_start_the_oldest_come_first_if_asked(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """From the first row on, to the newest that is not in the future."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    store(writer, NOON, NOON + MINUTE, now, now + timedelta(days=400))

    answer = client.get("/prices?ticker=btc_usd&order=asc")

    assert minutes_of(answer) == ["12:00", "12:01", f"{now:%H:%M}"]


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_links_keep_what_was_asked(
    client: httpx.Client, writer: psycopg.Connection, prefix: str
) -> None:
    """Only the cursor differs: the rest is as it was written, whichever the path."""
    store(writer, *[NOON + n * MINUTE for n in range(9)])
    asked = (
        f"{prefix}/prices?format=json&order=asc&include=observed_at,source&limit=2"
        "&end_date=2024-01-15T12:07&start_date=2024-01-15T13:31%2B01:30&ticker=btc_usd"
    )
    kept = asked.removeprefix(f"{prefix}/prices")

    first = client.get(asked)
    second = client.get(linked_url(first))
    third = client.get(linked_url(second))

    pages = [minutes_of(page) for page in (first, second, third)]
    assert pages == [["12:01", "12:02"], ["12:03", "12:04"], ["12:05", "12:06"]]
    urls = {rel: link["url"] for rel, link in second.links.items()}
    assert urls == {
        "next": f"{kept}&after=2024-01-15T12:04:00Z",
        "prev": f"{kept}&before=2024-01-15T12:03:00Z",
    }
    assert [list(first.links), list(third.links)] == [["next"], ["prev"]]
    assert client.get(linked_url(third, "prev")).json() == second.json()
    assert client.get(linked_url(second, "prev")).json() == first.json()


def test_going_back_from_an_older_page_reaches_the_newest(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """Also those that came since; the newest page has nothing before it."""
    store(writer, *[NOON + n * MINUTE for n in range(4)])
    first = client.get("/prices?ticker=btc_usd&limit=2")
    second = client.get(linked_url(first))
    store(writer, *[NOON + n * MINUTE for n in range(4, 7)])

    back = client.get(linked_url(second, "prev"))
    newest = client.get(linked_url(back, "prev"))

    assert "prev" not in first.links
    assert [minutes_of(page) for page in (first, second, back, newest)] == [
        ["12:03", "12:02"],
        ["12:01", "12:00"],
        ["12:03", "12:02"],
        ["12:05", "12:04"],
    ]
    assert minutes_of(client.get(linked_url(newest, "prev"))) == ["12:06"]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stored=st.lists(minutes, max_size=12),
    date=moments,
    tolerance=st.sampled_from([0, 1, 59, 60, 86400]),
)
def test_nearest_price_is_that_of_a_list(
    client: httpx.Client,
    writer: psycopg.Connection,
    *,
    stored: list[datetime],
    date: datetime,
    tolerance: int,
) -> None:
    """Its own minute or one that begins within the tolerance: the nearest, the earlier of two."""
    stored = [*stored, OUTSIDE]
    index = new_index(writer, stored)
    params = parameters({"ticker": index, "date": date, "tolerance": str(tolerance)})
    answer = client.get("/prices/filtered", params=params)

    near = [
        minute
        for minute in sorted(set(stored))
        if (abs(minute - date) <= timedelta(seconds=tolerance) and tolerance)
        or timedelta() <= date - minute < MINUTE
    ]
    expected = min(near, key=lambda minute: abs(minute - date), default=None)
    assert answer.status_code == (200 if expected else 404)
    if expected:
        assert datetime.fromisoformat(answer.json()["created_at"]) == expected


@pytest.mark.parametrize(
    ("time", "tolerance", "expected"),
    [
        ("12:00:59", 0, "12:00"),
        ("12:00:41", 10, "12:00"),
        ("12:00:41", 19, "12:01"),
        ("12:00:30", 60, "12:00"),
        ("12:03:00", 119, None),
        ("12:03:00", 120, "12:01"),
        ("11:59:00", 60, "12:00"),
        ("11:58:59.9", 60, None),
    ],
)
def test_a_price_may_lie_some_seconds_away(
    client: httpx.Client,
    writer: psycopg.Connection,
    time: str,
    tolerance: int,
    expected: str | None,
) -> None:
    """It carries its own time; of two equally near it is the earlier."""
    store(writer, NOON, NOON + MINUTE, NOON + 5 * MINUTE)
    path = f"/prices/filtered?ticker=btc_usd&date=2024-01-15T{time}&tolerance={tolerance}"
    answer = client.get(path)

    if expected:
        assert answer.json()["created_at"] == f"2024-01-15T{expected}:00Z"
    else:
        assert answer.status_code == 404
        assert f"or within {tolerance} s of" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "culprits"),
    [
        (
            "/prices?ticker=btc_usd&order=up&end_date=x&before=x&after=",
            "after before end_date order",
        ),
        ("/prices/last?ticker=btc_usd&order=asc", "order"),
        ("/prices/filtered?ticker=btc_usd&date=0&tolerance=86401", "tolerance"),
        ("/prices/filtered?ticker=btc_usd&date=0&tolerance=-1", "tolerance"),
        ("/prices/filtered?ticker=btc_usd&date=0&tolerance=1.5", "tolerance"),
    ],
)
def test_what_no_range_can_be_is_422(client: httpx.Client, path: str, culprits: str) -> None:
    """Each culprit is named."""
    answer = client.get(path)
    assert answer.status_code == 422
    assert sorted(error["name"] for error in answer.json()["errors"]) == culprits.split()
