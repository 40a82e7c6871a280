"""What a client may keep and for how long, 304, gzip, HEAD, and other origins' pages."""

import gzip
from datetime import UTC, datetime, timedelta

import httpx
import psycopg
import pytest

from tests.support.serving import served
from tracker.settings import Settings
from tracker.times import MINUTE, minute_of
from tracker.web import responses

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
PAGE = "/prices?ticker=btc_usd&start_date=2024-01-15T13:00"
LONG = PAGE + "&limit=1000"
PLAIN = {"Accept-Encoding": "identity"}
SETTLED = "max-age=60, must-revalidate"


@pytest.fixture
def writer(writer: psycopg.Connection) -> psycopg.Connection:
    """A connection to the database; it has an hour of prices."""
    store(writer, *[NOON + n * MINUTE for n in range(60)])
    return writer


def store(conn: psycopg.Connection, *minutes: datetime, price: str = "1.50") -> None:
    """Prices of btc_usd, as repair writes them: one that is there is replaced."""
    conn.execute(
        "INSERT INTO prices (ticker, price, created_at)"
        " SELECT 'btc_usd', %s, unnest(%s::timestamptz[])"
        " ON CONFLICT (ticker, created_at) DO UPDATE SET price = excluded.price",
        [price, list(minutes)],
    )


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
def test_the_newest_price_is_kept_until_the_next_is_due(
    newest: timedelta | None, seconds: int
) -> None:
    """Its mark and two seconds, one of them in our memory; what is late may come at any moment."""
    seen = None if newest is None else NOON - newest
    assert responses.until_next_price(seen, NOON) == {
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
def test_how_long_an_answer_holds(
    client: httpx.Client, writer: psycopg.Connection, path: str, *, is_live: bool | None
) -> None:
    """What a new price changes: until that is due. The rest a minute; what is not there: never."""
    store(writer, minute_of(datetime.now(UTC)) - 2 * MINUTE)
    before = datetime.now(UTC)
    answer = client.get(path)
    took = datetime.now(UTC) - before
    kept = answer.headers["cache-control"]

    if is_live is None:
        assert (answer.status_code, kept) == (404, "no-store")
    elif not is_live:
        assert kept == SETTLED
    elif "gaps" in path or "coverage" in path:
        moments = [before + took * n / 100 for n in range(101)]
        expected = [responses.until_next_price(minute_of(now), now) for now in moments]
        assert {"Cache-Control": kept} in expected
    else:
        assert kept == "max-age=1, must-revalidate"


def test_a_fresh_price_is_kept_until_the_next_minute(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """Newest page and newest price alike; never more than two seconds into the next minute."""
    store(writer, minute_of(datetime.now(UTC)))
    for path in ("/prices?ticker=btc_usd", "/prices/last?ticker=btc_usd"):
        answer = client.get(path)
        seconds = int(answer.headers["cache-control"].removeprefix("max-age=").partition(",")[0])
        newest = answer.json() if "last" in path else answer.json()[0]
        due = datetime.fromisoformat(newest["created_at"]) + timedelta(seconds=62)
        assert 1 <= seconds <= 60
        assert datetime.now(UTC) + timedelta(seconds=seconds - 1) <= due


@pytest.mark.parametrize(
    "path", ["/health/live", "/health/ready", "/health/state", "/metrics", "/nowhere", "/prices"]
)
def test_what_tells_of_this_moment_is_not_kept(client: httpx.Client, path: str) -> None:
    """Health, metrics and errors."""
    answer = client.get(path)
    assert answer.headers["cache-control"] == "no-store"
    assert "etag" not in answer.headers


@pytest.mark.parametrize("path", [PAGE, LONG, PAGE + "&format=csv", "/openapi.json", "/problems"])
@pytest.mark.parametrize("headers", [PLAIN, {}], ids=["plain", "gzip"])
def test_what_did_not_change_is_304(
    client: httpx.Client, writer: psycopg.Connection, path: str, headers: dict[str, str]
) -> None:
    """Its tag may be weak, in a list, or a star; the answer has the headers, and no body."""
    assert not writer.broken
    first = client.get(path, headers=headers)
    tag = first.headers["etag"]

    assert tag.startswith('"')
    for known in (tag, f"W/{tag}", f'"other", W/"a,b" ,{tag}', "*"):
        again = client.get(path, headers={**headers, "If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        kept = ("etag", "cache-control", "vary", "link")
        assert [again.headers.get(n) for n in kept] == [first.headers.get(n) for n in kept]
        assert not {"content-type", "content-length", "content-encoding"} & set(again.headers)
        assert again.headers["x-request-id"]
    for other in ('"other"', tag.strip('"'), '""', ""):
        assert client.get(path, headers={**headers, "If-None-Match": other}).status_code == 200


def test_a_repair_shows_at_the_next_question(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """The tag is of what is said, not of when the newest came."""
    known = {"If-None-Match": client.get(PAGE).headers["etag"]}
    assert client.get(PAGE, headers=known).status_code == 304

    store(writer, NOON + 30 * MINUTE, price="2.50")

    answer = client.get(PAGE, headers=known)
    assert answer.status_code == 200
    assert "2.50" in answer.text


def test_a_long_answer_is_zipped_for_whom_it_helps(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """The same to the byte, under a tag of its own; a short one stays as it is."""
    assert not writer.broken
    plain, zipped = client.get(LONG, headers=PLAIN), client.get(LONG)
    with client.stream("GET", LONG) as raw:
        sent = b"".join(raw.iter_raw())
    short = client.get(PAGE + "&limit=1")

    assert "content-encoding" not in plain.headers
    assert zipped.headers["content-encoding"] == "gzip"
    assert gzip.decompress(sent) == zipped.content == plain.content
    assert int(zipped.headers["content-length"]) == len(sent) < len(plain.content) / 4
    assert plain.headers["vary"] == zipped.headers["vary"] == "Accept, Accept-Encoding"
    assert zipped.headers["etag"] == plain.headers["etag"][:-1] + '-gzip"'
    other = client.get(LONG, headers={"If-None-Match": plain.headers["etag"]})
    assert other.status_code == 200  # it is not the same bytes
    assert "content-encoding" not in short.headers


@pytest.mark.parametrize("path", [PAGE, LONG, "/prices/last?ticker=btc_usd", "/metrics", "/docs"])
@pytest.mark.parametrize("headers", [PLAIN, {}], ids=["plain", "gzip"])
def test_head_says_what_get_would(
    client: httpx.Client, writer: psycopg.Connection, path: str, headers: dict[str, str]
) -> None:
    """Length and tag too, and 304."""
    assert not writer.broken
    get, head = client.get(path, headers=headers), client.head(path, headers=headers)
    names = {"etag", "content-type", "content-encoding", "cache-control", "vary", "link"}
    names |= set() if path == "/metrics" else {"content-length"}  # it counts its own scrapes

    assert head.content == b""
    assert [head.headers.get(name) for name in names] == [get.headers.get(name) for name in names]
    if tag := get.headers.get("etag"):
        assert client.head(path, headers={**headers, "If-None-Match": tag}).status_code == 304


def test_a_stream_is_neither_zipped_nor_tagged(client: httpx.Client) -> None:
    """Its headers come at once, and so does each event."""
    with client.stream("GET", "/prices/stream?ticker=btc_usd") as answer:
        assert answer.status_code == 200
        assert not {"content-encoding", "etag", "content-length"} & set(answer.headers)


ORIGIN = {"Origin": "https://chart.example"}
ASKING = {**ORIGIN, "Access-Control-Request-Method": "GET"}


@pytest.mark.parametrize("path", [PAGE, "/prices", "/nowhere", "/health/live"])
def test_any_page_may_read(client: httpx.Client, path: str) -> None:
    """Errors too, and the headers that matter."""
    headers = client.get(path, headers=ORIGIN).headers
    assert headers["access-control-allow-origin"] == "*"
    exposed = headers["access-control-expose-headers"]
    assert exposed == "Link, ETag, X-Request-ID, Retry-After, RateLimit, RateLimit-Policy"


def test_a_browser_that_asks_first_is_answered(client: httpx.Client) -> None:
    """Any header may be sent; other methods may not."""
    wanted = {"Access-Control-Request-Headers": "if-none-match,x-request-id"}
    answer = client.options(PAGE, headers={**ASKING, **wanted})

    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD"
    assert answer.headers["access-control-allow-headers"] == "if-none-match,x-request-id"


def test_only_some_pages_may_read(base: Settings) -> None:
    """Those of the origins named, and a cache is told that it matters."""
    with served(base.changed(cors_origins="https://chart.example,https://b.example")) as client:
        own = client.get(PAGE, headers=ORIGIN).headers
        evil = {"Origin": "https://evil.example"}
        other = client.get(PAGE, headers=evil).headers
        asked = client.options(PAGE, headers={**ASKING, **evil})

    assert own["access-control-allow-origin"] == "https://chart.example"
    assert own["vary"] == other["vary"] == "Accept, Accept-Encoding, Origin"
    assert "access-control-allow-origin" not in other
    assert (asked.status_code, asked.headers.get("access-control-allow-methods")) == (405, None)


def test_no_other_page_may_read(base: Settings) -> None:
    """The question beforehand is then a method like any other."""
    with served(base.changed(cors_origins="none")) as client:
        answer = client.get(PAGE, headers=ORIGIN)
        asked = client.options(PAGE, headers=ASKING)

    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert asked.status_code == 405
