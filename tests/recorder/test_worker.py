"""The worker on a real queue and database: from a tick to rows, whatever else it receives."""

from datetime import timedelta
from pathlib import Path

import psycopg
import redis
from prometheus_client import REGISTRY

from tests.support.clock import NOON, ManualClock
from tests.support.database import insert_minutes, read_misses, read_polls
from tests.support.exchange import assert_true_polls, count_calls, inject_fault
from tests.support.waiting import wait_until
from tests.support.worker import is_idle, running_worker, send_message, send_tick
from tracker.settings import Settings
from tracker.simulator import Options, Simulator, running_simulator
from tracker.times import MINUTE

BOTH = ["btc_usd", "eth_usd"]
BOTH_AT_NOON = [(ticker, NOON) for ticker in BOTH]


def test_tick_stores_a_price_of_each_index(
    tracked: Settings, conn: psycopg.Connection, exchange: Simulator, clock: ManualClock
) -> None:
    """Under the tick's minute, at any second of it; the price is the exchange's own."""
    with running_worker(tracked, clock):
        send_tick(tracked, NOON + timedelta(seconds=7))
        wait_until(lambda: len(read_polls(conn)) == 2 and is_idle(tracked))

    assert read_polls(conn) == BOTH_AT_NOON
    assert_true_polls(conn, exchange)
    assert read_misses(conn) == []


def test_tick_is_heartbeat_of_scheduler(
    tracked: Settings, conn: psycopg.Connection, clock: ManualClock
) -> None:
    """It counts when the tick was sent, not for which minute; the server's clock is used."""
    with running_worker(tracked, clock):
        send_message(
            tracked,
            "tick",
            sent_at=clock.moment - timedelta(minutes=5),
            scheduled_at=str(NOON - timedelta(hours=1)),
        )
        wait_until(lambda: conn.execute("SELECT FROM internal.heartbeats").rowcount)

    query = "SELECT part, extract(EPOCH FROM now() - at)::float8 FROM internal.heartbeats"
    [(part, age)] = conn.execute(query).fetchall()
    assert part == "scheduler"
    assert 300 <= age < 330


def test_tick_sent_by_hand_is_for_minute_of_sending(
    tracked: Settings, conn: psycopg.Connection, clock: ManualClock
) -> None:
    """Only the scheduler gives a tick its minute."""
    with running_worker(tracked, clock):
        send_message(tracked, "tick", sent_at=clock.moment)
        wait_until(lambda: len(read_polls(conn)) == 2)

    assert read_polls(conn) == BOTH_AT_NOON


def test_archive_is_written_once_an_hour(
    tracked: Settings, conn: psycopg.Connection, clock: ManualClock, tmp_path: Path
) -> None:
    """To the configured folder; a failure is counted, and leaves the rest of the work alone."""
    folder = tmp_path / "archive"
    settings = tracked.changed(archive_dir=folder)
    insert_minutes(conn, [NOON - MINUTE])
    failures = REGISTRY.get_sample_value("tracker_archive_failures_total") or 0
    with running_worker(settings, clock):
        send_tick(settings, NOON.replace(minute=5))
        wait_until(lambda: [*folder.glob("ticker=btc_usd/month=*/prices.parquet")])
        wait_until(lambda: is_idle(settings))
        for file in folder.glob("*/_manifest.json"):
            file.write_text("{")
        send_tick(settings, NOON.replace(minute=5))
        wait_until(
            lambda: REGISTRY.get_sample_value("tracker_archive_failures_total") == failures + 1
        )


def test_failed_poll_does_not_affect_other_indexes(
    tracked: Settings, conn: psycopg.Connection, exchange: Simulator, clock: ManualClock
) -> None:
    """One index has its price, the other its miss with the reason."""
    inject_fault(exchange, "testnet", index="btc_usd")
    with running_worker(tracked, clock):
        send_tick(tracked, NOON)
        wait_until(lambda: read_polls(conn) and read_misses(conn))

    assert read_polls(conn) == [("eth_usd", NOON)]
    assert read_misses(conn) == [("btc_usd", NOON, "bad_answer")]


def test_miss_has_code_and_attempts(
    tracked: Settings, conn: psycopg.Connection, exchange: Simulator, clock: ManualClock
) -> None:
    """The code is that of the exchange's last response."""
    inject_fault(exchange, "rate_limit", retry_after=600, code=10028)
    with running_worker(tracked, clock):
        send_tick(tracked, NOON)
        wait_until(lambda: len(read_misses(conn)) == 2)

    query = "SELECT DISTINCT reason, code, attempts FROM misses"
    assert conn.execute(query).fetchall() == [("rate_limited", 10028, 1)]


