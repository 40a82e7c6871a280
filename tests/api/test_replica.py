"""Reads from a streaming replica: while it lags, after a conflict, and without a primary."""

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
from psycopg import AsyncConnection

from tests.support.api import error_reasons, read_metric, serve_api, service_parts
from tests.support.database import Run, insert_prices, make_settings
from tests.support.replica import run_standby, wait_for_replay
from tests.support.stream import open_stream
from tests.support.waiting import current_minute, wait_until
from tests.support.worker import running_worker, send_tick
from tracker import migrations
from tracker.embedded.home import home_servers, running_servers
from tracker.settings import Settings
from tracker.simulator import Options, running_simulator
from tracker.times import MINUTE, minute_of
from tracker.web.database import Database

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Pair:
    """A primary, its standby, and an API that reads from the standby."""

    primary: Settings
    standby: Settings

    @property
    def api_settings(self) -> Settings:
        """Its settings; tracker_web has no right to see more of the standby's state."""
        read = str(self.standby.sockets)
        return self.primary.changed(read_postgres_host=read, postgres_user="tracker_web")

    def insert_price(self, minute: datetime, price: str) -> None:
        """Insert a price of each index on the primary."""
        with psycopg.connect(self.primary.database_dsn, autocommit=True) as conn:
            for ticker in self.primary.tickers:
                insert_prices(conn, ticker, {minute: price})

    def set_replay(self, verb: str) -> None:
        """Pause or resume the standby's replay."""
        with psycopg.connect(self.standby.database_dsn, autocommit=True) as conn:
            conn.execute(f"SELECT pg_wal_replay_{verb}()".encode())
            query = "SELECT pg_get_wal_replay_pause_state()"
            wanted = "paused" if verb == "pause" else "not paused"
            wait_until(lambda: conn.execute(query).fetchone() == (wanted,))


@contextmanager
def run_pair(folder: Path, servers: Settings) -> Iterator[Pair]:
    """Run both in *folder*, migrated; the queue is that of *servers*."""
    queue = str(servers.sockets / "redis.sock")
    homes = [make_settings(folder / name, redis_host=queue) for name in ("primary", "standby")]
    pair = Pair(*homes)
    with running_servers(pair.primary, durable=False):
        migrations.apply(pair.primary.database_dsn)
        with psycopg.connect(pair.primary.database_dsn, autocommit=True) as conn:
            conn.execute("ALTER SYSTEM SET max_standby_streaming_delay = 0")  # of the standby
        with run_standby(*homes):
            yield pair


@pytest.fixture(scope="module")
def pair(open_tmp: Path, servers: Settings) -> Iterator[Pair]:
    """A running pair."""
    folder = open_tmp / "pair"
    folder.mkdir()
    with run_pair(folder, servers) as pair:
        yield pair


def readiness_lag(client: httpx.Client) -> float | None:
    """The lag by /health/ready."""
    response = client.get("/health/ready")
    assert response.status_code == 200, response.text
    found: float | None = response.json()["replica"]["lag_seconds"]
    return found


def newest_price(client: httpx.Client) -> str:
    """The newest price of btc_usd."""
    response = client.get("/prices/last", params={"ticker": "btc_usd"})
    assert response.status_code == 200, response.text
    return str(response.json()["price"])


def test_lag_is_reported_and_does_not_delay_the_stream(pair: Pair) -> None:
    """Prices and their ETag are the replica's, events the primary's."""
    minute = minute_of(datetime.now(UTC))
    pair.insert_price(minute - MINUTE, "1.00")
    wait_for_replay(pair.primary, pair.standby)
    with serve_api(pair.api_settings) as client, open_stream(client.base_url) as stream:
        page = client.get("/prices", params={"ticker": "btc_usd"})
        assert (readiness_lag(client), read_metric(client, "tracker_replica_lag_seconds")) == (
            0.0,
            0.0,
        )
        pair.set_replay("pause")
        try:
            pair.insert_price(minute, "2.00")
            (event,) = stream.take(1)
            assert event.data["price"] == "2.00"
            assert newest_price(client) == "1.00"
            condition = {"If-None-Match": page.headers["etag"]}
            params = {"ticker": "btc_usd"}
            assert client.get("/prices", params=params, headers=condition).status_code == 304
            wait_until(
                lambda: (
                    (readiness_lag(client) or 0) > 0
                    and read_metric(client, "tracker_replica_lag_seconds") > 0
                )
            )
            assert list(service_parts(client))[-1] == "replica"
        finally:
            pair.set_replay("resume")
        wait_for_replay(pair.primary, pair.standby)
        assert newest_price(client) == "2.00"
        assert client.get("/prices", params=params, headers=condition).status_code == 200
        assert readiness_lag(client) == 0.0
        assert service_parts(client)["replica"] == {"state": "up", "words": "is in sync"}


