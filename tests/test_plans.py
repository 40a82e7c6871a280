"""How the queries are written and run: from the index alone, in the chunks of their window."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from psycopg._queries import PostgresQuery
from psycopg.adapt import Transformer

from tests.conftest import fresh_database
from tracker import migrations, queries
from tracker.gaps import HOUR
from tracker.models import FIRST
from tracker.queries import candles, exporting, prices
from tracker.queries.read import FOLDER
from tracker.settings import Settings
from tracker.web.reading.database import SESSION

FILES = sorted((FOLDER / "queries").glob("*.sql"))
COMPOSED = {
    "price_pages": {
        "price_pages": prices.PAGE_STATEMENTS[False, False],
        "ascending_pages": prices.PAGE_STATEMENTS[True, False],
        "sourced_pages": prices.PAGE_STATEMENTS[False, True],
        "sourced_ascending_pages": prices.PAGE_STATEMENTS[True, True],
    },
    "exported_lines": {
        "exported_lines": exporting.LINE_STATEMENTS[False],
        "sourced_lines": exporting.LINE_STATEMENTS[True],
    },
    "minute_candles": {
        "minute_candles": candles.MINUTE_STATEMENTS[False],
        "ascending_minute_candles": candles.MINUTE_STATEMENTS[True],
    },
    "hour_candles": {
        "hour_candles": candles.HOUR_STATEMENTS[False],
        "ascending_hour_candles": candles.HOUR_STATEMENTS[True],
    },
    "day_candles": {
        "day_candles": candles.DAY_STATEMENTS[False],
        "ascending_day_candles": candles.DAY_STATEMENTS[True],
    },
}  # by template
STATEMENTS: dict[str, bytes] = {}
for each in FILES:
    STATEMENTS |= COMPOSED.get(each.stem) or {each.stem: each.read_bytes()}
OF_PRICES = [name for name, statement in STATEMENTS.items() if b"FROM prices" in statement]
OF_ORIGIN = {
    "sourced_pages",
    "sourced_ascending_pages",
    "sourced_lines",
    "counted_minutes",
    "prices_of",
    "insert_prices",
    "recent_hours",
}  # needs source
START = datetime(2020, 1, 1, tzinfo=UTC)
UNTIL = datetime(2023, 6, 1, 12, tzinfo=UTC)
MONTH_AGO = UNTIL - timedelta(days=31)
FRAME = {
    "before_id": "",
    "before_price": ",",
    "before_day": ",",
    "before_time": "T",
    "after_time": "Z,%1$s",
}
VALUES: dict[str, Any] = {
    "ticker": "btc_usd",
    "tickers": ["eth_usd", "btc_usd"],
    "minute": UNTIL,
    "since": MONTH_AGO,
    "until": UNTIL,
    "count": 51,
    "midnight": MONTH_AGO.replace(hour=0),
    **FRAME,
    "separator": "\n",
    "moment_pattern": "YYYY-MM-DD",
    "null": "null",
    "prices": ["68241.50", "3500.25"],
    "observed": [UNTIL, UNTIL],
    "first": UNTIL,
    "last": UNTIL,
    "patience": "0",
    "source": "poll",
    "reason": "bad_answer",
    "code": None,
    "attempts": 1,
    "unknown": "not_polled",
    "recent": UNTIL - HOUR,
    "replaces": "chart",
    "minutes": [UNTIL, UNTIL - HOUR],
    "width": timedelta(minutes=30),
    "max_rows": 51 * 30,
    "starts": [UNTIL - timedelta(days=n, minutes=15) for n in range(3)],
    "stops": [UNTIL - timedelta(days=n - 1, minutes=15) for n in range(3)],
    "first_hours": [UNTIL - timedelta(days=n) for n in range(3)],
    "last_hours": [UNTIL - timedelta(days=n - 1, hours=1) for n in range(3)],
}
# COPY takes no parameters: it is never prepared; nor is what would look into every chunk then.
UNPREPARED = {"exported_lines", "sourced_lines", "insert_prices"}
# What they sort is no rows: a grid of minutes; candles, which are few; the indexes.
SORTING = {
    "holes",
    "insert_prices",
    "minute_candles",
    "ascending_minute_candles",
    "zone_candles",
    "ticker_summaries",
}
PAGES = [name for name in OF_PRICES if name.endswith("_pages")]
KEYWORDS = (
    "select from where and or as on order by desc limit insert into values with not exists"
    " conflict do nothing join left lateral ordinality"
)


@pytest.fixture(scope="module")
def archive(servers: Settings) -> Iterator[psycopg.Connection]:
    """Two indexes over four years in five chunks, vacuumed as autovacuum would."""
    with fresh_database(servers) as settings:
        migrations.apply(settings.database_dsn)
        with psycopg.connect(settings.database_dsn, autocommit=True, options=SESSION) as conn:
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


@pytest.mark.parametrize(
    ("name", "generic"),
    [
        pytest.param(name, generic, id=f"{name}-{'generic' if generic else 'custom'}")
        for name in OF_PRICES
        for generic in (False, True)
        if name not in PAGES and not (generic and name in UNPREPARED)
    ],
)
def test_prices_are_read_from_the_index_of_one_chunk(
    archive: psycopg.Connection, name: str, *, generic: bool
) -> None:
    """Nothing is sorted, no chunk outside the window is opened, no table visited without need."""
    nodes = list(flat(plan(archive, name, VALUES, generic=generic)))
    scans = scans_of(nodes)

    assert {scan["Relation Name"] for scan in scans} == {chunk_of(archive, UNTIL)}
    kind = "Index Scan" if name in OF_ORIGIN else "Index Only Scan"
    assert {scan["Node Type"] for scan in scans} == {kind}
    assert sum(scan.get("Heap Fetches", 0) for scan in scans) == 0
    if name not in SORTING:
        assert not [node for node in nodes if "Sort" in node["Node Type"]]
    excluded = [node.get("Chunks excluded during startup", 0) for node in nodes]
    assert max(excluded) == (4 if generic else 0)  # a custom plan never had them


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
@pytest.mark.parametrize("name", PAGES)
def test_questions_read_their_own_rows_alone(
    archive: psycopg.Connection, name: str, *, generic: bool
) -> None:
    """From the index, in its order; a question finds nothing in the chunks on its way."""
    early = {**VALUES, "ticker": "eth_usd", "since": START, "until": START + HOUR}
    values = {**VALUES, "batch": batch(VALUES, early)}
    nodes = list(flat(plan(archive, name, values, generic=generic)))
    scans = begun(nodes)

    read = {scan["Relation Name"]: scan["Actual Rows"] * scan["Actual Loops"] for scan in scans}
    full = VALUES["count"] + 1
    assert {name: rows for name, rows in read.items() if rows} == {
        chunk_of(archive, UNTIL): full,
        chunk_of(archive, START): pytest.approx(3, abs=1),  # rows of several loops are rounded
    }
    kind = "Index Scan" if name in OF_ORIGIN else "Index Only Scan"
    assert {scan["Node Type"] for scan in scans} == {kind}
    assert sum(scan.get("Heap Fetches", 0) for scan in scans) == 0
    assert sum(scan.get("Rows Removed by Filter", 0) for scan in scans) == 0
    assert [node["Sort Key"] for node in nodes if "Sort" in node["Node Type"]] == [["query.place"]]


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
@pytest.mark.parametrize(
    ("name", "first", "direction"),
    [
        ("price_pages", UNTIL, "Backward"),
        ("ascending_pages", START, "Forward"),
        ("minute_candles", UNTIL, "Backward"),
        ("ascending_minute_candles", START, "Forward"),
    ],
)
def test_a_page_without_a_lower_bound_stops_when_it_is_full(
    archive: psycopg.Connection, name: str, first: datetime, direction: str, *, generic: bool
) -> None:
    """Chunks are read in its order, from the newest or oldest: those beyond are never opened."""
    nodes = flat(plan(archive, name, {**VALUES, "since": FIRST}, generic=generic))
    *passed, last = begun(nodes)

    assert [scan["Actual Rows"] for scan in passed] == [0] * len(passed)
    assert last["Relation Name"] == chunk_of(archive, first)
    assert last["Node Type"] == "Index Only Scan"
    assert last["Scan Direction"] == direction


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
def test_a_page_of_gaps_stops_when_it_is_full(
    archive: psycopg.Connection, *, generic: bool
) -> None:
    """Newest first from the indexes: of four years with two gaps in each hour, a page."""
    name = "gap_page"
    values = {**VALUES, "since": UNTIL - timedelta(days=1200)}
    runs = (
        "generate_series('2020-01-01Z', '2024-01-01Z', INTERVAL '1 hour') AS at,"
        " unnest(ARRAY['btc_usd', 'eth_usd']) AS ticker"
    )
    with archive.transaction(force_rollback=True):
        archive.execute(
            "INSERT INTO internal.price_islands"
            f" SELECT ticker, at, at + INTERVAL '50 min' FROM {runs}"
        )
        archive.execute(
            "INSERT INTO internal.miss_islands SELECT ticker, at + INTERVAL '55 min',"
            f" at + INTERVAL '60 min', 'too_late' FROM {runs}"
        )
        archive.execute("ANALYZE internal.price_islands, internal.miss_islands")
        nodes = list(flat(plan(archive, name, values, generic=generic)))

    scans = [node for node in nodes if node.get("Relation Name", "").endswith("_islands")]
    assert {scan["Node Type"] for scan in scans} == {"Index Only Scan"}
    assert {scan["Scan Direction"] for scan in scans} == {"Backward"}
    assert len(scans) == 4
    read = [scan["Actual Rows"] * scan["Actual Loops"] for scan in scans]
    assert max(read) <= VALUES["count"] + 2
    assert sum(scan.get("Rows Removed by Filter", 0) for scan in scans) <= VALUES["count"]


@pytest.fixture
def hours(archive: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """The archive, with every hour of its four years in the rollup, and so every day."""
    with archive.transaction(force_rollback=True):
        archive.execute(
            "INSERT INTO candles_1h SELECT ticker, at, 1, 1, 1, 1, 60, 0"
            " FROM generate_series('2020-01-01Z', '2024-01-01Z', INTERVAL '1 hour') AS at,"
            " unnest(ARRAY['btc_usd', 'eth_usd']) AS ticker"
        )
        archive.execute("ANALYZE candles_1h, candles_1d")
        yield archive


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
@pytest.mark.parametrize("name", ["bucket_candles", "zone_candles"])
def test_candles_of_buckets_read_their_hours_alone(
    hours: psycopg.Connection, name: str, *, generic: bool
) -> None:
    """Of four years: three days, from the index."""
    nodes = flat(plan(hours, name, VALUES, generic=generic))
    scans = [node for node in nodes if node.get("Relation Name") == "candles_1h"]

    assert [scan["Node Type"] for scan in scans] == ["Index Scan"]
    assert scans[0]["Actual Loops"] == 3
    assert scans[0]["Actual Rows"] in {23, 24}
    assert scans[0].get("Rows Removed by Filter", 0) == 0


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
@pytest.mark.parametrize(
    ("name", "direction"),
    [("day_candles", "Backward"), ("ascending_day_candles", "Forward")],
)
def test_a_page_of_days_is_read_as_it_is(
    hours: psycopg.Connection, name: str, direction: str, *, generic: bool
) -> None:
    """A row for each day, in its order from the index, and no other."""
    nodes = list(flat(plan(hours, name, {**VALUES, "since": START}, generic=generic)))

    assert [node["Node Type"] for node in nodes] == ["Limit", "Index Scan"]
    assert nodes[1]["Relation Name"] == "candles_1d"
    assert nodes[1]["Scan Direction"] == direction
    assert nodes[1]["Actual Rows"] == VALUES["count"]
    assert nodes[1].get("Rows Removed by Filter", 0) == 0


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
@pytest.mark.parametrize(
    ("name", "direction"),
    [("hour_candles", "Backward"), ("ascending_hour_candles", "Forward")],
)
def test_a_page_of_hours_stops_when_it_is_full(
    hours: psycopg.Connection, name: str, direction: str, *, generic: bool
) -> None:
    """In its order from the index, and no more of them than may be needed."""
    values = {**VALUES, "since": START}
    nodes = flat(plan(hours, name, values, generic=generic))
    scans = [node for node in nodes if node.get("Relation Name") == "candles_1h"]

    assert [(scan["Node Type"], scan["Scan Direction"]) for scan in scans] == [
        ("Index Scan", direction)
    ]
    assert scans[0]["Actual Rows"] == VALUES["max_rows"]


def plan(
    conn: psycopg.Connection, name: str, values: dict[str, Any], *, generic: bool
) -> dict[str, Any]:
    """The plan of that query as psycopg sends it; prepared, if it is to be *generic*."""
    query = STATEMENTS[name]
    reads = not name.startswith("insert")
    explain = b"EXPLAIN (FORMAT JSON%s) " % (b", ANALYZE" if reads else b"")
    used = set(re.findall(r"%\((\w+)\)[sb]", query.decode()))
    values = {"batch": batch(values), **values}
    values = {name: value for name, value in values.items() if name in used}
    if not generic:
        found = conn.execute(explain + query, values).fetchone()
    else:
        with conn.transaction(force_rollback=True), psycopg.ClientCursor(conn) as cursor:
            names = prepare(conn, query, values)
            cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            marks = ", ".join(["%s"] * len(names))
            execute = f"{explain.decode()} EXECUTE asked ({marks})"
            found = cursor.execute(execute, [values[name] for name in names]).fetchone()
        conn.execute("DEALLOCATE ALL")  # psycopg may have done so, when it rolled back
    assert found
    root: dict[str, Any] = found[0][0]["Plan"]
    return root


def batch(*queries: dict[str, Any]) -> str:
    """The queries for pages that have these values."""
    names = ("ticker", "since", "until", "count", *FRAME)
    found = [{name: each[name] for name in names} for each in queries]
    return orjson.dumps([{"place": place, **each} for place, each in enumerate(found)]).decode()


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


def scans_of(nodes: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The scans of chunks."""
    return [node for node in nodes if node.get("Relation Name", "").startswith("_hyper_")]


