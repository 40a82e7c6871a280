"""How the queries are written and run: from the index alone, in the chunks of their window."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg._queries import PostgresQuery
from psycopg.adapt import Transformer

from tests.conftest import fresh_database
from tracker import migrations, queries
from tracker.gaps import HOUR
from tracker.queries import prices
from tracker.queries.read import FOLDER
from tracker.settings import Settings

FILES = sorted((FOLDER / "queries").glob("*.sql"))
OF_PRICES = [file for file in FILES if "FROM prices" in file.read_text()]
OF_ORIGIN = {
    "sourced_page",
    "sourced_at",
    "counted_minutes",
    "insert_price",
    "recent_hours",
}  # needs source
UNTIL = datetime(2023, 6, 1, 12, tzinfo=UTC)
VALUES: dict[str, Any] = {
    "ticker": "btc_usd",
    "tickers": ["eth_usd", "btc_usd"],
    "minute": UNTIL,
    "since": UNTIL - prices._NEAR,
    "until": UNTIL,
    "count": 51,
    "price": "68241.50",
    "observed_at": UNTIL,
    "source": "poll",
    "reason": "bad_answer",
    "code": None,
    "attempts": 1,
    "hours": [UNTIL, UNTIL - HOUR, UNTIL - 9 * HOUR],
    "chart": "chart",
    "polled": "poll",
    "recent": UNTIL - HOUR,
    "replaces": "chart",
}
KEYWORDS = (
    "select from where and or as on order by desc limit insert into values with not exists"
    " conflict do nothing join left lateral ordinality"
)


@pytest.fixture(scope="module")
def archive(servers: Settings) -> Iterator[psycopg.Connection]:
    """Two indexes over four years in five chunks, vacuumed as autovacuum would."""
    with fresh_database(servers) as settings:
        migrations.apply(settings.database_dsn)
        with psycopg.connect(settings.database_dsn, autocommit=True) as conn:
            conn.execute("SET session_replication_role = replica")  # without candles: it is faster
            conn.execute(
                "SET synchronous_commit = on"
            )  # or VACUUM cannot mark the rows visible yet
            conn.execute(
                "INSERT INTO prices (ticker, price, created_at)"
                " SELECT ticker, 1.25, at FROM unnest(ARRAY['btc_usd', 'eth_usd']) AS ticker,"
                " generate_series('2020-01-01Z', '2024-01-01Z', INTERVAL '30 min') AS at"
            )
            conn.execute("RESET session_replication_role")
            conn.execute("VACUUM ANALYZE prices")
            yield conn


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
@pytest.mark.parametrize("file", OF_PRICES, ids=lambda file: file.stem)
def test_prices_are_read_from_the_index_of_one_chunk(
    archive: psycopg.Connection, file: Path, *, generic: bool
) -> None:
    """Nothing is sorted, no chunk outside the window is opened, no table visited without need."""
    nodes = list(flat(plan(archive, file, VALUES, generic=generic)))
    scans = [node for node in nodes if node.get("Relation Name", "").startswith("_hyper_")]

    assert {scan["Relation Name"] for scan in scans} == {chunk_of(archive, UNTIL)}
    kind = "Index Scan" if file.stem in OF_ORIGIN else "Index Only Scan"
    assert {scan["Node Type"] for scan in scans} == {kind}
    assert sum(scan.get("Heap Fetches", 0) for scan in scans) == 0
    if file.stem != "holes":  # what it sorts is a grid of minutes, not rows
        assert not [node for node in nodes if "Sort" in node["Node Type"]]
    excluded = [node.get("Chunks excluded during startup", 0) for node in nodes]
    assert max(excluded) == (4 if generic else 0)  # a custom plan never had them


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
def test_a_page_without_a_lower_bound_stops_when_it_is_full(
    archive: psycopg.Connection, *, generic: bool
) -> None:
    """Chunks are read newest first: the older ones are there, and never opened."""
    file = FOLDER / "queries/price_page.sql"
    nodes = flat(plan(archive, file, {**VALUES, "since": prices._EVER}, generic=generic))
    scans = [node for node in nodes if node.get("Relation Name", "").startswith("_hyper_")]
    opened = [scan for scan in scans if scan["Actual Loops"]]

    assert len(scans) == 4
    assert [scan["Relation Name"] for scan in opened] == [chunk_of(archive, UNTIL)]
    assert opened[0]["Node Type"] == "Index Only Scan"
    assert opened[0]["Scan Direction"] == "Backward"


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
def test_a_page_of_incomplete_hours_stops_when_it_is_full(
    archive: psycopg.Connection, *, generic: bool
) -> None:
    """Newest first from the index: of four years in which every hour lacks a minute, a page."""
    file = FOLDER / "queries/incomplete_hours.sql"
    values = {**VALUES, "since": UNTIL - timedelta(days=1200)}
    with archive.transaction(force_rollback=True):
        archive.execute(
            "INSERT INTO candles_1h SELECT 'btc_usd', at, 1, 1, 1, 1, 59, 0"
            " FROM generate_series('2020-01-01Z', '2024-01-01Z', INTERVAL '1 hour') AS at"
        )
        archive.execute("ANALYZE candles_1h")
        nodes = list(flat(plan(archive, file, values, generic=generic)))

    scans = [node for node in nodes if node.get("Relation Name") == "candles_1h"]
    assert {scan["Scan Direction"] for scan in scans} == {"Backward", "Forward"}
    assert max(scan["Actual Rows"] for scan in scans) <= VALUES["count"] + 1


def plan(
    conn: psycopg.Connection, file: Path, values: dict[str, Any], *, generic: bool
) -> dict[str, Any]:
    """The plan of the query in *file* as psycopg sends it; prepared, if it is to be *generic*."""
    query = file.read_bytes()
    reads = not file.stem.startswith("insert")
    explain = b"EXPLAIN (FORMAT JSON%s) " % (b", ANALYZE" if reads else b"")
    values = {name: value for name, value in values.items() if f"%({name})s" in query.decode()}
    if not generic:
        found = conn.execute(explain + query, values).fetchone()
    else:
        with conn.transaction(force_rollback=True), psycopg.ClientCursor(conn) as cursor:
            names = prepare(conn, query, values)
            cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            marks = ", ".join(["%s"] * len(names))
            execute = f"{explain.decode()} EXECUTE asked ({marks})"
            found = cursor.execute(execute, [values[name] for name in names]).fetchone()
        conn.execute("DEALLOCATE asked")
    assert found
    root: dict[str, Any] = found[0][0]["Plan"]
    return root


def prepare(conn: psycopg.Connection, query: bytes, values: dict[str, Any]) -> list[str]:
    """Prepare *query* as psycopg does after its fifth use: the parameters' names in order."""
    converted = PostgresQuery(Transformer(conn))
    converted.convert(query, values)
    types = [
        conn.execute("SELECT %s::regtype::text", [oid]).fetchone() if oid else None
        for oid in converted.types
    ]
    named = ", ".join(found[0] if found else "unknown" for found in types)
    conn.execute(f"PREPARE asked ({named}) AS ".encode() + converted.query)
    assert converted._order
    return converted._order


