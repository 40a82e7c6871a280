"""The stream over real HTTP: each price as it is stored, once, wherever a client begins."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.client import HTTPException
from itertools import count

import httpx
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families as prometheus

from tests.support.serving import problem, served
from tests.support.streaming import Following, Told, following
from tests.support.working import wait_for
from tracker.settings import Settings
from tracker.times import MINUTE
from tracker.web.stream.responses import StreamOptions

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
FILL = (
    "INSERT INTO prices (ticker, created_at, price)"
    " SELECT %s, %s + n * INTERVAL '1 minute', 1.50 FROM generate_series(0, %s - 1) AS n"
)
QUICK = StreamOptions(heartbeat=0.1, write_timeout=0.5, linger=0.5)
SMALL = 4096  # bytes


@pytest.fixture(scope="module")
def client(base: Settings) -> Iterator[httpx.Client]:
    """A client of the API on that database."""
    with served(base, QUICK) as client:
        yield client


@pytest.fixture(scope="module")
def fresh_days() -> Iterator[datetime]:
    """Days on which nothing is stored yet: the tests of this file share the log of changes."""
    return (NOON + n * timedelta(days=10) for n in count())


@pytest.fixture
def day(fresh_days: Iterator[datetime]) -> datetime:
    """The next one."""
    return next(fresh_days)


@pytest.fixture(scope="module")
def writer(base: Settings) -> Iterator[psycopg.Connection]:
    """A connection to that database."""
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        yield conn


@pytest.fixture(autouse=True)
def _settled(client: httpx.Client, writer: psycopg.Connection) -> None:
    """What was stored before is no news any more."""
    asked = "SELECT 'btc_usd:' || coalesce(max(revision), 0) FROM tickers WHERE ticker = 'btc_usd'"

    def told() -> bool:
        with following(client.base_url) as stream:
            return (stream.id,) == writer.execute(asked).fetchone()

    wait_for(told)


def text(moment: datetime) -> str:
    """A moment as the API writes it."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def measured(client: httpx.Client) -> dict[str, float]:
    """What /metrics says, by name."""
    families = prometheus(client.get("/metrics").text)
    return {sample.name: sample.value for family in families for sample in family.samples}


def followers(client: httpx.Client) -> float:
    """How many streams are open."""
    return measured(client)["tracker_stream_clients"]


def test_a_price_is_told_as_it_is_stored(
    client: httpx.Client, writer: psycopg.Connection, day: datetime
) -> None:
    """Within a second of its commit, with where it comes from; a repaired one says so."""
    insert = (
        "INSERT INTO prices (ticker, created_at, price, source, observed_at)"
        " VALUES ('btc_usd', %s, %s, %s, %s) RETURNING id"
    )
    with following(client.base_url) as stream:
        before = stream.id
        for n, (price, source) in enumerate((("68241.50", "poll"), ("68240.993333", "chart"))):
            seen = day + n * MINUTE + timedelta(seconds=7.25)
            found = writer.execute(insert, [day + n * MINUTE, price, source, seen]).fetchone()
            stored = time.monotonic()
            [event] = stream.take(1)

            assert time.monotonic() - stored < 1
            assert event.name == "price"
            assert list(event.data) == [
                *("id", "ticker", "price", "created_at", "source", "observed_at")
            ]
            assert found
            assert event.data == {
                "id": found[0],
                "ticker": "btc_usd",
                "price": price,
                "created_at": text(day + n * MINUTE),
                "source": source,
                "observed_at": f"{seen:%Y-%m-%dT%H:%M:%S.%fZ}",
            }
            assert event.id == f"btc_usd:{int(before.partition(':')[2]) + n + 1}"


def test_it_is_a_stream_that_nobody_keeps_or_packs(client: httpx.Client) -> None:
    """By GET; HEAD has the same headers, and takes no place."""
    url = "/prices/stream?ticker=btc_usd"
    wanted = {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-store",
        "x-accel-buffering": "no",
    }
    head = client.head(url, headers={"Accept-Encoding": "gzip"})
    with client.stream("GET", url, headers={"Accept-Encoding": "gzip"}) as answer:
        for headers in (head.headers, answer.headers):
            assert {name: headers[name] for name in wanted} == wanted
            assert "content-length" not in headers
            assert "content-encoding" not in headers
            assert headers["x-request-id"]
    assert head.content == b""


