"""Reads from a streaming replica: while it lags, while it must catch up, and without a primary."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isnan
from pathlib import Path

import httpx
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families as families
from psycopg import AsyncConnection

from tests.support.replica import run_standby, wait_for_replay
from tests.support.servers import Run, make_settings
from tests.support.serving import problem, served
from tests.support.streaming import following
from tests.support.working import rows, this_minute, tick, wait_for, working
from tracker import migrations
from tracker.embedded.home import home_servers, started
from tracker.settings import Settings
from tracker.simulator import Options, serve
from tracker.times import MINUTE, minute_of
from tracker.web.database import Database

pytestmark = pytest.mark.slow

INSERT = "INSERT INTO prices (ticker, price, created_at) VALUES (%s, %s, %s)"


@dataclass(frozen=True)
class Pair:
    """A primary, its standby, and the API that writes to no one and reads from the second."""

    primary: Settings
    standby: Settings

    @property
    def api(self) -> Settings:
        """Its settings; it may see no more of the standby's state than anyone."""
        read = str(self.standby.sockets)
        return self.primary.changed(read_postgres_host=read, postgres_user="tracker_web")

    def store(self, minute: datetime, price: str) -> None:
        """A price of each index, on the primary."""
        with psycopg.connect(self.primary.database_dsn, autocommit=True) as conn:
            for ticker in self.primary.tickers:
                conn.execute(INSERT, [ticker, price, minute])

    def replay(self, verb: str) -> None:
        """Pause or resume the standby's replay."""
        with psycopg.connect(self.standby.database_dsn, autocommit=True) as conn:
            conn.execute(f"SELECT pg_wal_replay_{verb}()".encode())
            query = "SELECT pg_get_wal_replay_pause_state()"
            wanted = "paused" if verb == "pause" else "not paused"
            wait_for(lambda: conn.execute(query).fetchone() == (wanted,))


@contextmanager
def paired(folder: Path, servers: Settings) -> Iterator[Pair]:
    """Both in *folder*, migrated; the queue is that of *servers*."""
    queue = str(servers.sockets / "redis.sock")
    homes = [make_settings(folder / name, redis_host=queue) for name in ("primary", "standby")]
    pair = Pair(*homes)
    with started(pair.primary, durable=False):
        migrations.apply(pair.primary.database_dsn)
        with psycopg.connect(pair.primary.database_dsn, autocommit=True) as conn:
            conn.execute("ALTER SYSTEM SET max_standby_streaming_delay = 0")  # of the standby
        with run_standby(*homes):
            yield pair


@pytest.fixture(scope="module")
def pair(open_tmp: Path, servers: Settings) -> Iterator[Pair]:
    """Two that every test leaves as they were, but for their prices."""
    folder = open_tmp / "pair"
    folder.mkdir()
    with paired(folder, servers) as pair:
        yield pair


def lag(client: httpx.Client) -> float | None:
    """As readiness tells it."""
    answer = client.get("/health/ready")
    assert answer.status_code == 200, answer.text
    found: float | None = answer.json()["replica"]["lag_seconds"]
    return found


def measured(client: httpx.Client) -> float:
    """As Prometheus sees it."""
    found = {family.name: family for family in families(client.get("/metrics").text)}
    return found["tracker_replica_lag_seconds"].samples[0].value


