"""Import and export: files, stored rows, and concurrent writers."""

import bz2
import codecs
import csv
import gzip
import io
import lzma
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from threading import Thread

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from tests.support.tables import MEDIA_TYPES, read_table
from tests.support.waiting import wait_until
from tracker import migrations, queries
from tracker.errors import BadRequest, DatabaseDown, MigrationsPending, NotFound
from tracker.models import Quote
from tracker.settings import Settings
from tracker.times import DAY, MINUTE
from tracker.transfer.exporting import Selection, export_file, parse_selection
from tracker.transfer.importing import BadLines, Tally, import_file
from tracker.transfer.lines import COLUMNS, LineOptions

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
SEEN = NOON + timedelta(seconds=7.25)
HEADER = "ticker,created_at,price,observed_at,source"
STORED = "SELECT ticker, created_at, price::text, observed_at, source FROM prices ORDER BY 1, 2"

Writer = Callable[..., str]
Row = tuple[str, datetime, str, datetime | None, str]


@pytest.fixture
def file(tmp_path: Path) -> Writer:
    """Write lines to a file; returns its path."""

    def write(*lines: str, end: str = "\n") -> str:
        path = tmp_path / "history.csv"
        path.write_bytes("".join(line + end for line in lines).encode())
        return str(path)

    return write


def stored(conn: psycopg.Connection) -> list[Row]:
    """Every stored price, with all its digits."""
    return conn.execute(STORED).fetchall()


PRICES = [
    ("68241.5", "68241.50"),
    ("68241", "68241.00"),
    ("68241.", "68241.00"),
    ("68241.50", "68241.50"),
    ("68241.5000", "68241.5000"),
    ("0.000000012345678901234567890", "0.000000012345678901234567890"),
    ("123456789012345678.123456789012345678", "123456789012345678.123456789012345678"),
    (".5", "0.50"),
    ("+1.25", "1.25"),
    ("1e3", "1000.00"),
    ("6.82415E4", "68241.50"),
    ("1e-18", "0.000000000000000001"),
    (" 7.25 ", "7.25"),
    ("007.25", "7.25"),
]


OFFSETS = ["Z", "+00:00", "+00", "", "+0000"]  # all of them UTC


def test_imported_price_keeps_its_digits(
    conn: psycopg.Connection, database: Settings, tmp_path: Path
) -> None:
    """Every digit stays, and at least two decimals, however the minute is written."""
    lines = [
        f"btc_usd,2024-01-15{'T '[n % 2]}12:{n:02}:00{OFFSETS[n % len(OFFSETS)]},{price}"
        for n, (price, _) in enumerate(PRICES)
    ]
    file = tmp_path / "prices.csv"
    file.write_text("\n".join(["ticker,created_at,price", *lines]))

    import_file(database.database_dsn, str(file))

    assert [(minute, price) for _, minute, price, *_ in stored(conn)] == [
        (NOON + n * MINUTE, expected) for n, (_, expected) in enumerate(PRICES)
    ]


def test_import_accepts_columns_in_any_order(
    conn: psycopg.Connection, database: Settings, file: Writer
) -> None:
    """Quotes, CRLF, a byte order mark and blank lines too; missing columns have defaults."""
    name = file(
        '\ufeff"price", created_at ,ticker',
        '"68241.5","2024-01-15T12:00:00Z","btc_usd"',
        "",
        "2500,2024-01-15T12:00:00Z,eth_usd",
        "",
        " ",
        end="\r\n",
    )

    assert import_file(database.database_dsn, name) == [
        Tally("btc_usd", 1, 0),
        Tally("eth_usd", 1, 0),
    ]
    assert stored(conn) == [
        ("btc_usd", NOON, "68241.50", None, "import"),
        ("eth_usd", NOON, "2500.00", None, "import"),
    ]


