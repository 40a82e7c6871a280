"""The benchmark measures what its lines name; the tests judge no figure."""

import re
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from ops.bench.__main__ import main
from ops.bench.database import (
    BARE,
    PRODUCT,
    create_bare_prices,
    insert_minutes,
    pgbench_script,
    server_time,
)
from ops.bench.processes import BenchError
from ops.bench.report import Figure, alternate, ratios, render_table
from ops.bench.servers import fill_database
from ops.bench.wrk import run_wrk
from tests.support.api import serve_api
from tests.support.database import create_migrated_database
from tracker.settings import Settings

NAMES = ("btc_usd", "eth_usd")
MINUTES = 150  # of each: whole hours, and parts of two

RANDOM_PAGE = "/v1/prices?ticker={ticker}&start_date={time}&limit=5"
_COUNTED = r'requests_total{endpoint="prices",method="GET",status="200"} (\S+)'
DERIVED = {
    "candles_1h": "ticker, bucket, open, high, low, close, samples, polled, charted, imported",
    "candles_1d": "ticker, bucket, open, high, low, close, samples, polled, charted, imported",
    "internal.price_islands": "ticker, since, until",
    "tickers": "ticker, since, revision, kept_since",
    "internal.changes": "ticker, revision",
    "internal.month_revisions": "ticker, month, revision",
}


def test_median_of_rounds_decides() -> None:
    """Against the limit, on the side where it stands."""
    rounds = [1.0, 9.0, 2.0]

    assert Figure("", rounds).facts["median"] == 2.0
    assert Figure("", rounds).reached is None
    assert Figure("", rounds, at_least=2).reached is True
    assert Figure("", rounds, at_least=3).reached is False
    assert Figure("", rounds, at_most=3).reached is True


def test_ratios_compare_the_same_round() -> None:
    """A machine that is slow for a round is slow for both."""
    assert ratios([10.0, 1.0], [5.0, 0.5]) == [2.0, 2.0]


def test_table_has_a_line_for_each_figure() -> None:
    """Name, cache, median, spread, limit and verdict; notes are below."""
    figures = [
        Figure("page", [1.5, 1.0, 1234.0], at_least=15, cache="miss", note="a, b"),
        Figure("memory", [80.0], unit="MB", at_most=90),
    ]

    lines = [" ".join(line.split()) for line in render_table(figures).splitlines()]

    assert lines[1:] == [
        "page miss 1.50 x 1.00…1,234 (3) ≥ 15 x NOT reached",
        "a, b",
        "memory 80.00 MB 80.00…80.00 (1) ≤ 90 MB reached",
    ]


def test_sides_alternate() -> None:
    """After one round to warm up; no side is always the first."""
    order: list[str] = []

    found = alternate(2, lambda: order.append("a") or len(order), lambda: order.append("b"))

    assert "".join(order) == "ab" + "ab" + "ba"
    assert found == [[3, 6], [None, None]]


def test_pgbench_has_the_statement_of_a_page() -> None:
    """Without a parameter of psycopg's; the statement for the other table differs only in it."""
    script = pgbench_script("prices")

    assert "'until', to_timestamp(:until)" in script
    assert "%" not in script
    assert pgbench_script("plain") == script.replace("FROM prices", "FROM plain")


def test_unknown_line_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything starts."""
    with pytest.raises(SystemExit, match="2"):
        main(["newest", "nonsense"])

    assert "unknown line nonsense; the lines are newest," in capsys.readouterr().err


@pytest.fixture(scope="module")
def benchmark_database(servers: Settings) -> Iterator[Settings]:
    """A database as the benchmark fills it."""
    with create_migrated_database(servers) as settings:
        fill_database(settings, NAMES, MINUTES)
        yield settings


@pytest.mark.slow
def test_filled_database_equals_polled_one(benchmark_database: Settings) -> None:
    """The triggers derive the same from the same rows."""
    with (
        create_migrated_database(benchmark_database) as other,
        psycopg.connect(benchmark_database.database_dsn) as conn,
        psycopg.connect(other.database_dsn, autocommit=True) as triggered,
    ):
        columns = "ticker, price, created_at, observed_at, source"
        rows = conn.execute(f"SELECT {columns} FROM prices").fetchall()
        arrays = [list(column) for column in zip(*rows, strict=True)]
        triggered.execute(
            f"INSERT INTO prices ({columns}) SELECT * FROM unnest("
            "%s::text[], %s::numeric[], %s::timestamptz[], %s::timestamptz[], %s::text[])",
            arrays,
        )

        assert len(rows) == len(NAMES) * MINUTES
        for name, chosen in DERIVED.items():
            query = f"SELECT {chosen} FROM {name} ORDER BY 1, 2"
            assert conn.execute(query).fetchall() == triggered.execute(query).fetchall(), name


@pytest.mark.slow
def test_both_statements_insert_the_same_prices(servers: Settings) -> None:
    """The next minutes after the history; only the product's triggers update candles."""
    with create_migrated_database(servers) as settings:
        fill_database(settings, NAMES, MINUTES)
        with psycopg.connect(settings.database_dsn, autocommit=True) as conn:
            create_bare_prices(conn)
            times = [insert_minutes(conn, statement, NAMES, 2) for statement in (PRODUCT, BARE)]
            times += [
                insert_minutes(conn, statement, NAMES, 1, server_time)
                for statement in (PRODUCT, BARE)
            ]

            columns = "ticker, price, created_at, observed_at, source"
            query = "SELECT {} FROM {} ORDER BY ticker, created_at"
            ours, bare = (
                conn.execute(query.format(columns, table)).fetchall()
                for table in ("prices", "bare_prices")
            )
            counted = conn.execute("SELECT sum(samples) FROM candles_1h").fetchone()

    assert min(times) > 0
    assert ours == bare
    assert counted == (len(NAMES) * (MINUTES + 3),) == (len(ours),)


@pytest.mark.slow
@pytest.mark.parametrize("uncached", [False, True])
def test_wrk_measures_the_api(benchmark_database: Settings, *, uncached: bool) -> None:
    """The API counts each request."""
    with serve_api(benchmark_database) as client:
        url = str(client.base_url)
        now = int(httpx.get(f"{url}/udf/time").text)
        path = "/v1/prices?ticker=btc_usd" if uncached else RANDOM_PAGE

        load = run_wrk(
            f"{url}{path}",
            1,
            connections=4,
            period=(now - 3600, now),
            names=NAMES,
            uncached=uncached,
        )

        assert load.errors == 0
        assert load.rate > 1
        assert 0 < load.p50 <= load.p99
        counted = re.search(_COUNTED, client.get("/metrics").text)
        assert counted is not None
        assert float(counted[1]) >= load.rate


@pytest.mark.slow
def test_failed_request_is_an_error(benchmark_database: Settings) -> None:
    """Because a server that responds with errors is fast."""
    with serve_api(benchmark_database) as client:
        url = f"{client.base_url}/v1/prices?ticker=nonsense"

        with pytest.raises(BenchError, match=r"errors in \d+ requests"):
            run_wrk(url, 1, connections=2)