def test_several_indexes_in_one_stream(
    client: httpx.Client, writer: psycopg.Connection, day: datetime
) -> None:
    """Those that were asked for and no other; the id holds the place in each of them."""
    writer.execute(FILL, ["old_usd", day, 1])  # an index that is not configured
    with (
        following(client.base_url, "eth_usd,btc_usd") as both,
        following(client.base_url, "old_usd") as other,
    ):
        for ticker in ("btc_usd", "eth_usd", "old_usd", "btc_usd"):
            day += MINUTE
            writer.execute(FILL, [ticker, day, 1])
        got = both.take(3)
        [alone] = other.take(1)

    assert sorted(event.data["ticker"] for event in got) == ["btc_usd", "btc_usd", "eth_usd"]
    assert alone.data["ticker"] == "old_usd"
    assert [part.partition(":")[0] for part in got[-1].id.split(",")] == ["eth_usd", "btc_usd"]
    with following(client.base_url, "eth_usd,btc_usd", last_id=got[0].id) as again:
        rest = [event.data for event in again.take(2)]
        assert sorted(rest, key=str) == sorted((event.data for event in got[1:]), key=str)
        assert again.id == got[-1].id


def test_who_comes_back_gets_the_rest(
    client: httpx.Client, writer: psycopg.Connection, day: datetime
) -> None:
    """By the header as browsers send it, or by the parameter; the header is the newer one."""
    with following(client.base_url) as stream:
        first = stream.id
        writer.execute(FILL, ["btc_usd", day, 700])
        got = stream.take(3)
    writer.execute("UPDATE prices SET source = 'chart' WHERE created_at = %s", [day + 9 * MINUTE])
    writer.execute("DELETE FROM prices WHERE created_at = %s", [day + 8 * MINUTE])

    with following(client.base_url, last_id=got[-1].id) as stream:
        rest = stream.take(696)
    shown = [event.data["created_at"] for event in rest]
    assert shown[:7] == [text(day + n * MINUTE) for n in (3, 4, 5, 6, 7, 10, 11)]
    assert rest[-1].data == {**rest[-1].data, "created_at": text(day + 9 * MINUTE)}
    assert rest[-1].data["source"] == "chart"
    url = f"btc_usd&last_event_id={first}"
    with following(client.base_url, url) as stream:
        assert stream.take(1)[0].data["created_at"] == text(day)
    with following(client.base_url, url, last_id=rest[-1].id) as stream:
        writer.execute(FILL, ["btc_usd", day + timedelta(days=9), 1])
        assert stream.take(1)[0].data["created_at"] == text(day + timedelta(days=9))


def test_what_is_too_much_is_to_be_read_anew(
    client: httpx.Client, writer: psycopg.Connection, day: datetime
) -> None:
    """An event names the index and the range; the stream goes on behind it."""
    with following(client.base_url) as stream:
        before = stream.id
        writer.execute(FILL, ["btc_usd", day, 1001])
        writer.execute(FILL, ["btc_usd", day - MINUTE, 1])
        reset, price = stream.take(2)
    with following(client.base_url, last_id=before) as stream:
        assert stream.take(2) == [reset, price]
    with following(client.base_url, last_id="btc_usd:987654321") as stream:
        ahead = stream.take(1)[0]

    ends = {"from": text(day), "to": text(day + 1000 * MINUTE)}
    assert reset[:2] == ("reset", {"ticker": "btc_usd", **ends})
    assert price.data["created_at"] == text(day - MINUTE)
    ends = {"from": None, "to": None}
    assert ahead == Told("reset", {"ticker": "btc_usd", **ends}, price.id)


