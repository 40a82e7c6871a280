"""The worker on a real queue and a real database: from a tick to rows, whatever else comes."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import redis

from tests.support.working import (
    asked,
    assert_true,
    idle,
    misses,
    order,
    rows,
    send,
    this_minute,
    tick,
    wait_for,
    working,
)
from tracker.recorder.broker import create_broker
from tracker.settings import Settings
from tracker.simulator import Options, Served, serve
from tracker.times import MINUTE

BOTH = ["btc_usd", "eth_usd"]


@pytest.fixture
def exchange() -> Iterator[Served]:
    """A stand-in without faults."""
    with serve(Options(seed=11)) as served:
        yield served


@pytest.fixture
def tracked(database: Settings, exchange: Served) -> Settings:
    """Settings that lead to an empty queue, an empty database and the stand-in."""
    with redis.from_url(database.broker_url) as client:
        client.flushdb()
    return database.changed(client_base_url=exchange.url, tickers=",".join(BOTH))


def test_a_tick_becomes_a_row_of_each_index(
    tracked: Settings, conn: psycopg.Connection, exchange: Served
) -> None:
    """Under the tick's minute, however late in it; the price is the exchange's own."""
    minute = this_minute()
    with working(tracked):
        tick(tracked, minute + timedelta(seconds=7))
        wait_for(lambda: len(rows(conn)) == 2 and idle(tracked))

    assert rows(conn) == [(ticker, minute) for ticker in BOTH]
    assert_true(conn, exchange)
    assert misses(conn) == []


def test_a_tick_is_the_schedulers_sign_of_life(tracked: Settings, conn: psycopg.Connection) -> None:
    """When it was sent, not which minute it is for; the worker gives its own."""
    before = datetime.now(UTC)
    with working(tracked):
        tick(tracked, before - timedelta(hours=1))
        wait_for(lambda: conn.execute("SELECT FROM internal.heartbeats").rowcount)

    [(part, at)] = conn.execute("SELECT part, at FROM internal.heartbeats").fetchall()
    assert part == "scheduler"
    assert before - timedelta(seconds=0.001) <= at <= datetime.now(UTC)


def test_a_tick_sent_by_hand_means_the_minute_of_sending(
    tracked: Settings, conn: psycopg.Connection
) -> None:
    """As when trying things out."""
    minute = this_minute()
    with working(tracked):
        send(tracked, "tick")
        wait_for(lambda: len(rows(conn)) == 2)

    assert rows(conn) == [(ticker, minute) for ticker in BOTH]


def test_one_failing_index_hides_no_other(
    tracked: Settings, conn: psycopg.Connection, exchange: Served
) -> None:
    """One has its price, the other its miss with the reason."""
    order(exchange, "testnet", index="btc_usd")
    minute = this_minute()
    with working(tracked):
        tick(tracked, minute)
        wait_for(lambda: rows(conn) and misses(conn))

    assert rows(conn) == [("eth_usd", minute)]
    assert misses(conn) == [("btc_usd", minute, "bad_answer")]


def test_a_miss_keeps_code_and_attempts(
    tracked: Settings, conn: psycopg.Connection, exchange: Served
) -> None:
    """Those of the exchange's last answer."""
    order(exchange, "rate_limit", retry_after=600, code=10028)
    with working(tracked):
        tick(tracked, this_minute())
        wait_for(lambda: len(misses(conn)) == 2)

    query = "SELECT DISTINCT reason, code, attempts FROM misses"
    assert conn.execute(query).fetchall() == [("rate_limited", 10028, 1)]


def test_what_comes_twice_changes_nothing(tracked: Settings, conn: psycopg.Connection) -> None:
    """Two schedulers' ticks, and a redelivered poll: a row each, and no id burnt."""
    minute = this_minute()
    with working(tracked):
        for _ in range(2):
            tick(tracked, minute)
        wait_for(lambda: len(rows(conn)) == 2 and idle(tracked))
        first = conn.execute("SELECT * FROM prices ORDER BY id").fetchall()
        send(tracked, "poll", "btc_usd", minute.isoformat())
        tick(tracked, minute)
        wait_for(lambda: idle(tracked))

    assert conn.execute("SELECT * FROM prices ORDER BY id").fetchall() == first
    assert misses(conn) == []
    conn.execute(
        "INSERT INTO prices (ticker, price, created_at) VALUES ('x_usd', 1.00, %s)", [minute]
    )
    burnt = conn.execute("SELECT max(id) - count(*) FROM prices").fetchone()
    assert burnt is not None
    assert burnt[0] <= 2  # a race between two polls of one minute may cost one each