def last(client: httpx.Client) -> str:
    """The newest price."""
    answer = client.get("/prices/last", params={"ticker": "btc_usd"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["price"])


def test_a_lagging_replica_is_seen_and_the_stream_does_not_wait_for_it(pair: Pair) -> None:
    """Prices are the replica's, with an ETag of its own; events are the primary's, at once."""
    minute = minute_of(datetime.now(UTC))
    pair.store(minute - MINUTE, "1.00")
    wait_for_replay(pair.primary, pair.standby)
    with served(pair.api) as client, following(client.base_url) as stream:
        page = client.get("/prices", params={"ticker": "btc_usd"})
        assert (lag(client), measured(client)) == (0.0, 0.0)
        pair.replay("pause")
        try:
            pair.store(minute, "2.00")
            (event,) = stream.take(1)
            assert event.data["price"] == "2.00"
            assert last(client) == "1.00"
            again = {"If-None-Match": page.headers["etag"]}
            params = {"ticker": "btc_usd"}
            assert client.get("/prices", params=params, headers=again).status_code == 304
            wait_for(lambda: (lag(client) or 0) > 0 and measured(client) > 0)
            late = client.get("/health/state").json()["parts"][-1]
            assert late["name"] == "replica"
        finally:
            pair.replay("resume")
        wait_for_replay(pair.primary, pair.standby)
        assert last(client) == "2.00"
        assert client.get("/prices", params=params, headers=again).status_code == 200
        assert lag(client) == 0.0
        state = client.get("/health/state").json()["parts"][-1]
        assert state == {"name": "replica", "state": "up", "words": "is in sync"}


def test_a_read_that_stands_in_the_way_is_made_again(pair: Pair, run: Run) -> None:
    """The replica ends it to catch up; the client gets its answer all the same."""
    tries = []

    async def count(conn: AsyncConnection) -> int:
        async with conn.transaction():
            cursor = await conn.execute("SELECT count(*) FROM tickers")
            tries.append(conn)
            if len(tries) == 1:
                lock()
                await conn.execute("SELECT pg_sleep(60)")
        (found,) = await cursor.fetchone() or (None,)
        return int(found or 0)

    def lock() -> None:
        with psycopg.connect(pair.primary.database_dsn) as conn:
            conn.execute("LOCK TABLE tickers IN ACCESS EXCLUSIVE MODE")

    async def read() -> int:
        async with Database.opened(pair.api.read_dsn) as database:
            return await database.run(count)

    assert run(read()) >= 0
    assert len(tries) == 2


def test_a_replica_that_is_away_is_named(pair: Pair) -> None:
    """No price is read elsewhere; the primary and its stream are as ever."""
    with served(pair.primary.changed(read_postgres_host="/nowhere")) as client:
        params = {"ticker": "btc_usd"}
        assert problem(client.get("/prices", params=params), 503) == {
            "database": "does not respond"
        }
        parts = {part["name"]: part for part in client.get("/health/state").json()["parts"]}
        assert parts["database"]["state"] == "up"
        assert parts["replica"]["state"] == "down"
        with following(client.base_url) as stream:
            pair.store(minute_of(datetime.now(UTC)) - timedelta(days=20), "4.00")
            assert stream.take(1)[0].data["price"] == "4.00"
        assert isnan(measured(client))


def test_reads_outlive_the_primary_and_the_standby_takes_its_place(
    open_tmp: Path, servers: Settings
) -> None:
    """Killed: prices go on, the stream waits, the lag shows; promoted, it is but a variable."""
    folder = open_tmp / "outlived"
    folder.mkdir()
    with paired(folder, servers) as pair:
        pair.store(minute_of(datetime.now(UTC)) - MINUTE, "1.00")
        wait_for_replay(pair.primary, pair.standby)
        with served(pair.api) as client:
            assert (last(client), lag(client)) == ("1.00", 0.0)
            (primary,) = home_servers(pair.primary)
            os.kill(primary.pid() or 0, signal.SIGKILL)
            wait_for(lambda: lag(client))
            assert {last(client) for _ in range(20)} == {"1.00"}
            assert measured(client) > 0
            answer = client.get("/prices/stream", params={"ticker": "btc_usd"})
            assert problem(answer, 503) == {"database": "does not respond"}
            parts = {
                part["name"]: part["state"] for part in client.get("/health/state").json()["parts"]
            }
            assert parts["database"] == "down"
            assert parts["replica"] == "up"

        with psycopg.connect(pair.standby.database_dsn, autocommit=True) as conn:
            conn.execute("SELECT pg_promote()")
            with serve(Options(seed=3)) as exchange:
                promoted = pair.primary.changed(
                    postgres_host=str(pair.standby.sockets), client_base_url=exchange.url
                )
                with working(promoted):
                    tick(promoted, this_minute())
                    wait_for(lambda: len(rows(conn)) == 2)
            with served(promoted) as client, following(client.base_url) as stream:
                assert last(client) != "1.00"
                assert "replica" not in client.get("/health/ready").json()
                long_ago = minute_of(datetime.now(UTC)) - timedelta(days=9)
                conn.execute(INSERT, ["btc_usd", "3.00", long_ago])
                assert stream.take(1)[0].data["price"] == "3.00"