@pytest.mark.parametrize(
    ("query", "header", "culprit"),
    [
        ("", "", "ticker"),
        ("ticker=BTC", "", "ticker"),
        ("ticker=never_usd", "", "ticker"),
        ("ticker=btc_usd&ticker=btc_usd", "", "ticker"),
        ("ticker=btc_usd&limit=5", "", "limit"),
        ("ticker=btc_usd&last_event_id=", "", "last_event_id"),
        ("ticker=btc_usd&last_event_id=btc_usd:1&last_event_id=btc_usd:1", "", "last_event_id"),
        ("ticker=btc_usd&last_event_id=btc_usd:1,btc_usd:1", "", "last_event_id"),
        ("ticker=btc_usd&last_event_id=btc_usd:1.0", "", "last_event_id"),
        ("ticker=btc_usd", "17", "Last-Event-ID"),
        ("ticker=btc_usd", "btc_usd:-1", "Last-Event-ID"),
        ("ticker=btc_usd", "btc_usd:1,", "Last-Event-ID"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_is_wrong_is_named(
    client: httpx.Client, query: str, header: str, culprit: str, method: str
) -> None:
    """Before the stream begins."""
    headers = {"Last-Event-ID": header} if header else {}
    answer = client.request(method, f"/prices/stream?{query}", headers=headers)

    assert answer.status_code == 422
    assert method == "HEAD" or list(problem(answer, 422)) == [culprit]


def test_signs_of_life_bring_the_id_up_to_date(
    client: httpx.Client, writer: psycopg.Connection, day: datetime
) -> None:
    """Comments, not events; what is deleted moves the id and is not told."""
    with following(client.base_url) as stream:
        writer.execute(FILL, ["btc_usd", day, 1])
        [event] = stream.take(1)
        before = event.id
        writer.execute("DELETE FROM prices WHERE created_at = %s", [day])
        writer.execute(FILL, ["eth_usd", day, 1])
        time.sleep(5 * QUICK.heartbeat)
        writer.execute(FILL, ["btc_usd", day + MINUTE, 1])
        [event] = stream.take(1)

    assert stream.comments >= 3
    assert event.data["created_at"] == text(day + MINUTE)
    revision = int(before.partition(":")[2])
    assert event.id == f"btc_usd:{revision + 2}"


def test_only_so_many_may_follow(base: Settings) -> None:
    """One more is told when to come back; whoever leaves makes room at once."""
    with served(base.changed(stream_clients=3)) as client, ExitStack() as others:
        for _ in range(3):
            others.enter_context(following(client.base_url))
        refused = client.get("/prices/stream?ticker=btc_usd")

        assert list(problem(refused, 503)) == ["stream"]
        assert int(refused.headers["retry-after"]) > 0
        assert client.get("/prices?ticker=btc_usd").status_code == 200
        others.close()
        wait_for(lambda: followers(client) == 0, 5)
        with following(client.base_url):
            assert followers(client) == 1


def flood(writer: psycopg.Connection, client: httpx.Client, day: datetime) -> int:
    """Store prices until a client is dropped: how many it took."""
    dropped = measured(client)["tracker_stream_dropped_total"]
    for n in count():
        assert n < 100
        if measured(client)["tracker_stream_dropped_total"] > dropped:
            return 1000 * n
        writer.execute(FILL, ["btc_usd", day + n * 1000 * MINUTE, 1000])
        time.sleep(QUICK.write_timeout / 4)
    return 0


def test_a_slow_reader_is_dropped_and_told(
    base: Settings, writer: psycopg.Connection, day: datetime
) -> None:
    """When it reads at last: what was sent, why it ends, and later the rest; others have it all."""
    with served(base, replace(QUICK, linger=30)) as client, ThreadPoolExecutor(1) as threads:
        with (
            following(client.base_url) as quick,
            following(client.base_url, receive_buffer=SMALL) as slow,
        ):
            everything = threads.submit(lambda: list(until(quick, day - MINUTE)))
            stored = flood(writer, client, day)
            assert followers(client) == 1
            got = list(slow.events())
            writer.execute(FILL, ["btc_usd", day - MINUTE, 1])
            everything.result()
        with following(client.base_url, last_id=slow.id) as stream:
            rest = list(until(stream, day - MINUTE))

    assert got.pop() == ("dropped", {"reason": "the client read too slowly"}, got[-1].id)
    assert len(got) + len(rest) == stored + 1
    assert [event.data for event in got + rest] == [event.data for event in everything.result()]


def until(stream: Following, minute: datetime) -> Iterator[Told]:
    """What comes, up to the price of *minute*."""
    for event in stream.events():
        yield event
        if event.data["created_at"] == text(minute):
            return


def test_a_reader_that_never_reads_is_cut_off(
    client: httpx.Client, writer: psycopg.Connection, day: datetime
) -> None:
    """Its connection ends some seconds later, without the last words."""
    with following(client.base_url, receive_buffer=SMALL) as slow:
        flood(writer, client, day)
        time.sleep(2 * QUICK.linger)
        names = set()
        with suppress(HTTPException, OSError):
            names |= {event.name for event in slow.events()}
    assert "dropped" not in names


def test_it_ends_with_the_server(base: Settings, writer: psycopg.Connection, day: datetime) -> None:
    """At once, and who reads is told; nobody who does not read holds it up."""
    with ExitStack() as streams:
        with served(base) as client:
            stream = streams.enter_context(following(client.base_url))
            for _ in range(3):
                streams.enter_context(following(client.base_url, receive_buffer=SMALL))
            writer.execute(FILL, ["eth_usd", day, 1])
            for n in range(3):
                writer.execute(FILL, ["btc_usd", day + 1000 * n * MINUTE, 1000])
            got = stream.take(3000)
            stopped = time.monotonic()
        assert time.monotonic() - stopped < 2
        assert list(stream.events()) == [("bye", {"reason": "the server stops"}, got[-1].id)]


class Witness:
    """A client that is cut off again and again, and keeps all that it was told."""

    def __init__(self, client: httpx.Client, seed: int) -> None:
        """It begins now."""
        self.got: list[Told] = []
        self._chance = random.Random(seed)
        self._url = client.base_url
        with following(self._url, "btc_usd,eth_usd") as stream:
            self._id = stream.id

    def watch(self, last: datetime) -> None:
        """Follow until the price of *last* of both indexes."""
        left = {"btc_usd", "eth_usd"}
        while left:
            with following(self._url, "btc_usd,eth_usd", last_id=self._id) as stream:
                for _ in range(self._chance.randrange(25)):
                    [event] = stream.take(1)
                    self.got.append(event)
                    if event.data["created_at"] == text(last):
                        left.discard(event.data["ticker"])
                    if not left:
                        break
                self._id = stream.id


def change(base: Settings, seed: int, day: datetime) -> None:
    """Insert and repair prices of some hours; no price is ever used twice."""
    chance = random.Random(seed)
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        for n in range(60):
            parameters = {
                "ticker": chance.choice(["btc_usd", "eth_usd"]),
                "minutes": [
                    day + m * MINUTE for m in chance.sample(range(300), chance.choice([1, 1, 5]))
                ],
                "price": Decimal(f"{1 + seed}{n:03}.50"),
                "source": chance.choice(["poll", "chart"]),
            }
            conn.execute(CHANGE, parameters)


CHANGE = (
    "INSERT INTO prices (ticker, created_at, price, source)"
    " SELECT %(ticker)s, minute, %(price)s, %(source)s"
    " FROM unnest(%(minutes)s::timestamptz[]) AS minute ORDER BY minute"
    " ON CONFLICT (ticker, created_at) DO UPDATE"
    " SET price = excluded.price, source = excluded.source"
)


def test_whoever_is_cut_off_anywhere_misses_nothing_and_gets_nothing_twice(
    client: httpx.Client, base: Settings, writer: psycopg.Connection, day: datetime
) -> None:
    """While many insert and repair: what one was told last of each minute is what is stored."""
    last = day - MINUTE
    witnesses = [Witness(client, seed) for seed in range(5)]
    with ThreadPoolExecutor(9) as threads:
        watching = [threads.submit(witness.watch, last) for witness in witnesses]
        list(threads.map(change, [base] * 4, range(4), [day] * 4))
        for ticker in ("btc_usd", "eth_usd"):
            writer.execute(FILL, [ticker, last, 1])
        for each in watching:
            each.result()

    query = (
        "SELECT ticker, created_at, price::text, source FROM prices"
        " WHERE created_at BETWEEN %s AND %s AND ticker <> 'old_usd'"
    )
    stored = set(writer.execute(query, [last, day + 300 * MINUTE]))
    assert len(stored) > 300
    for witness in witnesses:
        told = [(*row(event),) for event in witness.got]
        assert max(Counter(told).values()) == 1
        final = {each[:2]: each for each in told}
        assert set(final.values()) == stored


def row(event: Told) -> tuple[str, datetime, str, str]:
    """A told price as the database has it."""
    data = event.data
    minute = datetime.fromisoformat(data["created_at"])
    return data["ticker"], minute, data["price"], data["source"]