def test_two_hundred_indexes_take_few_statements(
    tracked: Settings, conn: psycopg.Connection
) -> None:
    """Of one tick, those that come while a statement is under way; a second tick adds nothing."""
    names = tuple(f"i{number:03}_usd" for number in range(200))
    with serve(Options(seed=11, indexes=names)) as exchange:
        many = tracked.changed(client_base_url=exchange.url, tickers=",".join(names))
        minute = this_minute(spare=30)
        with working(many):
            with conn.transaction():
                conn.execute("LOCK TABLE prices IN SHARE MODE")
                tick(many, minute)
                wait_for(lambda: asked(exchange) >= 200)
            wait_for(lambda: len(rows(conn)) == 200 and idle(many))
            query = "SELECT * FROM prices WHERE source = 'poll' ORDER BY id"
            first = conn.execute(query).fetchall()
            by = "SELECT count(DISTINCT xmin::text) FROM prices WHERE source = 'poll'"
            [(transactions,)] = conn.execute(by).fetchall()
            tick(many, minute)
            wait_for(lambda: idle(many))

    assert rows(conn) == [(ticker, minute) for ticker in names]
    assert conn.execute(query).fetchall() == first
    assert misses(conn) == []
    assert transactions <= 20, transactions


def test_late_messages_are_recorded_once(
    tracked: Settings, conn: psycopg.Connection, exchange: Served
) -> None:
    """A price of now is not stored under a minute that is over; nor is the exchange asked."""
    now = this_minute()
    late = [now - timedelta(days=1), now - 2 * MINUTE]
    with working(tracked):
        for minute in late * 2:
            tick(tracked, minute)
        wait_for(lambda: len(misses(conn)) == 4 and idle(tracked))

    assert rows(conn) == []
    assert misses(conn) == [(ticker, minute, "too_late") for minute in late for ticker in BOTH]
    assert asked(exchange) == 0


def test_a_late_message_leaves_a_stored_minute_alone(
    tracked: Settings, conn: psycopg.Connection
) -> None:
    """It has its price: nothing is missing."""
    late = this_minute() - MINUTE
    query = "INSERT INTO prices (ticker, price, created_at) VALUES ('btc_usd', 1.00, %s)"
    conn.execute(query, [late])
    with working(tracked):
        tick(tracked, late)
        wait_for(lambda: misses(conn) and idle(tracked))

    assert (rows(conn), misses(conn)) == ([("btc_usd", late)], [("eth_usd", late, "too_late")])


MALFORMED: list[tuple[str, str, list[object]]] = [
    ("default", "poll", []),
    ("default", "poll", ["btc_usd", "soon"]),
    ("default", "poll", ["btc_usd", "2026-01-01T00:00:00"]),
    ("default", "poll", ["'; DROP TABLE prices; --", "2026-01-01T00:00:00+00:00"]),
    ("default", "nothing", ["btc_usd"]),
    ("later", "store", ["btc_usd", "2026-01-01T00:00:00+00:00", "NaN", "2026-01-01T00:00:00Z"]),
    ("later", "store", ["btc_usd", "2026-01-01T00:00:00+00:00", "1.00", "2026-01-01T00:01:00Z"]),
    ("later", "store", ["btc_usd", "2026-01-01T00:00:01+00:00", "1.00", "2026-01-01T00:00:02Z"]),
    ("later", "miss", ["btc_usd", "2026-01-01T00:00:00+00:00", "", None, 0]),
]


def test_malformed_messages_change_nothing(tracked: Settings, conn: psycopg.Connection) -> None:
    """They are put aside, not tried again; the next tick is served."""
    with redis.from_url(tracked.broker_url) as client, working(tracked):
        for queue, actor, args in MALFORMED:
            send(tracked, actor, *args, queue=queue)
        wait_for(lambda: idle(tracked))
        put_aside = sum(client.zcard(f"dramatiq:{queue}.XQ") for queue in ("default", "later"))
        assert (rows(conn), misses(conn)) == ([], [])
        tick(tracked, this_minute())
        wait_for(lambda: len(rows(conn)) == 2)

    assert put_aside == len(MALFORMED)


def test_what_is_no_message_holds_nothing_up(tracked: Settings, conn: psycopg.Connection) -> None:
    """Somebody else wrote into our queue."""
    with redis.from_url(tracked.broker_url) as client:
        client.hset("dramatiq:default.msgs", "junk", b"\xff{")
        client.rpush("dramatiq:default", "junk")
        tick(tracked, this_minute())
        with working(tracked):
            wait_for(lambda: len(rows(conn)) == 2, timeout=10)


def test_two_workers_share_the_work(tracked: Settings, conn: psycopg.Connection) -> None:
    """Many ticks at once, one row for each minute and index."""
    minute = this_minute()
    with working(tracked), working(tracked):
        for _ in range(10):
            tick(tracked, minute)
        wait_for(lambda: len(rows(conn)) == 2 and idle(tracked))

    assert rows(conn) == [(ticker, minute) for ticker in BOTH]
    assert misses(conn) == []


def test_what_a_killed_worker_was_at_is_done_by_the_next(
    tracked: Settings, conn: psycopg.Connection
) -> None:
    """In its minute it still becomes a price: the silence of ten seconds is cut short here."""
    minute = this_minute()
    killed = create_broker(tracked)
    for ticker in BOTH:
        send(tracked, "poll", ticker, minute.isoformat())
    assert len(killed.do_fetch("default", 10)) == 2
    killed.client.zadd("dramatiq:__heartbeats__", {killed.broker_id: 0})
    killed.client.close()

    with working(tracked):
        wait_for(lambda: len(rows(conn)) == 2, timeout=20)

    assert rows(conn) == [(ticker, minute) for ticker in BOTH]