def test_repeated_messages_are_idempotent(
    tracked: Settings, conn: psycopg.Connection, clock: ManualClock
) -> None:
    """The ticks of two schedulers and a redelivered poll add no row and use no id."""
    with running_worker(tracked, clock):
        for _ in range(2):
            send_tick(tracked, NOON)
        wait_until(lambda: len(read_polls(conn)) == 2 and is_idle(tracked))
        first = conn.execute("SELECT * FROM prices ORDER BY id").fetchall()
        send_message(tracked, "poll", "btc_usd", NOON.isoformat())
        send_tick(tracked, NOON)
        wait_until(lambda: is_idle(tracked))

    assert conn.execute("SELECT * FROM prices ORDER BY id").fetchall() == first
    assert read_misses(conn) == []
    insert_minutes(conn, [NOON], "x_usd")
    [(unused,)] = conn.execute("SELECT max(id) - count(*) FROM prices").fetchall()
    assert unused <= 2  # two concurrent polls of one minute may use one id each


def test_two_hundred_indexes_take_few_transactions(
    tracked: Settings, conn: psycopg.Connection, clock: ManualClock
) -> None:
    """Prices that arrive during a statement are stored by the next one, all together."""
    names = tuple(f"i{number:03}_usd" for number in range(200))
    with running_simulator(Options(indexes=names, clock=clock.microseconds)) as exchange:
        many = tracked.changed(client_base_url=exchange.url, tickers=",".join(names))
        with running_worker(many, clock):
            with conn.transaction():
                conn.execute("LOCK TABLE prices IN SHARE MODE")
                send_tick(many, NOON)
                wait_until(lambda: count_calls(exchange) >= 200)
            wait_until(lambda: len(read_polls(conn)) == 200 and is_idle(many))
            query = "SELECT * FROM prices WHERE source = 'poll' ORDER BY id"
            first = conn.execute(query).fetchall()
            writers = "SELECT count(DISTINCT xmin::text) FROM prices WHERE source = 'poll'"
            [(transactions,)] = conn.execute(writers).fetchall()
            send_tick(many, NOON)
            wait_until(lambda: is_idle(many))

    assert read_polls(conn) == [(ticker, NOON) for ticker in names]
    assert conn.execute(query).fetchall() == first
    assert read_misses(conn) == []
    assert transactions <= 20, transactions


def test_late_messages_are_recorded_as_misses(
    tracked: Settings, conn: psycopg.Connection, exchange: Simulator, clock: ManualClock
) -> None:
    """Once a minute, without a request: a current price belongs to no past minute."""
    late = [NOON - timedelta(days=1), NOON - 2 * MINUTE]
    with running_worker(tracked, clock):
        for minute in late * 2:
            send_tick(tracked, minute)
        wait_until(lambda: len(read_misses(conn)) == 4 and is_idle(tracked))

    assert read_polls(conn) == []
    assert read_misses(conn) == [(ticker, minute, "too_late") for minute in late for ticker in BOTH]
    assert count_calls(exchange) == 0


def test_late_message_leaves_stored_minute(
    tracked: Settings, conn: psycopg.Connection, clock: ManualClock
) -> None:
    """A minute with a price is no miss."""
    late = NOON - MINUTE
    insert_minutes(conn, [late])
    with running_worker(tracked, clock):
        send_tick(tracked, late)
        wait_until(lambda: read_misses(conn) and is_idle(tracked))

    assert read_polls(conn) == [("btc_usd", late)]
    assert read_misses(conn) == [("eth_usd", late, "too_late")]


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


def test_malformed_messages_are_rejected(
    tracked: Settings, conn: psycopg.Connection, clock: ManualClock
) -> None:
    """Without a retry; the worker processes the next tick."""
    with redis.from_url(tracked.broker_url) as client, running_worker(tracked, clock):
        for queue, actor, args in MALFORMED:
            send_message(tracked, actor, *args, queue=queue)
        wait_until(lambda: is_idle(tracked))
        rejected = sum(client.zcard(f"dramatiq:{queue}.XQ") for queue in ("default", "later"))
        assert (read_polls(conn), read_misses(conn)) == ([], [])
        send_tick(tracked, NOON)
        wait_until(lambda: len(read_polls(conn)) == 2)

    assert rejected == len(MALFORMED)


def test_undecodable_message_does_not_block_the_queue(
    tracked: Settings, conn: psycopg.Connection, clock: ManualClock
) -> None:
    """Another program may write to the queue; the message is counted."""
    counter = "tracker_messages_rejected_total"
    before = REGISTRY.get_sample_value(counter) or 0
    with redis.from_url(tracked.broker_url) as client:
        client.hset("dramatiq:default.msgs", "junk", b"\xff{")
        client.rpush("dramatiq:default", "junk")
        send_tick(tracked, NOON)
        with running_worker(tracked, clock):
            wait_until(lambda: len(read_polls(conn)) == 2)
            wait_until(lambda: REGISTRY.get_sample_value(counter) == before + 1)
