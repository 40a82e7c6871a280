"""The stream over HTTP: each price once as it is stored, from any event id on."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from itertools import count

import httpx
import psycopg
import pytest

from tests.support.api import error_reasons, format_moment, read_metric, serve_api
from tests.support.database import insert_minutes, minutes_from, upsert_prices
from tests.support.stream import (
    StreamClient,
    StreamEvent,
    count_subscribers,
    open_stream,
)
from tests.support.waiting import wait_until
from tracker.settings import Settings
from tracker.times import MINUTE
from tracker.web.stream.responses import StreamOptions

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
OPTIONS = StreamOptions(heartbeat=0.1, write_timeout=0.5, linger=0.5)
SMALL_BUFFER = 4096  # bytes


@pytest.fixture(scope="module")
def client(base: Settings) -> Iterator[httpx.Client]:
    """A client of the API on that database."""
    with serve_api(base, OPTIONS) as client:
        yield client


@pytest.fixture(scope="module")
def fresh_days() -> Iterator[datetime]:
    """Days without prices: the tests of this file share the change log."""
    return (NOON + n * timedelta(days=10) for n in count())


@pytest.fixture
def day(fresh_days: Iterator[datetime]) -> datetime:
    """The next one."""
    return next(fresh_days)


@pytest.fixture(autouse=True)
def _is_current(client: httpx.Client, base_conn: psycopg.Connection) -> None:
    """The stream has sent everything that is stored."""
    wait_until_current(client, base_conn)


def wait_until_current(client: httpx.Client, conn: psycopg.Connection) -> None:
    """Wait until a stream begins at the newest change."""
    query = "SELECT coalesce(max(position), 0)::text FROM internal.batches"

    def received() -> bool:
        with open_stream(client.base_url) as stream:
            return (stream.id,) == conn.execute(query).fetchone()

    wait_until(received)


def test_stored_price_is_sent_within_a_second(
    client: httpx.Client, base_conn: psycopg.Connection, day: datetime
) -> None:
    insert = (
        "INSERT INTO prices (ticker, created_at, price, source, observed_at)"
        " VALUES ('btc_usd', %s, %s, %s, %s) RETURNING id"
    )
    with open_stream(client.base_url) as stream:
        before = stream.id
        for n, (price, source) in enumerate((("68241.50", "poll"), ("68240.993333", "chart"))):
            observed_at = day + n * MINUTE + timedelta(seconds=7.25)
            found = base_conn.execute(
                insert, [day + n * MINUTE, price, source, observed_at]
            ).fetchone()
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
                "created_at": format_moment(day + n * MINUTE),
                "source": source,
                "observed_at": f"{observed_at:%Y-%m-%dT%H:%M:%S.%fZ}",
            }
            assert event.id == f"{int(before) + n + 1}.1.1"


def test_stream_is_neither_cached_nor_compressed(client: httpx.Client) -> None:
    """HEAD has the same headers and takes no place."""
    url = "/prices/stream?ticker=btc_usd"
    wanted = {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-store",
        "x-accel-buffering": "no",
    }
    head = client.head(url, headers={"Accept-Encoding": "gzip"})
    with client.stream("GET", url, headers={"Accept-Encoding": "gzip"}) as response:
        for headers in (head.headers, response.headers):
            assert {name: headers[name] for name in wanted} == wanted
            assert not {"content-length", "content-encoding", "etag"} & set(headers)
            assert headers["x-request-id"]
    assert head.content == b""


def test_stream_of_several_indexes_sends_no_other(
    client: httpx.Client, base_conn: psycopg.Connection, day: datetime
) -> None:
    insert_minutes(base_conn, [day], "old_usd")  # an index that is not configured
    with (
        open_stream(client.base_url, "eth_usd,btc_usd") as both,
        open_stream(client.base_url, "old_usd") as other,
    ):
        for ticker in ("btc_usd", "eth_usd", "old_usd", "btc_usd"):
            day += MINUTE
            insert_minutes(base_conn, [day], ticker)
        got = both.take(3)
        [alone] = other.take(1)

    assert sorted(event.data["ticker"] for event in got) == ["btc_usd", "btc_usd", "eth_usd"]
    assert alone.data["ticker"] == "old_usd"
    with open_stream(client.base_url, "eth_usd,btc_usd", last_id=got[0].id) as resumed:
        assert resumed.take(2) == got[1:]


def test_stream_without_ticker_follows_later_indexes_too(
    client: httpx.Client, base_conn: psycopg.Connection, day: datetime
) -> None:
    """Without reconnecting; it resumes from any of its ids, and from those of other streams."""
    new = [f"new-{day:%y%m%d}-{number}_usd" for number in range(3)]
    names = ["btc_usd", new[0], new[1], "eth_usd", new[0]]
    with open_stream(client.base_url, "") as every, open_stream(client.base_url) as one:
        before = every.id
        for number, name in enumerate(names):
            insert_minutes(base_conn, [day + number * MINUTE], name)
        base_conn.execute(
            "INSERT INTO prices (ticker, created_at, price) SELECT name, %s, 1.50"
            " FROM unnest(%s::text[]) AS name",
            [day + 9 * MINUTE, ["btc_usd", new[2]]],
        )
        got, alone = every.take(7), one.take(2)

    assert [event.data["ticker"] for event in got] == [*names, "btc_usd", new[2]]
    assert [event for event in got if event.data["ticker"] == "btc_usd"] == alone
    for place, last_id in enumerate([before, *(event.id for event in got[:-1])]):
        with open_stream(client.base_url, "", last_id=last_id) as resumed:
            assert resumed.take(7 - place) == got[place:]
    with open_stream(client.base_url, "", last_id=alone[1].id) as resumed:
        assert resumed.take(1) == got[6:]


def test_reconnected_client_receives_missed_events(
    client: httpx.Client, base_conn: psycopg.Connection, day: datetime
) -> None:
    """By the header or by the parameter; the header takes precedence."""
    with open_stream(client.base_url) as stream:
        first = stream.id
        insert_minutes(base_conn, minutes_from(day, 700))
        got = stream.take(3)
    base_conn.execute(
        "UPDATE prices SET source = 'chart' WHERE created_at = %s", [day + 9 * MINUTE]
    )
    base_conn.execute("DELETE FROM prices WHERE created_at = %s", [day + 8 * MINUTE])

    with open_stream(client.base_url, last_id=got[-1].id) as stream:
        rest = stream.take(696)
    shown = [event.data["created_at"] for event in rest]
    assert shown[:7] == [format_moment(day + n * MINUTE) for n in (3, 4, 5, 6, 7, 10, 11)]
    assert rest[-1].data == {**rest[-1].data, "created_at": format_moment(day + 9 * MINUTE)}
    assert rest[-1].data["source"] == "chart"
    url = f"btc_usd&last_event_id={first}"
    with open_stream(client.base_url, url) as stream:
        assert stream.take(1)[0].data["created_at"] == format_moment(day)
    with open_stream(client.base_url, url, last_id=rest[-1].id) as stream:
        insert_minutes(base_conn, [day + timedelta(days=9)])
        assert stream.take(1)[0].data["created_at"] == format_moment(day + timedelta(days=9))


def test_large_change_is_sent_as_a_reset(
    client: httpx.Client, base_conn: psycopg.Connection, day: datetime
) -> None:
    with open_stream(client.base_url) as stream:
        before = stream.id
        insert_minutes(base_conn, minutes_from(day, 1001))
        insert_minutes(base_conn, [day - MINUTE])
        reset, price = stream.take(2)
    with open_stream(client.base_url, last_id=before) as stream:
        assert stream.take(2) == [reset, price]
    unknown = []
    for last_id in ("987654321", "btc_usd:120,eth_usd:98.3"):
        with open_stream(client.base_url, last_id=last_id) as stream:
            unknown += stream.take(1)

    ends = {"from": format_moment(day), "to": format_moment(day + 1000 * MINUTE)}
    assert reset[:2] == ("reset", {"ticker": "btc_usd", **ends})
    assert price.data["created_at"] == format_moment(day - MINUTE)
    ends = {"from": None, "to": None}
    newest = price.id.partition(".")[0]
    assert unknown == 2 * [StreamEvent("reset", {"ticker": "btc_usd", **ends}, newest)]


def test_stream_has_no_empty_event(
    client: httpx.Client, base_conn: psycopg.Connection, day: datetime
) -> None:
    """Each block has data: several parsers make an event of any other. Heartbeats are none."""
    with client.stream("GET", "/prices/stream?ticker=btc_usd") as response:
        text = ""
        for piece in response.iter_text():
            text += piece
            if "event: ready" in text and "event: price" not in text and text.count(":\n") == 1:
                insert_minutes(base_conn, [day])
            if text.count(":\n") >= 3:
                break
    blocks = text.split("\n\n")
    assert [block.count("data: ") for block in blocks] == [1, 1, 0]
    assert blocks[0].startswith("retry: 5000\nid: ")
    assert blocks[0].endswith('event: ready\ndata: {"heartbeat":0.1}')


def test_ids_have_the_same_length_for_many_indexes(
    client: httpx.Client, base_conn: psycopg.Connection, day: datetime
) -> None:
    """An id is valid for any indexes, also in the middle of a statement that changed several."""
    names = [f"many{number}_usd" for number in range(200)]
    for name in names:
        insert_minutes(base_conn, [day], name)
    wait_until_current(client, base_conn)
    with (
        open_stream(client.base_url, ",".join(names)) as every,
        open_stream(client.base_url, names[0]) as one,
    ):
        base_conn.execute(
            "INSERT INTO prices (ticker, created_at, price) SELECT name, %s, 1.50"
            " FROM unnest(%s::text[]) AS name",
            [day + MINUTE, names],
        )
        got, [alone] = every.take(200), one.take(1)
    assert alone == got[0]
    assert sorted(event.data["ticker"] for event in got) == sorted(names)
    assert max(len(event.id) for event in got) < 20
    with open_stream(client.base_url, f"{names[0]},{names[99]}", last_id=got[0].id) as stream:
        [event] = stream.take(1)
    assert event.data["ticker"] == names[99]
    with open_stream(client.base_url, ",".join(names), last_id=got[120].id) as stream:
        assert stream.take(79) == got[121:]


def test_number_of_subscribers_is_bounded(base: Settings) -> None:
    with serve_api(base.changed(stream_clients=3)) as client, ExitStack() as others:
        for _ in range(3):
            others.enter_context(open_stream(client.base_url))
        refused = client.get("/prices/stream?ticker=btc_usd")

        assert list(error_reasons(refused, 503)) == ["stream"]
        assert int(refused.headers["retry-after"]) > 0
        assert client.get("/prices?ticker=btc_usd").status_code == 200
        others.close()
        wait_until(lambda: count_subscribers(client) == 0)
        with open_stream(client.base_url):
            assert count_subscribers(client) == 1


def insert_until_dropped(base_conn: psycopg.Connection, client: httpx.Client, day: datetime) -> int:
    """Insert prices until a client is disconnected; returns their number."""
    dropped = read_metric(client, "tracker_stream_dropped_total")
    for n in count():
        assert n < 100
        if read_metric(client, "tracker_stream_dropped_total") > dropped:
            return 1000 * n
        insert_minutes(base_conn, minutes_from(day + n * 1000 * MINUTE, 1000))
        time.sleep(OPTIONS.write_timeout / 4)
    return 0


def test_slow_consumer_is_disconnected_with_a_reason(
    base: Settings, base_conn: psycopg.Connection, day: datetime
) -> None:
    """It can resume, and other clients receive everything."""
    with serve_api(base, replace(OPTIONS, linger=30)) as client, ThreadPoolExecutor(1) as threads:
        with (
            open_stream(client.base_url) as quick,
            open_stream(client.base_url, receive_buffer=SMALL_BUFFER) as slow,
        ):
            everything = threads.submit(lambda: list(events_until(quick, day - MINUTE)))
            stored = insert_until_dropped(base_conn, client, day)
            assert count_subscribers(client) == 1
            got = list(slow.events())
            insert_minutes(base_conn, [day - MINUTE])
            everything.result()
        with open_stream(client.base_url, last_id=slow.id) as stream:
            rest = list(events_until(stream, day - MINUTE))

    assert got.pop() == ("dropped", {"reason": "the client read too slowly"}, got[-1].id)
    assert len(got) + len(rest) == stored + 1
    assert [event.data for event in got + rest] == [event.data for event in everything.result()]


def events_until(stream: StreamClient, minute: datetime) -> Iterator[StreamEvent]:
    """The events up to the price of *minute*."""
    for event in stream.events():
        yield event
        if event.data["created_at"] == format_moment(minute):
            return


def test_client_that_never_reads_is_disconnected(
    client: httpx.Client, base_conn: psycopg.Connection, day: datetime
) -> None:
    with open_stream(client.base_url, receive_buffer=SMALL_BUFFER) as slow:
        insert_until_dropped(base_conn, client, day)
        time.sleep(2 * OPTIONS.linger)
        names = set()
        with suppress(HTTPException, OSError):
            names |= {event.name for event in slow.events()}
    assert "dropped" not in names


def test_shutdown_ends_streams_at_once(
    base: Settings, base_conn: psycopg.Connection, day: datetime
) -> None:
    with ExitStack() as streams:
        with serve_api(base) as client:
            stream = streams.enter_context(open_stream(client.base_url))
            for _ in range(3):
                streams.enter_context(open_stream(client.base_url, receive_buffer=SMALL_BUFFER))
            insert_minutes(base_conn, [day], "eth_usd")
            for n in range(3):
                insert_minutes(base_conn, minutes_from(day + 1000 * n * MINUTE, 1000))
            got = stream.take(3000)
            stopped = time.monotonic()
        assert time.monotonic() - stopped < 2
        assert list(stream.events()) == [("bye", {"reason": "the server stops"}, got[-1].id)]


class InterruptedClient:
    """A client that reconnects repeatedly, and collects all events."""

    def __init__(self, client: httpx.Client, seed: int) -> None:
        """Start at the current event id."""
        self.got: list[StreamEvent] = []
        self._chance = random.Random(seed)
        self._url = client.base_url
        with open_stream(self._url, "btc_usd,eth_usd") as stream:
            self._id = stream.id

    def collect(self, last: datetime) -> None:
        """Collect events until the price of *last* of both indexes."""
        remaining = {"btc_usd", "eth_usd"}
        while remaining:
            with open_stream(self._url, "btc_usd,eth_usd", last_id=self._id) as stream:
                for _ in range(self._chance.randrange(25)):
                    [event] = stream.take(1)
                    self.got.append(event)
                    if event.data["created_at"] == format_moment(last):
                        remaining.discard(event.data["ticker"])
                    if not remaining:
                        break
                self._id = stream.id


def insert_and_repair(base: Settings, seed: int, day: datetime) -> None:
    """Insert and repair prices of some hours; each price is unique."""
    rng = random.Random(seed)
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        for n in range(60):
            ticker = rng.choice(["btc_usd", "eth_usd"])
            numbers = sorted(rng.sample(range(300), rng.choice([1, 1, 5])))
            series = dict.fromkeys([day + m * MINUTE for m in numbers], f"{1 + seed}{n:03}.50")
            upsert_prices(conn, ticker, series, rng.choice(["poll", "chart"]))


def test_reconnecting_clients_miss_nothing_and_receive_nothing_twice(
    client: httpx.Client, base: Settings, base_conn: psycopg.Connection, day: datetime
) -> None:
    """While several writers insert and repair; the last event of each minute equals its price."""
    last = day - MINUTE
    clients = [InterruptedClient(client, seed) for seed in range(5)]
    with ThreadPoolExecutor(9) as threads:
        watching = [threads.submit(subscriber.collect, last) for subscriber in clients]
        list(threads.map(insert_and_repair, [base] * 4, range(4), [day] * 4))
        for ticker in ("btc_usd", "eth_usd"):
            insert_minutes(base_conn, [last], ticker)
        for event in watching:
            event.result()

    query = (
        "SELECT ticker, created_at, price::text, source FROM prices"
        " WHERE created_at BETWEEN %s AND %s AND ticker <> 'old_usd'"
    )
    stored = set(base_conn.execute(query, [last, day + 300 * MINUTE]))
    assert len(stored) > 300
    for subscriber in clients:
        received = [(*to_row(event),) for event in subscriber.got]
        assert max(Counter(received).values()) == 1
        final = {event[:2]: event for event in received}
        assert set(final.values()) == stored


def to_row(event: StreamEvent) -> tuple[str, datetime, str, str]:
    """An event's price as a database row."""
    data = event.data
    minute = datetime.fromisoformat(data["created_at"])
    return data["ticker"], minute, data["price"], data["source"]