def flat(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A node of a plan, and all below it."""
    yield node
    for child in node.get("Plans", []):
        yield from flat(child)


def chunk_of(conn: psycopg.Connection, moment: datetime) -> str:
    """The chunk whose range contains *moment*."""
    found = conn.execute(
        "SELECT chunk_name FROM timescaledb_information.chunks"
        " WHERE range_start <= %(at)s AND range_end > %(at)s",
        {"at": moment},
    ).fetchone()
    assert found
    return str(found[0])


def test_every_file_is_read_exactly_once() -> None:
    """No dead SQL, and one typed function for each statement of worker and API."""
    package = Path(queries.__file__).parent.parent
    source = "".join(file.read_text() for file in package.rglob("*.py"))
    history = (FOLDER / "history").glob("*.sql")
    kept = [f"{file.parent.name}/{file.stem}" for file in [*history, *FILES]]
    assert sorted(re.findall(r'= read\("(\w+/\w+)"\)', source)) == sorted(kept)
    assert {file.stem for file in FILES} < set(queries.__all__)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_query_says_what_it_answers_and_names_its_columns(file: Path) -> None:
    """One statement, a comment first, keywords in capitals, no star, no value in the text."""
    comment, statement = file.read_text().split("\n", 1)
    while statement.startswith("-- "):
        statement = statement.split("\n", 1)[1]

    assert comment.startswith("-- ")
    assert statement.endswith("\n")
    assert not re.search(r"[*;'\t]|--", statement)
    words = set(re.findall(r"\b(?<!%\()[a-z]+\b(?!\))", statement))
    assert words.isdisjoint(KEYWORDS.split())


@pytest.mark.parametrize("file", OF_PRICES, ids=lambda file: file.stem)
def test_time_is_bounded_on_both_sides_by_timestamptz_parameters(file: Path) -> None:
    """Then chunks are excluded; the column itself stands bare in every comparison."""
    conditions = re.findall(r"created_at (<=|>=|=) %\(\w+\)s::timestamptz", file.read_text())
    assert sorted(conditions) in (["="], ["<=", ">="])