def test_read_cancelled_by_replay_is_retried(pair: Pair, run: Run) -> None:
    attempts = []

    async def count_tickers(conn: AsyncConnection) -> int:
        async with conn.transaction():
            cursor = await conn.execute("SELECT count(*) FROM tickers")
            attempts.append(conn)
            if len(attempts) == 1:
                lock()
                await conn.execute("SELECT pg_sleep(60)")
        (found,) = await cursor.fetchone() or (None,)
        return int(found or 0)

    def lock() -> None:
        with psycopg.connect(pair.primary.database_dsn) as conn:
            conn.execute("LOCK TABLE tickers IN ACCESS EXCLUSIVE MODE")

    async def count_retried() -> int:
        async with Database.opened(pair.api_settings.read_dsn) as database:
            return await database.run(count_tickers)

    assert run(count_retried()) >= 0
    assert len(attempts) == 2


def test_primary_of_several_hosts_is_used(pair: Pair) -> None:
    """Reads may use any of them."""
    hosts = f"{pair.standby.sockets},{pair.primary.sockets}"
    settings = pair.primary.changed(postgres_host=hosts, read_postgres_host=hosts)
    query = "SELECT pg_is_in_recovery()"
    for dsn, in_recovery in (
        (settings.database_dsn, False),
        (settings.direct_dsn, False),
        (settings.read_dsn, True),
    ):
        with psycopg.connect(dsn) as conn:
            assert conn.execute(query).fetchone() == (in_recovery,)


def test_unavailable_replica_is_reported(pair: Pair) -> None:
    with serve_api(pair.primary.changed(read_postgres_host="/nowhere")) as client:
        params = {"ticker": "btc_usd"}
        assert error_reasons(client.get("/prices", params=params), 503) == {
            "database": "does not respond"
        }
        parts = service_parts(client)
        assert parts["database"]["state"] == "up"
        assert parts["replica"]["state"] == "down"
        with open_stream(client.base_url) as stream:
            pair.insert_price(minute_of(datetime.now(UTC)) - timedelta(days=20), "4.00")
            assert stream.take(1)[0].data["price"] == "4.00"
        assert isnan(read_metric(client, "tracker_replica_lag_seconds"))


def test_reads_survive_a_failover(open_tmp: Path, servers: Settings) -> None:
    folder = open_tmp / "outlived"
    folder.mkdir()
    with run_pair(folder, servers) as pair:
        pair.insert_price(minute_of(datetime.now(UTC)) - MINUTE, "1.00")
        wait_for_replay(pair.primary, pair.standby)
        with serve_api(pair.api_settings) as client:
            assert (newest_price(client), readiness_lag(client)) == ("1.00", 0.0)
            (primary,) = home_servers(pair.primary)
            os.kill(primary.pid() or 0, signal.SIGKILL)
            wait_until(lambda: readiness_lag(client))
            assert {newest_price(client) for _ in range(20)} == {"1.00"}
            assert read_metric(client, "tracker_replica_lag_seconds") > 0
            response = client.get("/prices/stream", params={"ticker": "btc_usd"})
            assert error_reasons(response, 503) == {"database": "does not respond"}
            parts = service_parts(client)
            assert parts["database"]["state"] == "down"
            assert parts["replica"]["state"] == "up"

        with psycopg.connect(pair.standby.database_dsn, autocommit=True) as conn:
            conn.execute("SELECT pg_promote()")
            with running_simulator(Options(seed=3)) as exchange:
                promoted = pair.primary.changed(
                    postgres_host=str(pair.standby.sockets), client_base_url=exchange.url
                )
                with running_worker(promoted):
                    send_tick(promoted, current_minute())
                    polled = "SELECT count(*) FROM prices WHERE price <> 1"
                    wait_until(lambda: conn.execute(polled).fetchone() == (2,))
            with serve_api(promoted) as client, open_stream(client.base_url) as stream:
                assert newest_price(client) != "1.00"
                assert "replica" not in client.get("/health/ready").json()
                long_ago = minute_of(datetime.now(UTC)) - timedelta(days=9)
                insert_prices(conn, "btc_usd", {long_ago: "3.00"})
                assert stream.take(1)[0].data["price"] == "3.00"
