"""The benchmark measures what it says; what it found is not judged here."""

import re
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from ops.bench import filling
from ops.bench.__main__ import main
from ops.bench.errors import BenchError
from ops.bench.figures import Figure, ratios, table
from ops.bench.inserting import BARE, PRODUCT, create_bare_prices, insert_minutes, server_time
from ops.bench.rounds import alternate
from ops.bench.statements import script_of
from ops.bench.wrk import Asked, shoot
from tests.support.servers import fresh_database
from tests.support.serving import served
from tracker import migrations
from tracker.settings import Settings

NAMES = ("btc_usd", "eth_usd")
MINUTES = 150  # of each: whole hours, and parts of two

_COUNTED = r'requests_total{endpoint="prices",method="GET",status="200"} (\S+)'
DERIVED = {
    "candles_1h": "ticker, bucket, open, high, low, close, samples, polled, charted, imported",
    "candles_1d": "ticker, bucket, open, high, low, close, samples, polled, charted, imported",
    "internal.price_islands": "ticker, since, until",
    "tickers": "ticker, since, revision, kept_since",
    "internal.changes": "ticker, revision",
    "internal.month_revisions": "ticker, month, revision",
}


def test_a_figure_is_the_median_of_its_rounds() -> None:
    """It is judged against what is wanted, at the end that matters."""
    rounds = [1.0, 9.0, 2.0]

    assert Figure(what="", values=rounds).median == 2.0
    assert Figure(what="", values=rounds).reached is None
    assert Figure(what="", values=rounds, wanted=2).reached is True
    assert Figure(what="", values=rounds, wanted=3).reached is False
    assert Figure(what="", values=rounds, wanted=3, end="<=").reached is True


def test_ratios_are_of_the_same_round() -> None:
    """A machine that is slow for a round is slow for both."""
    assert ratios([10.0, 1.0], [5.0, 0.5]) == [2.0, 2.0]


def test_the_table_tells_all() -> None:
    """What, median, spread, what is wanted, whether it is reached; notes stand below."""
    figures = [
        Figure(what="page", values=[1.5, 1.0, 1234.0], wanted=15, note="a against b"),
        Figure(what="memory", values=[80.0], unit="MB", wanted=90, end="<="),
    ]

    lines = [" ".join(line.split()) for line in table(figures).splitlines()]

    assert lines[1:] == [
        "page 1.50 x 1.00…1,234 (3) ≥ 15 x NOT reached",
        "a against b",
        "memory 80.00 MB 80.00…80.00 (1) ≤ 90 MB reached",
    ]


def test_sides_take_turns() -> None:
    """One round to warm up; then each has its turn, and none is always the first."""
    order: list[str] = []

    found = alternate(2, lambda: order.append("a") or len(order), lambda: order.append("b"))

    assert "".join(order) == "ab" + "ab" + "ba"
    assert found == [[3, 6], [None, None]]


def test_pgbench_has_the_query_of_a_page() -> None:
    """No parameter of ours is left, and the other table is asked the same."""
    script = script_of("prices")

    assert "'until', to_timestamp(:until)" in script
    assert "%" not in script
    assert script_of("plain") == script.replace("FROM prices", "FROM plain")


def test_an_unknown_line_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything starts."""
    with pytest.raises(SystemExit, match="2"):
        main(["newest", "nonsense"])

    assert "nonsense: there are newest," in capsys.readouterr().err


@pytest.fixture(scope="module")
def filled(servers: Settings) -> Iterator[Settings]:
    """A database as the benchmark fills it."""
    with fresh_database(servers) as settings:
        migrations.apply(settings.database_dsn)
        filling.fill(settings, NAMES, MINUTES)
        yield settings


@pytest.mark.slow
def test_what_is_filled_is_as_if_polled(filled: Settings) -> None:
    """All that follows from prices is what the triggers make of the same rows."""
    with (
        fresh_database(filled) as other,
        psycopg.connect(filled.database_dsn) as conn,
        psycopg.connect(other.database_dsn, autocommit=True) as triggered,
    ):
        migrations.apply(other.database_dsn)
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
def test_both_sides_insert_the_same_prices(servers: Settings) -> None:
    """The next minutes after the history; only the product's candles count them."""
    with fresh_database(servers) as settings:
        migrations.apply(settings.database_dsn)
        filling.fill(settings, NAMES, MINUTES)
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
def test_a_shot_at_our_own_api(filled: Settings) -> None:
    """What wrk draws is asked for, answered and counted."""
    with served(filled) as client:
        url = str(client.base_url)
        now = int(httpx.get(f"{url}/udf/time").text)
        path = "/v1/prices?ticker={ticker}&start_date={time}&limit=5"
        asked = Asked(url=f"{url}{path}", first=now - 3600, last=now, names=NAMES, clients=4)

        shot = shoot(asked, 1)

        assert shot.errors == 0
        assert shot.rate > 1
        assert 0 < shot.p50 <= shot.p99
        counted = re.search(_COUNTED, client.get("/metrics").text)
        assert counted is not None
        assert float(counted[1]) >= shot.rate


@pytest.mark.slow
def test_what_is_refused_is_no_figure(filled: Settings) -> None:
    """A server that answers with errors is quick."""
    with served(filled) as client:
        url = f"{client.base_url}/v1/prices?ticker=nonsense"

        with pytest.raises(BenchError, match=r"errors in \d+ requests"):
            shoot(Asked(url=url, clients=2), 1)
