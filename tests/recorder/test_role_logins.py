"""Worker and API, each logged in with its own role of the database."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import psycopg
import pytest
import redis

from tests.support.api import serve_api
from tests.support.clock import ManualClock
from tests.support.database import login, read_misses, read_polls
from tests.support.exchange import inject_fault
from tests.support.stream import open_stream
from tests.support.waiting import wait_until
from tests.support.worker import is_idle, running_worker, send_tick
from tracker import queries
from tracker.database import Database
from tracker.models import Quote
from tracker.recorder.deribit import DeribitClient
from tracker.recorder.repair import backfill
from tracker.settings import Settings
from tracker.simulator import Simulator
from tracker.times import minute_of
from tracker.transfer.exporting import export_file, parse_selection
from tracker.transfer.importing import import_file

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
INSERT = (
    "INSERT INTO prices (ticker, price, created_at) VALUES ('btc_usd', 1.50, %s)"
    " ON CONFLICT DO NOTHING"
)
PATHS = [
    "/prices?ticker=btc_usd",
    "/prices/last?ticker=btc_usd",
    "/prices/filtered?ticker=btc_usd&date=2024-01-15T12:00Z",
    "/prices/filtered?ticker=btc_usd&date=2024-01-15T12:02Z&tolerance=120&include=source",
    "/prices/latest",
    "/prices/at?date=2024-01-15T12:00Z",
    "/prices/stats?ticker=btc_usd",
    "/prices/candles?ticker=btc_usd",
    "/prices/candles?ticker=btc_usd&interval=5m",
    "/prices/candles?ticker=btc_usd&interval=1d&tz=Europe/Berlin",
    "/prices/gaps?ticker=btc_usd",
    "/prices/coverage?ticker=btc_usd",
    "/prices?ticker=btc_usd&fill=previous&start_date=2024-01-15T12:00Z&end_date=2024-01-15T12:09Z",
    "/prices/export?ticker=btc_usd&start_date=2024-01-15",
    "/tickers",
    "/udf/config",
    "/udf/symbols?symbol=btc_usd",
    "/udf/search?query=btc",
    "/udf/history?symbol=btc_usd&resolution=60&from=1705300000&to=1705330000&countback=2",
    "/udf/time",
    "/health/live",
    "/health/state",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/problems",
    "/",
]


@pytest.fixture(scope="module")
def owner(base: Settings) -> Iterator[psycopg.Connection]:
    """A connection as the owner of the tables, which have a price."""
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        conn.execute(INSERT, [NOON])
        yield conn


@pytest.fixture
def worker(base: Settings, exchange: Simulator) -> Settings:
    """Settings of a worker with its own role; the queue is empty."""
    with redis.from_url(base.broker_url) as client:
        client.flushdb()
    return base.changed(
        postgres_user="tracker_worker", client_base_url=exchange.url, tickers="btc_usd,eth_usd"
    )


def test_worker_polls_and_repairs_with_its_role(
    worker: Settings, owner: psycopg.Connection, exchange: Simulator, clock: ManualClock
) -> None:
    """It stores a price, a miss, heartbeats, and the last hour from charts."""
    inject_fault(exchange, "testnet", index="eth_usd", method="get_index_price")
    minute = clock.moment.replace(second=0)
    with running_worker(worker, clock):
        send_tick(worker, minute)
        wait_until(lambda: ("btc_usd", minute) in read_polls(owner))
        wait_until(lambda: ("eth_usd", minute, "bad_answer") in read_misses(owner))
        charted = "SELECT FROM prices WHERE source = 'chart' AND created_at >= %s"
        wait_until(lambda: owner.execute(charted, [minute - timedelta(hours=1)]).rowcount > 50)
        wait_until(lambda: is_idle(worker))
    with Database(worker.database_dsn, 1) as database:
        database.run(queries.record_heartbeat, "worker")

    heartbeats = dict(owner.execute("SELECT part, at FROM internal.heartbeats").fetchall())
    assert heartbeats.keys() == {"scheduler", "worker"}
    assert timedelta() <= datetime.now(UTC) - heartbeats["worker"] < timedelta(seconds=30)


def test_worker_role_may_backfill_import_and_export(worker: Settings, tmp_path: Path) -> None:
    """Also into a chunk that does not exist yet."""
    lines = ["ticker,created_at,price", "btc_usd,1999-12-31T23:59:00Z,1.50"]
    (tmp_path / "old.csv").write_text("\n".join(lines) + "\n")
    [tally] = import_file(worker.database_dsn, str(tmp_path / "old.csv"))
    with DeribitClient(worker.client_base_url) as client:
        [done] = backfill(worker, client, ["eth_usd"], ["1d"], datetime.now(UTC))

    assert (tally.added, done.added > 200) == (1, True)
    chosen = parse_selection(["btc_usd"], None, "2000-01-01")
    assert export_file(worker.database_dsn, str(tmp_path / "again.csv"), chosen) == 1
    assert "1999-12-31T23:59:00Z,1.50" in (tmp_path / "again.csv").read_text()


def test_worker_role_may_replace_average_by_poll(
    worker: Settings, owner: psycopg.Connection
) -> None:
    """No other change of a price is the worker's task."""
    quote = Quote(ticker="btc_usd", price=Decimal("7.50"), observed_at=NOON - timedelta(days=1))
    with login(worker, "tracker_worker") as conn:
        assert queries.insert_points(conn, [quote]) == 1
        polled = replace(quote, price=Decimal("8.25"))
        assert queries.insert_price(conn, polled, quote.observed_at)

    query = "SELECT price, source FROM prices WHERE created_at = %s"
    assert owner.execute(query, [quote.observed_at]).fetchall() == [(polled.price, "poll")]


@pytest.fixture(scope="module")
def api(base: Settings, owner: psycopg.Connection) -> Iterator[httpx.Client]:
    """The API with its own role."""
    owner.execute(INSERT, [minute_of(datetime.now(UTC))])
    web = base.changed(postgres_user="tracker_web", tickers="btc_usd")
    with serve_api(web) as client:
        yield client


@pytest.mark.parametrize("path", PATHS)
def test_api_serves_every_path_with_its_role(api: httpx.Client, path: str) -> None:
    """None needs a right that the role lacks."""
    response = api.get(path)
    assert response.status_code == 200, response.text


def test_every_path_of_openapi_is_tested(api: httpx.Client) -> None:
    """Above or below, except files."""
    tested = {path.partition("?")[0] for path in PATHS}
    listed = {path.removeprefix("/v1") for path in api.get("/openapi.json").json()["paths"]}
    assert listed - tested <= {"/prices/stream", "/health/ready", "/page/{name}"}


def test_readiness_reads_migrations_with_role_of_api(
    api: httpx.Client, owner: psycopg.Connection
) -> None:
    """And fresh prices."""
    owner.execute(INSERT, [minute_of(datetime.now(UTC))])
    response = api.get("/health/ready")
    assert response.status_code == 200, response.text


def test_stream_of_api_has_prices_of_worker_role(base: Settings, api: httpx.Client) -> None:
    """LISTEN needs no right."""
    with open_stream(api.base_url) as client, login(base, "tracker_worker") as conn:
        conn.execute(INSERT, [NOON + timedelta(days=2)])
        [event] = client.take(1)
    assert event.data["created_at"] == "2024-01-17T12:00:00Z"