def begun(nodes: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that were run."""
    return [scan for scan in scans_of(nodes) if scan["Actual Loops"]]


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
    others = [file for name in ("extension", "history") for file in (FOLDER / name).iterdir()]
    kept = [f"{file.parent.name}/{file.stem}" for file in [*others, *FILES]]
    found = re.findall(r'= (?:read|_both_orders)\("(\w+/\w+)"\)', source)
    assert sorted(name for name in found if not name.startswith("backups/")) == sorted(kept)
    assert {file.stem for file in FILES} - COMPOSED.keys() < set(queries.__all__)


def test_every_statement_of_backups_is_used() -> None:
    """They are named where they are used: some are read with the name of a table put in."""
    package = Path(queries.__file__).parent.parent / "backups"
    source = "".join(file.read_text() for file in package.glob("*.py"))
    names = [file.stem for file in (FOLDER / "backups").iterdir()]
    assert [name for name in names if not re.search(rf'["/]{name}"', source)] == []


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_query_says_what_it_answers_and_names_its_columns(name: str) -> None:
    """One statement, a comment first, keywords in capitals, no star."""
    comment, statement = STATEMENTS[name].decode().split("\n", 1)
    while statement.startswith("-- "):
        statement = statement.split("\n", 1)[1]

    assert comment.startswith("-- ")
    assert statement.endswith("\n")
    assert not re.search(r"[*;\t]|--", statement)
    words = set(re.findall(r"\b(?<!%\()[a-z]+\b(?!\))", statement))
    assert words.isdisjoint(KEYWORDS.split())


@pytest.mark.parametrize("name", OF_PRICES)
def test_time_is_bounded_on_both_sides_by_timestamptz_parameters(name: str) -> None:
    """Then chunks are excluded; the column itself stands bare in every comparison."""
    text = STATEMENTS[name].decode()
    conditions = re.findall(r"created_at (<=|>=|=) %\(\w+\)s::timestamptz", text)
    if "since timestamptz, until timestamptz" in text:  # of queries that go together
        conditions += re.findall(r"created_at (<=|>=) query\.(?:since|until)\n", text)
    assert set(conditions) in ({"="}, {"<=", ">="})
    assert conditions.count("<=") == conditions.count(">=")
