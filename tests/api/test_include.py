"""Provenance over real HTTP: keys that are added only when they are asked for."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import psycopg
import pytest

from tests.support.servers import fresh_database
from tests.support.serving import linked_url, problem, served
from tracker import migrations
from tracker.settings import Settings
from tracker.times import MINUTE

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
KEYS = ["id", "ticker", "price", "created_at"]
PATHS = [
    "/prices?ticker=btc_usd",
    "/prices/last?ticker=btc_usd",
    "/prices/filtered?ticker=btc_usd&date=2024-01-15T12:02:30Z",
]


@pytest.fixture(scope="module")
def client(servers: Settings) -> Iterator[httpx.Client]:
    """A client of an API with three prices: polled, from a chart, and of an unknown clock."""
    with fresh_database(servers) as base:
        migrations.apply(base.database_dsn)
        with psycopg.connect(base.database_dsn) as conn:
            rows = [("poll", 1_234_567), ("chart", 2_000_000), ("poll", None)]
            for n, (source, late) in enumerate(rows):
                minute = NOON + n * MINUTE
                seen = None if late is None else minute + timedelta(microseconds=late)
                conn.execute(
                    "INSERT INTO prices (ticker, price, created_at, observed_at, source)"
                    " VALUES ('btc_usd', 1.50, %s, %s, %s)",
                    [minute, seen, source],
                )
        with served(base) as client:
            yield client


def test_where_each_price_comes_from(client: httpx.Client) -> None:
    """The exchange's clock with all its microseconds, or null."""
    page = client.get("/prices?ticker=btc_usd&include=source,observed_at").json()

    assert [list(price) for price in page] == [[*KEYS, "source", "observed_at"]] * 3
    assert [(price["source"], price["observed_at"]) for price in page] == [
        ("poll", None),
        ("chart", "2024-01-15T12:01:02.000000Z"),
        ("poll", "2024-01-15T12:00:01.234567Z"),
    ]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("asked", "added"),
    [
        ("", []),
        ("&include=source", ["source"]),
        ("&include=observed_at", ["observed_at"]),
        ("&include=observed_at,source", ["source", "observed_at"]),
        ("&include=source%2Cobserved_at", ["source", "observed_at"]),
    ],
)
def test_keys_are_added_in_one_order(
    client: httpx.Client, path: str, asked: str, added: list[str]
) -> None:
    """The same on every path of prices; the four keys keep their values."""
    plain, found = client.get(path).json(), client.get(path + asked).json()
    plain, found = (plain[0], found[0]) if isinstance(plain, list) else (plain, found)

    assert list(plain) == KEYS
    assert list(found) == [*KEYS, *added]
    assert {name: found[name] for name in KEYS} == plain


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("", "has ''; allowed: source, observed_at"),
        ("price", "has 'price'; allowed: source, observed_at"),
        ("source,", "has ''; allowed: source, observed_at"),
        ("source, observed_at", "has ' observed_at'; allowed: source, observed_at"),
        ("source,observed_at,source", "has 'source' more than once"),
        ("source&include=observed_at", "is given more than once"),
    ],
)
def test_what_cannot_be_included_is_named(
    client: httpx.Client, path: str, asked: str, reason: str
) -> None:
    """Unknown names, and names twice."""
    assert problem(client.get(f"{path}&include={asked}"), 422) == {"include": reason}


def test_the_next_page_includes_the_same(client: httpx.Client) -> None:
    """The link carries it on."""
    first = client.get("/prices?ticker=btc_usd&limit=2&include=observed_at,source")

    assert first.links["next"]["url"] == (
        "?ticker=btc_usd&limit=2&include=observed_at,source&before=2024-01-15T12:01:00Z"
    )
    answer = client.get(linked_url(first))
    assert [price["source"] for price in answer.json()] == ["poll"]
    assert "next" not in answer.links
