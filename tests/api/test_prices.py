"""Prices over real HTTP: pages that can be walked, the newest, the one of a minute."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest

from tests.support.serving import linked_url
from tracker.times import MINUTE

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
KEYS = ["id", "ticker", "price", "created_at"]


def store(conn: psycopg.Connection, ticker: str, minutes: list[datetime], price: str) -> None:
    """Prices of *ticker*, the same for each of *minutes*."""
    conn.execute(
        "INSERT INTO prices (ticker, price, created_at) SELECT %s, %s, unnest(%s::timestamptz[])",
        [ticker, price, minutes],
    )


def minutes_of(answer: httpx.Response) -> list[str]:
    """The minutes of a page, as they came."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return [price["created_at"] for price in answer.json()]


def text(moment: datetime) -> str:
    """A moment as the API writes it."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def walk(client: httpx.Client, path: str, then: Callable[[], None] = lambda: None) -> list[Any]:
    """The minutes of each page from *path* on, following `Link`; *then* happens between two."""
    pages: list[Any] = []
    following: str | None = path
    while following:
        answer = client.get(following)
        pages.append(minutes_of(answer))
        assert ("link" in answer.headers) == bool(answer.links)
        following = linked_url(answer)
        then()
    return pages


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_a_price_has_exactly_four_keys_in_order(
    client: httpx.Client, writer: psycopg.Connection, prefix: str
) -> None:
    """The same under the version and bare; the price is an exact decimal string."""
    store(writer, "btc_usd", [NOON], "68241.50")
    expected = {"id": 1, "ticker": "btc_usd", "price": "68241.50", "created_at": text(NOON)}

    page = client.get(f"{prefix}/prices?ticker=btc_usd").json()
    last = client.get(f"{prefix}/prices/last?ticker=btc_usd").json()
    minute = client.get(f"{prefix}/prices/filtered?ticker=btc_usd&date={text(NOON)}").json()

    assert [page, last, minute] == [[expected], expected, expected]
    assert [list(price) for price in (*page, last, minute)] == [KEYS] * 3


@pytest.mark.parametrize(
    "price", ["0.000000000000000001", "0.0002533", "123456789012345678.90", "1.50", f"1.{1:030}"]
)
def test_a_price_keeps_every_digit(
    client: httpx.Client, writer: psycopg.Connection, price: str
) -> None:
    """Never an exponent, never rounded."""
    store(writer, "btc_usd", [NOON], price)

    assert client.get("/prices/last?ticker=btc_usd").json()["price"] == price


def test_a_page_is_the_newest_fifty_without_being_asked(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """Newest first, from now on back; what lies in the future is not shown."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    minutes = [now - n * MINUTE for n in range(60)]
    store(writer, "btc_usd", [now + timedelta(days=400), *minutes], "1.50")

    answer = client.get("/prices?ticker=btc_usd")

    assert minutes_of(answer)[:2] == [text(now), text(now - MINUTE)]
    assert len(answer.json()) == 50
    assert answer.links["next"]["url"] == (f"?ticker=btc_usd&limit=50&before={text(minutes[49])}")
    assert client.get("/prices/last?ticker=btc_usd").json() == answer.json()[0]


def test_the_start_is_inclusive_and_of_any_spelling(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """A moment within a minute includes that minute; a `+` need not be escaped."""
    store(writer, "btc_usd", [NOON - MINUTE, NOON, NOON + MINUTE], "1.50")
    both = [text(NOON), text(NOON - MINUTE)]

    for start in (
        "2024-01-15T12:00:00Z",
        "2024-01-15T17:30:59.9+05:30",
        "1705320000",
        "1705320000000",
    ):
        assert minutes_of(client.get(f"/prices?ticker=btc_usd&start_date={start}")) == both
    earlier = client.get("/prices?ticker=btc_usd&start_date=2024-01-15T11:59:59.999999Z")
    assert minutes_of(earlier) == both[1:]
    assert minutes_of(client.get("/prices?ticker=btc_usd&start_date=2024-01-15")) == []
    assert minutes_of(client.get("/prices?ticker=btc_usd&start_date=0001-01-01")) == []
    assert len(client.get("/prices?ticker=btc_usd&start_date=9999-12-31T23:59:59Z").json()) == 3


@pytest.mark.parametrize(("count", "limit"), [(3, 1), (4, 2), (5, 2), (1000, 1000), (1001, 1000)])
def test_following_the_links_gives_everything_once(
    client: httpx.Client, writer: psycopg.Connection, count: int, limit: int
) -> None:
    """With gaps of months between the rows too; the last page has no link, however full it is."""
    minutes = [NOON - n * MINUTE - timedelta(days=200) * (n // 2) for n in range(min(count, 90))]
    minutes += [minutes[-1] - n * MINUTE for n in range(1, count - len(minutes) + 1)]
    store(writer, "btc_usd", minutes, "1.50")
    store(writer, "eth_usd", minutes, "2.50")

    texts = [text(minute) for minute in minutes]
    pages = walk(client, f"/v1/prices?ticker=btc_usd&limit={limit}")
    assert pages == [texts[n : n + limit] for n in range(0, count, limit)]


def test_rows_that_come_meanwhile_move_no_page(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """The cursor is a time, not a count: new prices neither repeat nor hide an old one."""
    minutes = [NOON - 2 * n * MINUTE for n in range(10)]
    store(writer, "btc_usd", minutes, "1.50")
    newer = iter(NOON + n * MINUTE for n in range(1, 99))

    def more() -> None:
        store(writer, "btc_usd", [next(newer), next(newer)], "2.50")

    pages = walk(client, "/prices?ticker=btc_usd&limit=3", more)
    assert [each for page in pages for each in page] == [text(minute) for minute in minutes]


def test_what_is_not_stored_is_404(client: httpx.Client, writer: psycopg.Connection) -> None:
    """A page is empty, but a single price is there or not; each culprit is named."""
    store(writer, "eth_usd", [NOON, NOON + 2 * MINUTE], "1.50")

    assert minutes_of(client.get("/prices?ticker=btc_usd")) == []
    last = client.get("/prices/last?ticker=btc_usd")
    assert last.status_code == 404
    assert last.json()["errors"] == [{"name": "ticker", "reason": "no price of btc_usd yet"}]
    hole = client.get("/prices/filtered?ticker=eth_usd&date=2024-01-15T12:01:30Z")
    assert hole.status_code == 404
    assert hole.json()["errors"] == [
        {"name": "date", "reason": "no price of eth_usd for 2024-01-15T12:01:00Z"}
    ]
    found = client.get("/prices/filtered?ticker=eth_usd&date=2024-01-15T12:02:59.999Z")
    assert found.json()["created_at"] == "2024-01-15T12:02:00Z"


def test_a_stored_index_is_served_though_nobody_tracks_it_now(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """Known at once, without a restart; one that never was there is refused."""
    unknown = client.get("/prices/last?ticker=sol_usdc")
    store(writer, "sol_usdc", [NOON], "1.50")

    assert unknown.status_code == 422
    assert client.get("/prices/last?ticker=sol_usdc").json()["ticker"] == "sol_usdc"
