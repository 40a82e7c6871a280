"""How PostgreSQL runs the product's statements: from an index, in the chunks of their window.

The plans are those of the statements as the API and the worker send them, logged by the server.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import AsyncConnection

from tests.support.api import serve_api
from tests.support.database import Run, create_database, drop_prices
from tests.support.query_plans import Node, StatementLog, logging_role
from tests.support.query_plans import count_rows_read as rows_read
from tests.support.query_plans import find_scans as scans_of
from tests.support.waiting import wait_until
from tracker import migrations, queries
from tracker.models import Quote
from tracker.settings import CHECKOUT, Settings
from tracker.transfer.backup import Kind, backup
from tracker.transfer.exporting import Selection, export_file
from tracker.transfer.importing import BadLines, import_file
from tracker.transfer.restore import restore
from tracker.web.database import open_connection

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = datetime(2020, 1, 1, tzinfo=UTC)
UNTIL = datetime(2023, 6, 1, 12, tzinfo=UTC)
TICKERS = ["eth_usd", "btc_usd"]
MODES = {"custom": "force_custom_plan", "generic": "force_generic_plan"}
KINDS: tuple[Kind, ...] = ("dump", "csv")  # of backups
COUNT = 50  # of a page
MONTH = {"start_date": UNTIL - 31 * DAY, "end_date": UNTIL}


@pytest.fixture(scope="module")
def archive(servers: Settings) -> Iterator[Settings]:
    """Two indexes over four years in five chunks, vacuumed as autovacuum would.

    Each hour has a candle, and two gaps with a reason in the middle.
    """
    grid = (
        "generate_series('2020-01-01Z', '2024-01-01Z', INTERVAL '30 min') AS at,"
        " unnest(ARRAY['btc_usd', 'eth_usd']) AS ticker"
    )
    with create_database(servers) as settings:
        migrations.apply(settings.database_dsn)
        with psycopg.connect(settings.database_dsn, autocommit=True) as conn:
            conn.execute("SET session_replication_role = replica")  # without triggers: faster
            conn.execute("SET synchronous_commit = on")  # or VACUUM cannot mark rows visible yet
            conn.execute(
                "INSERT INTO prices (ticker, price, created_at)"
                f" SELECT ticker, 1.25, at FROM {grid}"
            )
            conn.execute(
                "INSERT INTO misses (ticker, minute, reason, attempts)"
                f" SELECT ticker, at + INTERVAL '10 min', 'too_late', 4 FROM {grid}"
            )
            conn.execute(
                "INSERT INTO tickers (ticker, since)"
                " SELECT ticker, min(created_at) FROM prices GROUP BY ticker"
            )
            conn.execute("RESET session_replication_role")
            conn.execute("SELECT rebuild(ticker) FROM tickers")
            conn.execute("VACUUM ANALYZE")
        yield settings


@dataclass(frozen=True, slots=True)
class Product:
    """The API and the query functions on the archive, all their statements logged."""

    client: httpx.Client
    log: StatementLog
    run: Run
    reader: AsyncConnection
    writer: psycopg.Connection
    generic: bool

    def get(self, path: str, **params: Any) -> httpx.Response:
        """The response for btc_usd, unless *params* name another index."""
        params = {
            name: value.strftime("%Y-%m-%dT%H:%MZ") if isinstance(value, datetime) else value
            for name, value in params.items()
        }
        answer = self.client.get(path, params={"ticker": "btc_usd", **params})
        assert answer.status_code == 200, answer.text
        return answer

    def plan(self, *tables: str) -> list[Node]:
        """The one plan that reads *tables* since the log was cleared."""
        [plan] = self.log.plans(*tables)
        return plan

    def chunk(self, moment: datetime) -> str:
        """The chunk of prices whose range contains *moment*."""
        query = (
            "SELECT chunk_name FROM timescaledb_information.chunks"
            " WHERE range_start <= %s AND range_end > %s"
        )
        found = self.writer.execute(query, [moment, moment]).fetchone()
        self.log.clear()
        assert found
        return str(found[0])


@pytest.fixture(scope="module")
def products(archive: Settings, run: Run) -> Iterator[dict[str, Product]]:
    """One product for each way that PostgreSQL plans a statement with parameters."""
    with ExitStack() as stack:
        found: dict[str, Product] = {}
        for name, mode in MODES.items():
            log = stack.enter_context(logging_role(archive, f"plans_{name}", mode))
            dsn = log.settings.database_dsn
            reader = run(open_connection(dsn, "plans"))
            stack.callback(lambda reader=reader: run(reader.close()))
            writer = stack.enter_context(psycopg.connect(dsn, autocommit=True))
            client = stack.enter_context(serve_api(log.settings))
            found[name] = Product(client, log, run, reader, writer, generic=name == "generic")
        yield found


@pytest.fixture(params=list(MODES))
def product(products: dict[str, Product], request: pytest.FixtureRequest) -> Product:
    """That product; entries of former tests are skipped."""
    found = products[request.param]
    found.log.clear()
    return found


def insert_price(product: Product) -> None:
    """A minute that has a price already: nothing changes."""
    quote = Quote(ticker="btc_usd", price=Decimal("68241.50"), observed_at=UNTIL)
    assert not queries.insert_price(product.writer, quote, UNTIL)


def insert_miss(product: Product) -> None:
    """The same: a minute with a price has no miss."""
    queries.insert_miss(
        product.writer, "btc_usd", UNTIL, "bad_answer", code=None, attempts=1
    )  # fmt: skip


def find_repairable_minutes(product: Product) -> None:
    queries.repairable_minutes(
        product.writer, TICKERS, since=UNTIL - 31 * DAY, recent=UNTIL - HOUR, until=UNTIL
    )  # fmt: skip


def read_changed_prices(product: Product) -> None:
    minutes = [UNTIL, UNTIL - HOUR]
    assert len(product.run(queries.prices_of(product.reader, "btc_usd", minutes))) == 2


def read_newest_minutes(product: Product) -> None:
    found = product.run(queries.newest_minutes(product.reader, TICKERS, UNTIL))
    assert found == [UNTIL, UNTIL]


def read_newest_prices(product: Product) -> None:
    since = UNTIL - 31 * DAY
    found = product.run(queries.newest_prices(product.reader, TICKERS, since, UNTIL))
    assert [(price.ticker, price.created_at) for price in found] == [(t, UNTIL) for t in TICKERS]


def read_recent_hours(product: Product) -> None:
    found = product.run(queries.recent_hours(product.reader, TICKERS, UNTIL))
    assert [polled for _, _, polled in found] == [UNTIL, UNTIL]


# What is called, and whether the index has all that it reads.
READERS: dict[str, tuple[Callable[[Product], object], bool]] = {
    "candles_of_minutes": (
        lambda product: product.get("/prices/candles", interval="30m", **MONTH),
        True,
    ),
    "candles_of_minutes_ascending": (
        lambda product: product.get(
            "/prices/candles",
            interval="30m",
            order="asc",
            **MONTH,
        ),
        True,
    ),
    "candles_of_a_zone": (
        lambda product: product.get(
            "/prices/candles", interval="1d", tz="Asia/Kolkata", end_date=UNTIL, limit=3
        ),
        True,
    ),
    "coverage_of_a_part_of_an_hour": (
        lambda product: product.get(
            "/prices/coverage",
            start_date=UNTIL - timedelta(minutes=45),
            end_date=UNTIL - timedelta(minutes=5),
        ),
        False,
    ),
    "export": (
        lambda product: product.get("/prices/export", **MONTH),
        True,
    ),
    "export_with_sources": (
        lambda product: product.get("/prices/export", **MONTH, include="source"),
        False,
    ),
    "export_of_a_table": (
        lambda product: product.get("/prices/export", **MONTH, format="arrow"),
        True,
    ),
    "changed_prices": (read_changed_prices, False),
    "newest_minutes": (read_newest_minutes, True),
    "newest_prices": (read_newest_prices, False),
    "recent_hours": (read_recent_hours, False),
    "insert_price": (insert_price, False),
    "insert_miss": (insert_miss, True),
    "repairable_minutes": (
        find_repairable_minutes,
        False,
    ),  # two indexes share a minute, whose own index is smaller
}
COPIED = {"export", "export_with_sources", "export_of_a_table"}  # COPY takes no parameters
SORTED = {
    "candles_of_minutes",
    "candles_of_minutes_ascending",
    "candles_of_a_zone",
    "repairable_minutes",
    "recent_hours",
    "insert_price",
}
# What these sort is no price: candles, which are few, a grid of minutes,
# indexes, and new rows.


@pytest.mark.parametrize("name", READERS)
def test_statement_reads_prices_from_the_index_of_one_chunk(product: Product, name: str) -> None:
    """No price is sorted, no chunk outside the window opened, no table visited without need."""
    chunk = product.chunk(UNTIL)
    call, covered = READERS[name]
    call(product)
    *first, nodes = product.log.plans()
    assert not first or name in COPIED  # an export looks for its ends before, with two pages
    scans = scans_of(nodes)

    assert {scan["Relation Name"] for scan in scans} == {chunk}
    kind = "Index Only Scan" if covered else "Index Scan"
    assert {scan["Node Type"] for scan in scans} == {kind}
    assert sum(scan.get("Heap Fetches", 0) for scan in scans) == 0
    if name not in SORTED:
        assert not [node for node in nodes if "Sort" in node["Node Type"]]
    excluded = [node.get("Chunks excluded during startup", 0) for node in nodes]
    assert max(excluded) == (4 if product.generic and name not in COPIED else 0)


def test_summary_of_a_ticker_reads_its_first_and_last_prices(product: Product) -> None:
    """Of four years: the first price, and the minutes of the last day that hours do not cover."""
    chunks = {product.chunk(START), product.chunk(UNTIL)}
    [summary, _] = product.run(queries.ticker_summaries(product.reader, UNTIL))
    assert (summary.first_at, summary.newest_at) == (START, UNTIL)
    scans = [scan for scan in scans_of(product.plan()) if scan["Actual Loops"]]

    read = rows_read(scans)
    assert set(read) == chunks
    assert sum(read.values()) <= 2 * 10  # two indexes
    assert {scan["Node Type"] for scan in scans} == {"Index Only Scan"}
    assert sum(scan.get("Heap Fetches", 0) for scan in scans) == 0
    assert sum(scan.get("Rows Removed by Filter", 0) for scan in scans) == 0


@pytest.mark.parametrize(
    ("path", "until"), [("/prices/latest", datetime(2024, 1, 1, tzinfo=UTC)), ("/prices/at", UNTIL)]
)
def test_prices_of_many_indexes_are_one_row_each(
    product: Product, path: str, until: datetime
) -> None:
    """One statement, backward from the index: older chunks are never opened."""
    chunk = product.chunk(until)
    date = {"date": until, "tolerance": 3600} if path == "/prices/at" else {}
    rows = product.get(path, ticker="eth_usd,btc_usd", **date).json()
    assert [(row["ticker"], row["created_at"][:10]) for row in rows] == [
        (ticker, f"{until:%Y-%m-%d}") for ticker in TICKERS
    ]
    scans = [scan for scan in scans_of(product.plan()) if scan["Actual Loops"]]

    assert rows_read(scans) == {chunk: len(TICKERS)}
    assert {(scan["Node Type"], scan["Scan Direction"]) for scan in scans} == {
        ("Index Scan", "Backward")
    }
    assert sum(scan.get("Rows Removed by Filter", 0) for scan in scans) == 0


@pytest.mark.parametrize("include", ["", "source"])
@pytest.mark.parametrize("order", ["desc", "asc"])
def test_pages_of_one_round_trip_read_their_own_rows_only(
    product: Product, order: str, include: str
) -> None:
    """From the index, in its order; a page finds nothing in the chunks on its way."""
    chunks = {UNTIL: product.chunk(UNTIL), START: product.chunk(START)}
    extra = {"include": include} if include else {}
    plans: list[tuple[int, list[Node]]] = []

    def request(place: int) -> None:
        """Every other page has three prices; cursors that differ make each response its own."""
        last = START + HOUR if place % 2 else UNTIL
        first = START if place % 2 else UNTIL - 31 * DAY
        start, end = (first, last + HOUR / 60) if order == "asc" else (last, first - HOUR / 60)
        if place % 2 == 0:
            start += (1 if order == "asc" else -1) * place * HOUR
        index = "eth_usd" if place % 2 else "btc_usd"
        product.get("/prices", ticker=index, order=order, start_date=start, end_date=end, **extra)

    def shared() -> bool:
        """Requests that meet share a round trip: repeat until two or three have."""
        list(pool.map(request, range(12)))
        for nodes in product.log.plans():
            asked = [node["Actual Rows"] for node in nodes if node["Node Type"] == "Function Scan"]
            if asked and max(asked) in {2, 3}:
                plans.append((max(asked), nodes))
        return bool(plans)

    with ThreadPoolExecutor(12) as pool:
        wait_until(shared)
    for pages, nodes in plans:
        scans = [scan for scan in scans_of(nodes) if scan["Actual Loops"]]
        read = rows_read(scans)
        assert set(read) <= set(chunks.values())
        early, late = read.get(chunks[START], 0), read.get(chunks[UNTIL], 0)
        assert any(
            abs(late - (COUNT + 1) * full) <= 1 and abs(early - 3 * (pages - full)) <= 1
            for full in range(pages + 1)
        ), (pages, read)
        kind = "Index Scan" if include else "Index Only Scan"
        assert {scan["Node Type"] for scan in scans} == {kind}
        assert sum(scan.get("Heap Fetches", 0) for scan in scans) == 0
        assert sum(scan.get("Rows Removed by Filter", 0) for scan in scans) == 0
        assert len([node for node in nodes if "Sort" in node["Node Type"]]) <= 1  # of the pages


@pytest.mark.parametrize(
    ("path", "order", "direction"),
    [
        ("/prices", "desc", "Backward"),
        ("/prices", "asc", "Forward"),
        ("/prices/candles", "desc", "Backward"),
        ("/prices/candles", "asc", "Forward"),
    ],
)
def test_page_without_a_bound_stops_when_it_is_full(
    product: Product, path: str, order: str, direction: str
) -> None:
    """Chunks are read in its order, from the newest or oldest: those beyond are never opened."""
    chunk = product.chunk(UNTIL if order == "desc" else START)
    bound = {"start_date" if (path, order) == ("/prices", "desc") else "end_date": UNTIL}
    interval = {"interval": "30m"} if "candles" in path else {}
    assert len(product.get(path, order=order, **bound, **interval).json()) == COUNT
    *passed, last = [scan for scan in scans_of(product.plan()) if scan["Actual Loops"]]

    assert rows_read(passed) == {}
    assert last["Relation Name"] == chunk
    assert last["Node Type"] == "Index Only Scan"
    assert last["Scan Direction"] == direction
    assert last["Actual Rows"] <= 30 * (COUNT + 1)


def test_statistics_read_each_minute_once(product: Product) -> None:
    """From the index of one chunk, and those of some hours again: where the extremes are."""
    chunk = product.chunk(UNTIL)
    assert product.get("/prices/stats", **MONTH).json()["samples"] == 31 * 48
    scans = [scan for scan in scans_of(product.plan()) if scan["Actual Loops"]]
    read = rows_read(scans)

    assert set(read) == {chunk}
    assert 31 * 48 <= read[chunk] <= 31 * 48 + 20
    assert {scan["Node Type"] for scan in scans} <= {"Index Only Scan", "Index Scan"}
    assert sum(scan.get("Heap Fetches", 0) for scan in scans) == 0


def test_filled_page_reads_its_own_minutes_only(product: Product) -> None:
    """Of a range of years, and the price before each gap: of four stored minutes an hour, few."""
    bounds = {"start_date": START, "end_date": UNTIL, "fill": "previous"}
    assert len(product.get("/prices", **bounds).json()) == COUNT
    scans = [scan for scan in scans_of(product.plan()) if scan["Actual Loops"]]

    assert sum(rows_read(scans).values()) <= 3 * COUNT
    assert sum(scan.get("Rows Removed by Filter", 0) for scan in scans) == 0
    assert not [scan for scan in scans if scan["Node Type"] == "Seq Scan"]


def test_page_of_gaps_stops_when_it_is_full(product: Product) -> None:
    """Newest first from the indexes: of four years with two gaps in each hour, a page."""
    assert len(product.get("/prices/gaps", end_date=UNTIL).json()) == COUNT
    scans = scans_of(product.plan("price_islands"), "price_islands", "miss_islands")

    assert {scan["Node Type"] for scan in scans} == {"Index Only Scan"}
    assert {scan["Scan Direction"] for scan in scans} == {"Backward"}
    assert len(scans) == 4
    assert max(scan["Actual Rows"] * scan["Actual Loops"] for scan in scans) <= COUNT + 2
    assert sum(scan.get("Rows Removed by Filter", 0) for scan in scans) <= COUNT


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kolkata"])
def test_candles_of_a_zone_read_their_hours_only(product: Product, zone: str) -> None:
    """Of four years: three days and the next, from the index."""
    bounds = {"start_date": UNTIL - 6 * DAY, "end_date": UNTIL - 2 * DAY}
    params = {"interval": "1d", "tz": zone, "limit": 3}
    assert len(product.get("/prices/candles", **params, **bounds).json()) == 3
    *_, nodes = product.log.plans("candles_1h")  # before it: where the index has candles
    [scan] = scans_of(nodes, "candles_1h")

    assert scan["Actual Loops"] == 4
    assert scan["Node Type"] == "Index Scan"
    assert scan["Actual Rows"] in {23, 24}
    assert scan.get("Rows Removed by Filter", 0) == 0


@pytest.mark.parametrize(("order", "direction"), [("desc", "Backward"), ("asc", "Forward")])
def test_page_of_days_reads_a_row_for_each(product: Product, order: str, direction: str) -> None:
    """A row for each day, in its order from the index, and no other."""
    answer = product.get("/prices/candles", interval="1d", order=order, end_date=UNTIL)
    assert len(answer.json()) == COUNT
    nodes = product.plan("candles_1d")

    assert [node["Node Type"] for node in nodes] == ["Limit", "Index Scan"]
    assert nodes[1]["Relation Name"] == "candles_1d"
    assert nodes[1]["Scan Direction"] == direction
    assert nodes[1]["Actual Rows"] == COUNT + 1
    assert nodes[1].get("Rows Removed by Filter", 0) == 0


@pytest.mark.parametrize(("order", "direction"), [("desc", "Backward"), ("asc", "Forward")])
def test_page_of_four_hours_stops_when_it_is_full(
    product: Product, order: str, direction: str
) -> None:
    """In its order from the index, and no more hours than may be needed."""
    answer = product.get("/prices/candles", interval="4h", order=order, end_date=UNTIL)
    assert len(answer.json()) == COUNT
    [scan] = scans_of(product.plan("candles_1h"), "candles_1h")

    assert (scan["Node Type"], scan["Scan Direction"]) == ("Index Scan", direction)
    assert scan["Actual Rows"] == 4 * (COUNT + 1)


def call_all(product: Product, folder: Path) -> None:
    """Everything that sends a statement: each resource of the API, each part of the worker."""
    minute = {"start_date": UNTIL - HOUR, "end_date": UNTIL}
    for order in ("asc", "desc"):
        for include in ({}, {"include": "source"}):
            product.get("/prices", order=order, limit=2, **include)
        for interval in ("30m", "4h", "1d", "1w"):
            product.get("/prices/candles", order=order, interval=interval, end_date=UNTIL)
    for call, _ in READERS.values():
        call(product)
    product.get("/prices/candles", interval="1d", tz="Asia/Kolkata", end_date=UNTIL)
    product.get("/prices/gaps", **minute)
    product.get("/prices/coverage", **minute)
    product.get("/prices/stats", **minute)
    product.get("/prices", fill="previous", limit=2, **minute)
    for path in ("/tickers", "/health/ready", "/health/state", "/prices?ticker=doge_usd"):
        product.client.get(path)
    assert product.client.get("/udf/symbols?symbol=btc_usd").is_success
    following = {"method": "GET", "url": "/prices/stream", "params": {"ticker": TICKERS}}
    with serve_api(product.log.settings) as client, client.stream(**following) as answer:
        assert answer.status_code == 200  # a new process listens first
    product.run(queries.changes_after(product.reader, ["btc_usd"], 0, 1, 0, 10))
    product.run(queries.replica_lag(product.reader))
    product.run(queries.listed_names(product.reader))
    queries.exchange_names(product.writer)
    queries.record_heartbeat(product.writer, "worker")
    queries.missing_roles(product.writer, ["nobody"])
    queries.archived_months(product.writer, "btc_usd")
    queries.discard_misses(product.writer, UNTIL)
    drop_prices(product.writer, 100_000 * DAY)
    export_and_import(product.log.settings.database_dsn, folder)


def export_and_import(dsn: str, folder: Path) -> None:
    """An export of an hour, an import that is refused, and one that finds every minute stored."""
    file = str(folder / "prices.csv")
    chosen = Selection(tickers=["btc_usd"], since=UNTIL - HOUR, until=UNTIL)
    assert export_file(dsn, file, chosen)
    with Path(file).open("a") as stream:
        stream.write("btc_usd,2023-06-01T11:00:00Z,1.25,,poll\n" * 2)
        stream.write("btc_usd,2023-06-01T11:00:00Z,2.25,,poll\n")
    with pytest.raises(BadLines):
        import_file(dsn, file)
    export_file(dsn, file, chosen, force=True)
    import_file(dsn, file)


@pytest.mark.parametrize("product", ["custom"], indirect=True)
def test_every_statement_of_the_folders_is_sent(product: Product, tmp_path: Path) -> None:
    """No dead SQL: each file arrives at the server, and says in its first line what it is for."""
    call_all(product, tmp_path)
    assert_sent("queries", product.log)


def assert_sent(folder: str, log: StatementLog, *exceptions: str) -> None:
    """Each statement of a folder is in the log, recognized by the comment in its first line."""
    sent = "\n".join(log.texts())
    files = CHECKOUT.glob(f"sql/{folder}/*.sql")
    first = {file.stem: file.read_text().partition("\n")[0] for file in files}
    assert len(first) > 20
    assert [name for name, line in first.items() if not line.startswith("-- ")] == []
    assert {name for name, line in first.items() if line not in sent} == {*exceptions}


@pytest.mark.parametrize("product", ["custom"], indirect=True)
def test_columns_added_to_the_tables_change_no_response(product: Product, tmp_path: Path) -> None:
    """Statements name the columns that they read, and those that they write."""
    paths = [
        "/prices?",
        "/prices?order=asc&include=source,observed_at&",
        "/prices/last?",
        "/prices/latest?",
        "/prices/candles?interval=30m&",
        "/prices/candles?interval=4h&",
        "/prices/candles?interval=1d&",
        "/prices/candles?interval=1w&",
        "/prices/candles?interval=1d&tz=Asia/Kolkata&",
        "/prices/gaps?",
        "/prices/coverage?end_date=2023-06-01T12:00:00Z&",
        "/prices/stats?end_date=2023-06-01T12:00:00Z&",
        "/prices?fill=null&start_date=2023-06-01T11:00:00Z&end_date=2023-06-01T12:00:00Z&",
        "/tickers",
    ]

    def bodies() -> list[str]:
        answers = [
            product.client.get(path + "ticker=btc_usd" * path.endswith(("?", "&")))
            for path in paths
        ]
        assert {answer.status_code for answer in answers} == {200}
        return [answer.text for answer in answers]

    tables = [
        name
        for (name,) in product.writer.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname IN ('public', 'internal') AND tablename !~ '^_?yoyo'"
        )
    ]
    assert {"public.prices", "internal.changes"} <= set(tables)
    before = bodies()
    for table in tables:
        product.writer.execute(f"ALTER TABLE {table} ADD COLUMN added text")
    try:
        assert bodies() == before
        call_all(product, tmp_path)
    finally:
        for table in tables:
            product.writer.execute(f"ALTER TABLE {table} DROP COLUMN added")


def test_every_statement_of_transfers_is_sent(servers: Settings, tmp_path: Path) -> None:
    """The same for imports, exports, backups of both kinds, and what restores them."""
    minute = UNTIL - HOUR
    with create_database(servers) as settings, logging_role(settings, "plans_backup") as log:
        source = log.settings
        migrations.apply(source.database_dsn)
        with psycopg.connect(source.database_dsn) as conn:
            quote = Quote(ticker="btc_usd", price=Decimal("1.50"), observed_at=minute)
            queries.insert_price(conn, quote, minute)
        export_and_import(source.database_dsn, tmp_path)
        for kind in KINDS:
            backup(source, str(tmp_path / kind), kind)
            with create_database(source) as target:
                migrations.apply(target.database_dsn)
                restore(target, str(tmp_path / kind))
        # Only a terminal sees progress (test_progress); the server has the role (test_backup).
        assert_sent("transfer", log, "count_prices", "create_role")