ENCODINGS = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "utf-16": lambda text: text.decode().encode("utf-16"),
    "utf-16 compressed": lambda text: gzip.compress(text.decode().encode("utf-16-be", "strict")),
    "semicolons": lambda text: text.replace(b",", b";"),
    "tabs, CRLF and a byte order mark": lambda text: (
        codecs.BOM_UTF8 + text.replace(b",", b"\t").replace(b"\n", b"\r\n")
    ),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_import_reads_files_of_other_programs(
    conn: psycopg.Connection, database: Settings, tmp_path: Path, encoding: str
) -> None:
    """Whatever their names are."""
    text = f"{HEADER}\nbtc_usd,2024-01-15T12:00Z,1.25,,\neth_usd,1705320000,2.50,,chart\n"
    file = tmp_path / "prices.csv"
    if encoding == "utf-16 compressed":
        text = f"\ufeff{text}"
    file.write_bytes(ENCODINGS[encoding](text.encode()))

    import_file(database.database_dsn, str(file))

    assert stored(conn) == [
        ("btc_usd", NOON, "1.25", None, "import"),
        ("eth_usd", NOON, "2.50", None, "chart"),
    ]


UNREADABLE = {
    "zip": (b"PK\x03\x04 and so on", "is a zip archive or a spreadsheet"),
    "utf-32": (codecs.BOM_UTF32_LE + b"a\0\0\0", "is UTF-32"),
    "utf-16 without a mark": (HEADER.encode("utf-16-le"), "line 1: has NUL characters; UTF-16"),
    "cut utf-16": (codecs.BOM_UTF16_LE + b"t\0i\0c", "cannot be read: "),
    "CR": (b"ticker,created_at,price\rbtc_usd,0,1.25\r", "line 1: lines end in CR alone"),
    "cut gzip": (gzip.compress(HEADER.encode())[:20], "cannot be read: Compressed file ended"),
    "damaged gzip": (gzip.compress(bytes(5000))[:-9] + bytes(9), "cannot be read: "),
    "other gzip": (b"\x1f\x8b\x07", "cannot be read: "),
    "cut bzip2": (b"BZh91AY", "cannot be read: Compressed file ended"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_unreadable_file_has_its_reason(database: Settings, tmp_path: Path, kind: str) -> None:
    """One line, which is true of the file."""
    content, why = UNREADABLE[kind]
    file = tmp_path / "prices.csv"
    file.write_bytes(content)
    with pytest.raises(BadRequest) as caught:
        import_file(database.database_dsn, str(file))
    assert str(caught.value).startswith(f"{file}: {why}")
    assert "\n" not in str(caught.value)


def test_zstd_is_read_where_python_can(database: Settings, tmp_path: Path) -> None:
    """Elsewhere the error names the way round it."""
    file = tmp_path / "prices.csv.zst"
    file.write_bytes(b"\x28\xb5\x2f\xfd\x04\x00\x01\x00\x00\x99\xe9\xd8\x51")  # nothing
    has_zstd = sys.version_info >= (3, 14)
    why = "the first line must name" if has_zstd else "is compressed by zstd, .*`zstd -dc`"
    with pytest.raises(BadRequest, match=why):
        import_file(database.database_dsn, str(file))


@pytest.mark.parametrize(
    ("unit", "noon"),
    [
        ("s", "1705320000"),
        ("s", "1705320000.0"),
        ("ms", "1705320000000"),
        ("us", "1705320000000000"),
        ("ns", "1705320000000000000"),
        ("iso", "2024-01-15T13:00:00+01:00"),
        ("", "1705320000"),
    ],
)
def test_foreign_columns_are_imported(
    conn: psycopg.Connection, database: Settings, file: Writer, unit: str, noon: str
) -> None:
    """Columns that are not named are ignored, also one of ours with foreign values."""
    name = file(
        "time;open;high;close;volume;source",
        f"{noon};1;3;2.125;77;coinbase",
    )
    options = LineOptions({"created_at": "time", "price": "close"}, "btc_usd", unit)

    assert import_file(database.database_dsn, name, options) == [Tally("btc_usd", 1, 0)]
    assert stored(conn) == [("btc_usd", NOON, "2.125", None, "import")]


def test_import_keeps_stored_minutes(
    conn: psycopg.Connection, database: Settings, file: Writer
) -> None:
    """They are counted, use no id, and candle and revision are updated once."""
    quote = Quote(ticker="btc_usd", price=Decimal("1.50"), observed_at=SEEN)
    queries.insert_price(conn, quote, NOON)
    lines = [f"btc_usd,2024-01-15T12:{minute:02}:00Z,{minute + 7}.25" for minute in range(60)]
    name = file("ticker,created_at,price", *lines)

    assert import_file(database.database_dsn, name) == [Tally("btc_usd", 59, 1, differing=1)]
    assert import_file(database.database_dsn, name) == [Tally("btc_usd", 0, 60, differing=1)]

    assert conn.execute("SELECT count(*), max(id) FROM prices").fetchone() == (60, 60)
    assert stored(conn)[0] == ("btc_usd", NOON, "1.50", SEEN, "poll")
    candle = conn.execute("SELECT open, high, samples, polled, imported FROM candles_1h")
    assert candle.fetchall() == [(Decimal("1.50"), Decimal("66.25"), 60, 1, 59)]
    assert conn.execute("SELECT revision FROM tickers").fetchone() == (2,)


def test_dry_run_stores_nothing(conn: psycopg.Connection, database: Settings, file: Writer) -> None:
    """It returns what an import would have done."""
    name = file(HEADER, "btc_usd,2024-01-15T12:00:00Z,1.25,,")

    assert import_file(database.database_dsn, name, dry_run=True) == [Tally("btc_usd", 1, 0)]
    assert stored(conn) == []
    assert conn.execute("TABLE tickers").fetchall() == []


def test_file_with_bad_lines_imports_nothing(
    conn: psycopg.Connection, database: Settings, file: Writer
) -> None:
    """The error lists bad lines and contradictions in the order of the file."""
    name = file(
        "ticker,created_at,price",
        "btc_usd,2024-01-15T12:00:00Z,1.25",
        "btc_usd,2024-01-15T12:00:00Z,1.250",
        "btc_usd,2024-01-15T12:00:00Z,2.25",
        "btc_usd,2024-01-15T12:01:30Z,1.25",
        "BTC,2024-01-15T12:02:00Z,1.25",
    )

    with pytest.raises(BadLines) as caught:
        import_file(database.database_dsn, name)

    assert str(caught.value).splitlines() == [
        f"{name}: 3 bad lines, nothing is imported",
        "  line 4: price: is 2.25, but 1.25 in line 2",
        "  line 5: created_at: is not on the minute: '2024-01-15T12:01:30Z'",
        "  line 6: ticker: is not an index name such as btc_usd: 'BTC'",
    ]
    assert stored(conn) == []


def test_error_shows_the_first_twenty_bad_lines(database: Settings, file: Writer) -> None:
    """Invalid values and contradictions count alike."""
    good = "btc_usd,2024-01-15T12:00:00Z"
    lines = [f"{good},1.25", *[f"{good},{number}.50" for number in range(2, 32)], *["bad"] * 30]
    name = file("ticker,created_at,price", *lines)

    with pytest.raises(BadLines) as caught:
        import_file(database.database_dsn, name)

    first, *shown, last = str(caught.value).splitlines()
    assert "60 bad lines" in first
    assert [line.split(":")[0] for line in shown] == [f"  line {line}" for line in range(3, 23)]
    assert last == "  and 40 more"


def test_poll_that_commits_during_an_import_keeps_its_minute(
    conn: psycopg.Connection, database: Settings, file: Writer
) -> None:
    """The import sees no price at first, waits for the poll, looks again and stores the rest."""
    lines = [f"btc_usd,2024-01-15T12:0{minute}:00Z,1.25,," for minute in range(3)]
    name = file(HEADER, *lines)
    quote = Quote(ticker="btc_usd", price=Decimal("9.50"), observed_at=SEEN)
    with ThreadPoolExecutor(1) as threads:
        with conn.transaction():
            queries.insert_price(conn, quote, NOON)
            importing = threads.submit(import_file, database.database_dsn, name)
            wait_until(lambda: waiting(database) == ["Lock"])
        assert importing.result(20) == [Tally("btc_usd", 2, 1, differing=1)]

    assert [price for _, _, price, _, _ in stored(conn)] == ["9.50", "1.25", "1.25"]
    assert conn.execute("SELECT samples FROM candles_1h").fetchall() == [(3,)]


def waiting(settings: Settings) -> list[str | None]:
    """The wait event of each import and export, or None."""
    query = "SELECT wait_event_type FROM pg_stat_activity WHERE application_name = %s"
    with psycopg.connect(settings.database_dsn) as conn:
        return [kind for (kind,) in conn.execute(query, ["tracker-transfer"])]


def test_concurrent_imports_add_each_line_once(
    conn: psycopg.Connection, database: Settings, file: Writer
) -> None:
    """Exactly one of them counts it as added."""
    tickers = ("btc_usd", "eth_usd")
    minutes = range(1_705_320_000, 1_705_500_000, 60)
    lines = [f"{ticker},{minute},1.25,," for minute in minutes for ticker in tickers]
    name = file(HEADER, *lines)
    tallies: list[Tally] = []
    threads = [
        Thread(target=lambda: tallies.extend(import_file(database.database_dsn, name)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sum(tally.added for tally in tallies) == len(lines) == len(stored(conn))
    assert {tally.added + tally.known for tally in tallies} == {3_000}
    assert conn.execute("SELECT sum(samples) FROM candles_1h").fetchone() == (len(lines),)


def test_unavailable_or_old_database_is_refused(
    fresh: Settings, file: Writer, tmp_path: Path
) -> None:
    """By import and export; neither migrates."""
    name = file(HEADER)
    away = fresh.changed(postgres_db="nowhere").database_dsn
    with pytest.raises(DatabaseDown, match="nowhere"):
        import_file(away, name)
    with pytest.raises(MigrationsPending, match="tracker migrate"):
        export_file(fresh.database_dsn, str(tmp_path / "out.csv"), Selection())
    migrations.apply(fresh.database_dsn)
    migrations.rollback(fresh.database_dsn, "4")
    with pytest.raises(MigrationsPending, match=r"0005\.maintenance"):
        import_file(fresh.database_dsn, name)
    assert list(tmp_path.iterdir()) == [Path(name)]


prices = st.builds(
    lambda digits, places: Decimal(digits).scaleb(-places),
    st.integers(1, 10**27),
    st.integers(9, 18),
)
minutes = st.datetimes(datetime(2000, 1, 1), datetime(2003, 1, 1)).map(  # noqa: DTZ001 -- below
    lambda moment: moment.replace(tzinfo=UTC, second=0, microsecond=0)
)
seen = st.none() | st.datetimes(timezones=st.just(UTC))
lines = st.tuples(st.sampled_from(["btc_usd", "x-y_usdc"]), minutes, prices, seen,
                  st.sampled_from(["poll", "chart", "import"]))  # fmt: skip


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(lines, max_size=8, unique_by=lambda line: line[:2]))
def test_import_restores_an_export(
    migrated: Settings, tmp_path: Path, given: Sequence[tuple[object, ...]]
) -> None:
    """Identical rows, every digit and NULL; a second export has the same bytes."""
    dsn, one, two = migrated.database_dsn, str(tmp_path / "one.csv"), str(tmp_path / "two.csv")
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("TRUNCATE prices, tickers, candles_1h")
        with conn.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO prices (ticker, created_at, price, observed_at, source) VALUES"
                " (%s, %s, %s * 1.00, %s, %s)",
                given,
            )
        before = stored_text(conn)
        assert export_file(dsn, one, Selection(), force=True) == len(given)
        conn.execute("TRUNCATE prices, tickers, candles_1h")
        import_file(dsn, one)

        assert stored_text(conn) == before
        export_file(dsn, two, Selection(), force=True)
        assert Path(two).read_bytes() == Path(one).read_bytes()


def stored_text(conn: psycopg.Connection) -> list[Row]:
    """Every stored price, as PostgreSQL shows it."""
    columns = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(c)) for c in COLUMNS)
    query = sql.SQL("SELECT {} FROM prices ORDER BY ticker, prices.created_at").format(columns)
    return conn.execute(query).fetchall()


def test_export_writes_the_selected_prices(
    conn: psycopg.Connection, database: Settings, tmp_path: Path
) -> None:
    """Sorted by index and time, the end excluded, moments in RFC 3339."""
    for ticker in ("eth_usd", "btc_usd"):
        for minute in range(4):
            quote = Quote(ticker=ticker, price=Decimal("1.50"), observed_at=SEEN)
            queries.insert_price(conn, quote, NOON + minute * MINUTE)
    chosen = parse_selection(["btc_usd"], "2024-01-15T13:01:00+01:00", "2024-01-15T12:03")
    name = tmp_path / "out.csv"

    assert export_file(database.database_dsn, str(name), chosen) == 2

    found = list(csv.reader(io.StringIO(name.read_text())))
    assert found == [
        list(COLUMNS),
        ["btc_usd", "2024-01-15T12:01:00Z", "1.50", "2024-01-15T12:00:07.25Z", "poll"],
        ["btc_usd", "2024-01-15T12:02:00Z", "1.50", "2024-01-15T12:00:07.25Z", "poll"],
    ]
    with pytest.raises(BadRequest, match=rf"^{name}: exists already, with \d+ bytes; --force"):
        export_file(database.database_dsn, str(name), Selection())
    assert list(csv.reader(io.StringIO(name.read_text()))) == found
    assert export_file(database.database_dsn, str(name), Selection(), force=True) == 8


@pytest.mark.parametrize("name", MEDIA_TYPES)
def test_exported_table_has_the_rows_of_the_database(
    conn: psycopg.Connection, database: Settings, tmp_path: Path, name: str
) -> None:
    """All columns of all indexes, or of some: sorted by index and time, each once."""
    for ticker, price in (("eth_usd", "2500.123456789012345678"), ("btc_usd", "68241.50")):
        for minute, seen in ((0, SEEN), (1, None), (50_000, SEEN)):
            conn.execute(
                "INSERT INTO prices (ticker, price, created_at, observed_at, source)"
                " VALUES (%s, %s, %s, %s, %s)",
                [ticker, price, NOON + minute * MINUTE, seen, "poll" if seen else "chart"],
            )
    query = "SELECT ticker, created_at, price, source, observed_at FROM prices"
    wanted = conn.execute(f"{query} ORDER BY 1, 2").fetchall()
    file, dsn = tmp_path / "out", database.database_dsn

    assert export_file(dsn, str(file), Selection(), name) == 6
    frame = read_table(name, file.read_bytes())
    assert frame.columns == ["ticker", "created_at", "price", "source", "observed_at"]
    assert frame.rows() == wanted
    chosen = Selection(tickers=["btc_usd"] * 2, since=NOON + MINUTE, until=NOON + 2 * MINUTE)
    assert export_file(dsn, str(file), chosen, name, force=True) == 1
    assert read_table(name, file.read_bytes()).rows() == wanted[1:2]
    empty = Selection(since=NOON + DAY, until=NOON)
    assert export_file(dsn, str(file), empty, name, force=True) == 0
    assert read_table(name, file.read_bytes()).columns == frame.columns


def test_table_without_the_extra_is_refused(
    database: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "arro3", None)  # as if it were not installed
    with pytest.raises(BadRequest, match=r"--format: .* pip install 'deribit-price-tracker\[arrow"):
        export_file(database.database_dsn, str(tmp_path / "x"), Selection(), "arrow")
    assert list(tmp_path.iterdir()) == []


def test_export_of_unknown_index_leaves_no_file(database: Settings, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="doge_usd was never tracked"):
        export_file(database.database_dsn, str(tmp_path / "x"), Selection(tickers=["doge_usd"]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_export_whose_session_ends_leaves_the_old_file(
    conn: psycopg.Connection, database: Settings, tmp_path: Path, file_format: str
) -> None:
    """The old file stays, and no part of a new one, whose error is that of the session."""
    name = tmp_path / "out.csv"
    name.write_text("old")
    queries.insert_price(
        conn, Quote(ticker="btc_usd", price=Decimal("1.50"), observed_at=SEEN), NOON
    )
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
    with ThreadPoolExecutor(1) as threads, conn.transaction():
        conn.execute("LOCK TABLE prices")
        words = (database.database_dsn, str(name), Selection(), file_format)
        exporting = threads.submit(export_file, *words, force=True)
        wait_until(lambda: waiting(database) == ["Lock"])
        assert len(list(tmp_path.iterdir())) == 2  # the new one has begun
        conn.execute(end, ["tracker-transfer"])
        with pytest.raises(DatabaseDown):
            exporting.result(20)

    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
