"""The real worker and the real API, each logged in as its own role of the database."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import psycopg
import pytest
import redis

from tests.support.serving import served
from tests.support.streaming import following
from tests.support.working import (
    idle,
    login,
    misses,
    order,
    rows,
    this_minute,
    tick,
    wait_for,
    working,
)
from tracker import queries
from tracker.database import Database
from tracker.models import Quote
from tracker.recorder.deribit import DeribitClient
from tracker.recorder.repair import backfill
from tracker.settings import Settings
from tracker.simulator import Options, Served, serve
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
    "/prices/candles?ticker=btc_usd",
    "/prices/candles?ticker=btc_usd&interval=5m",
    "/prices/candles?ticker=btc_usd&interval=1d&tz=Europe/Berlin",
    "/prices/gaps?ticker=btc_usd",
    "/prices/coverage?ticker=btc_usd",
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
    """A connection as the one who migrated, with a price."""
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        conn.execute(INSERT, [NOON])
        yield conn


@pytest.fixture
def exchange() -> Iterator[Served]:
    with serve(Options(seed=5)) as served:
        yield served


@pytest.fixture
def worker(base: Settings, exchange: Served) -> Settings:
    """The worker's settings, with a role of its own; its queue is empty."""
    with redis.from_url(base.broker_url) as client:
        client.flushdb()
    return base.changed(
        postgres_user="tracker_worker", client_base_url=exchange.url, tickers="btc_usd,eth_usd"
    )


def test_the_worker_polls_misses_and_repairs(
    worker: Settings, owner: psycopg.Connection, exchange: Served
) -> None:
    """A price, a miss, both signs of life; and the last hour from the exchange's charts."""
    order(exchange, "testnet", index="eth_usd", method="get_index_price")
    minute = this_minute()
    with working(worker):
        tick(worker, minute)
        wait_for(lambda: ("btc_usd", minute) in rows(owner))
        wait_for(lambda: ("eth_usd", minute, "bad_answer") in misses(owner))
        charted = "SELECT FROM prices WHERE source = 'chart' AND created_at >= %s"
        wait_for(lambda: owner.execute(charted, [minute - timedelta(hours=1)]).rowcount > 50)
        wait_for(lambda: idle(worker))
    with Database(worker.database_dsn, 1) as database:
        database.run(queries.record_heartbeat, "worker")

    beats = dict(owner.execute("SELECT part, at FROM internal.heartbeats").fetchall())
    assert beats.keys() == {"scheduler", "worker"}
    assert timedelta() <= datetime.now(UTC) - beats["worker"] < timedelta(seconds=30)


def test_past_and_files_are_the_workers_too(worker: Settings, tmp_path: Path) -> None:
    """backfill and import, into a chunk that is made for it; export reads it back."""
    lines = ["ticker,created_at,price", "btc_usd,1999-12-31T23:59:00Z,1.50"]
    (tmp_path / "old.csv").write_text("\n".join(lines) + "\n")
    [tally] = import_file(worker.database_dsn, str(tmp_path / "old.csv"))
    with DeribitClient(worker.client_base_url) as client:
        [outcome] = backfill(worker, client, ["eth_usd"], ["1d"], datetime.now(UTC))

    assert (tally.added, outcome.added > 200) == (1, True)
    chosen = parse_selection(["btc_usd"], None, "2000-01-01")
    assert export_file(worker.database_dsn, str(tmp_path / "again.csv"), chosen) == 1
    assert "1999-12-31T23:59:00Z,1.50" in (tmp_path / "again.csv").read_text()


def test_a_poll_takes_the_place_of_a_chart(worker: Settings, owner: psycopg.Connection) -> None:
    """The one change of a price that is its work."""
    quote = Quote(ticker="btc_usd", price=Decimal("7.50"), observed_at=NOON - timedelta(days=1))
    with login(worker, "tracker_worker") as conn:
        assert queries.insert_points(conn, [quote]) == 1
        polled = replace(quote, price=Decimal("8.25"))
        assert queries.insert_price(conn, polled, quote.observed_at)

    query = "SELECT price, source FROM prices WHERE created_at = %s"
    assert owner.execute(query, [quote.observed_at]).fetchall() == [(polled.price, "poll")]


@pytest.fixture(scope="module")
def api(base: Settings, owner: psycopg.Connection) -> Iterator[httpx.Client]:
    """The real API, logged in as its own role."""
    owner.execute(INSERT, [minute_of(datetime.now(UTC))])
    web = base.changed(postgres_user="tracker_web", tickers="btc_usd")
    with served(web) as client:
        yield client


@pytest.mark.parametrize("path", PATHS)
def test_the_api_reads_as_its_own_role(api: httpx.Client, path: str) -> None:
    """Every path is answered."""
    answer = api.get(path)
    assert answer.status_code == 200, answer.text


def test_no_path_is_left_out(api: httpx.Client) -> None:
    """What OpenAPI lists is asked above, but for files, and for what is asked below."""
    asked = {path.partition("?")[0] for path in PATHS}
    listed = {path.removeprefix("/v1") for path in api.get("/openapi.json").json()["paths"]}
    assert listed - asked <= {"/prices/stream", "/health/ready", "/page/{name}"}


def test_readiness_sees_role_and_schema(api: httpx.Client, owner: psycopg.Connection) -> None:
    """Fresh prices, and the migrations: they are read by that role too."""
    owner.execute(INSERT, [minute_of(datetime.now(UTC))])
    answer = api.get("/health/ready")
    assert answer.status_code == 200, answer.text


def test_the_stream_hears_the_worker(base: Settings, api: httpx.Client) -> None:
    """LISTEN needs no right: what one role commits is told by the other at once."""
    with following(api.base_url) as client, login(base, "tracker_worker") as conn:
        conn.execute(INSERT, [NOON + timedelta(days=2)])
        [told] = client.take(1)
    assert told.data["created_at"] == "2024-01-17T12:00:00Z"
