"""Exports: the same rows as pages, in constant memory, and every way in which one may end."""

import gzip
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import polars as pl
import psycopg
import pytest

from tests.support.api import error_reasons, run_web, serve_api
from tests.support.database import create_database, create_migrated_database, start_over_tcp
from tests.support.processes import memory_megabytes, pause_process
from tests.support.tables import MEDIA_TYPES, read_table
from tests.support.waiting import wait_until
from tracker import migrations
from tracker.settings import Settings
from tracker.times import MINUTE
from tracker.web import export
from tracker.web.export import MAX_EXPORTS

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
EXPORT = "/prices/export?ticker=btc_usd"
LONG = "/prices/export?ticker=eth_usd&format=ndjson"
MINUTES = 200_000  # of eth_usd: more than lies in the buffers between a server and a client
TIMEOUT = 20.0  # seconds
# As most tests want them: compressed, an archive would fit into buffers.
UNCOMPRESSED = {"Accept-Encoding": "identity"}


@pytest.fixture(scope="module")
def client(base: Settings) -> Iterator[httpx.Client]:
    """A client of the API that accepts no compression."""
    with serve_api(base) as client:
        client.headers.update(UNCOMPRESSED)
        yield client


@pytest.fixture(scope="module", autouse=True)
def _archive(base_conn: psycopg.Connection) -> None:
    """A few prices of btc_usd, far apart, and many of eth_usd."""
    minutes = [NOON + n * MINUTE for n in (0, 1, 719, 720, 100_000, 600_000, 600_001)]
    for place, minute in enumerate(minutes):
        seen = minute + timedelta(microseconds=1_234_567) if place % 2 else None
        base_conn.execute(
            "INSERT INTO prices (ticker, price, created_at, observed_at, source)"
            " VALUES ('btc_usd', %s, %s, %s, %s)",
            [f"{place + 1}.{place:018}", minute, seen, "poll" if place % 3 else "chart"],
        )
    with base_conn.transaction():
        insert_many(base_conn, "eth_usd", MINUTES)


def insert_many(conn: psycopg.Connection, ticker: str, count: int) -> None:
    """Insert *count* consecutive prices; without triggers, which is faster."""
    conn.execute("SET LOCAL session_replication_role = replica")
    conn.execute(
        "INSERT INTO prices (ticker, price, created_at) SELECT %(ticker)s, 1.50, at"
        " FROM generate_series(%(first)s::timestamptz, %(last)s, INTERVAL '1 min') AS at",
        {"ticker": ticker, "first": NOON, "last": NOON + (count - 1) * MINUTE},
    )
    conn.execute("INSERT INTO tickers (ticker, since) VALUES (%s, %s)", [ticker, NOON])


def export_backends(conn: psycopg.Connection) -> list[int]:
    """The server processes of exports."""
    ours = "SELECT pid FROM pg_stat_activity WHERE application_name = 'tracker-export'"
    return [pid for (pid,) in conn.execute(ours)]


def wait_until_released(conn: psycopg.Connection) -> float:
    """Seconds until no export has a connection."""
    started_at = time.monotonic()
    while export_backends(conn):
        assert time.monotonic() - started_at < TIMEOUT
        time.sleep(0.01)
    return time.monotonic() - started_at


@pytest.mark.parametrize("include", ["", "&include=source", "&include=observed_at,source"])
@pytest.mark.parametrize("name", ["csv", "ndjson"])
@pytest.mark.parametrize(
    "ends",
    [
        "",
        "&start_date=2024-01-15T12:01:00Z&end_date=2024-03-24T22:40:00Z",
        "&start_date=2024-01-15T12:00:30Z&end_date=2025-03-07T04:00:30Z",
        "&start_date=2024-02-01&end_date=2024-02-02",
        "&start_date=2025-01-01&end_date=2024-01-01",
        "&start_date=0001-01-01&end_date=9999-12-31",
    ],
)
def test_export_equals_a_page(client: httpx.Client, ends: str, name: str, include: str) -> None:
    """To the byte, with every digit and null, and with the header line of an empty table."""
    query = f"{ends}{include}&format={name}"
    page = client.get(f"/prices?ticker=btc_usd&order=asc&limit=1000{query}")
    response = client.get(EXPORT + query)

    assert response.status_code == 200
    assert response.content == page.content
    assert response.headers["content-type"] == page.headers["content-type"]
    assert response.headers["content-disposition"] == f'attachment; filename="btc_usd.{name}"'
    assert response.headers["cache-control"] == "no-store"
    assert not {"etag", "content-length", "content-encoding"} & set(response.headers)


@pytest.mark.parametrize("name", ["csv", "ndjson"])
def test_compressed_export_has_the_same_bytes(client: httpx.Client, name: str) -> None:
    path = f"/prices/export?ticker=eth_usd&format={name}&include=source"
    plain = client.get(path)
    with client.stream("GET", path, headers={"Accept-Encoding": "br, gzip"}) as response:
        sent = b"".join(response.iter_raw())
    head = client.head(path, headers={"Accept-Encoding": "gzip"})

    assert plain.headers["vary"] == response.headers["vary"] == "Accept, Accept-Encoding"
    assert response.headers["content-encoding"] == head.headers["content-encoding"] == "gzip"
    assert gzip.decompress(sent) == plain.content
    assert len(sent) < len(plain.content) / 5


@pytest.mark.parametrize(
    ("ends", "condition"),
    [
        ("", "true"),
        ("&include=source", "true"),
        ("&include=source,observed_at", "true"),
        (
            "&start_date=2024-01-15T12:01:00Z&end_date=2024-01-15T12:00:00Z&include=observed_at",
            "created_at = '2024-01-15 12:01Z'",
        ),
        ("&start_date=2025-01-01&include=source", "created_at >= '2025-01-01'"),
        ("&start_date=2030-01-01&include=source,observed_at", "false"),
    ],
)
@pytest.mark.parametrize("name", MEDIA_TYPES)
def test_table_has_the_rows_of_the_database(
    client: httpx.Client, base_conn: psycopg.Connection, name: str, ends: str, condition: str
) -> None:
    """As another library reads them, with every digit, null and microsecond."""
    exact = pl.Decimal(38, 18)
    for price_type, column in (("decimal", exact), ("float64", pl.Float64())):
        response = client.get(f"{EXPORT}{ends}&format={name}&price_type={price_type}")
        assert response.headers["content-type"] == MEDIA_TYPES[name]
        frame = read_table(name, response.content)

        extras = [each for each in ("source", "observed_at") if each in ends]
        assert frame.columns == ["ticker", "created_at", "price", *extras]
        assert frame.schema["created_at"] == pl.Datetime("us", "UTC")
        assert frame.schema["price"] == column
        number = "price" if column == exact else "price::float8"
        columns = ", ".join(["ticker", "created_at", number, *extras])
        query = f"SELECT {columns} FROM prices WHERE ticker = 'btc_usd' AND {condition} ORDER BY 2"
        assert frame.rows() == base_conn.execute(query).fetchall()


@pytest.mark.parametrize("name", MEDIA_TYPES)
def test_table_of_many_pieces_is_whole(
    client: httpx.Client, base_conn: psycopg.Connection, name: str
) -> None:
    """Whether the client names its format by a parameter or by Accept; it is never gzip."""
    path = "/prices/export?ticker=eth_usd"
    headers = {"Accept": f"{MEDIA_TYPES[name]}, text/csv;q=0.5", "Accept-Encoding": "gzip"}
    response = client.get(path, headers=headers)
    suffix = {"arrow": "arrows", "parquet": "parquet"}[name]

    assert response.headers["content-type"] == MEDIA_TYPES[name]
    assert response.headers["content-disposition"] == f'attachment; filename="eth_usd.{suffix}"'
    assert not {"content-encoding", "etag", "content-length"} & set(response.headers)
    head = client.head(f"{path}&format={name}")
    assert (head.headers["content-type"], head.content) == (MEDIA_TYPES[name], b"")
    frame = read_table(name, response.content)
    stored = base_conn.execute("SELECT created_at FROM prices WHERE ticker = 'eth_usd' ORDER BY 1")
    assert frame["created_at"].to_list() == [minute for (minute,) in stored]
    assert set(frame["price"]) == {Decimal("1.5")}
    refused = client.get(f"{path}&format={name}", headers={"Accept-Encoding": "gzip, identity;q=0"})
    assert list(error_reasons(refused, 406)) == ["Accept-Encoding"]


def test_abandoned_table_ends_its_thread(
    client: httpx.Client, base_conn: psycopg.Connection, logged: list[str]
) -> None:
    """A table is made in a thread, which must not wait for the next piece for ever."""
    for name in MEDIA_TYPES:
        with client.stream("GET", f"/prices/export?ticker=eth_usd&format={name}") as response:
            assert response.status_code == 200
        wait_until_released(base_conn)
    wait_until(lambda: "encoder" not in {thread.name for thread in threading.enumerate()})
    assert logged == []


def test_start_imports_no_arrow() -> None:
    """The extra costs time and memory only once a table is requested."""
    code = "import sys, tracker.web.app, tracker.recorder.worker; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert "tracker.columnar" in loaded
    assert not [name for name in loaded if name.startswith("arro3")]


@pytest.mark.parametrize("path", [EXPORT, "/prices/candles?ticker=btc_usd"])
def test_table_without_the_extra_is_406(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """The problem names what to install; other formats are served."""
    monkeypatch.setitem(sys.modules, "arro3", None)  # as if it were not installed
    why = "Arrow and Parquet need the extra: pip install 'deribit-price-tracker[arrow]'"
    for name, media_type in MEDIA_TYPES.items():
        assert error_reasons(client.get(f"{path}&format={name}"), 406) == {"format": why}
        accepted = client.get(path, headers={"Accept": media_type})
        assert error_reasons(accepted, 406) == {"Accept": why}
    assert client.get(f"{path}&format=csv").status_code == 200


def test_empty_export_may_be_compressed(client: httpx.Client) -> None:
    path = f"{EXPORT}&format=ndjson&start_date=2030-01-01"
    response = client.get(path, headers={"Accept-Encoding": "gzip"})
    assert (response.headers["content-encoding"], response.content) == ("gzip", b"")


def test_head_has_the_headers_of_get_and_releases_its_connection(
    client: httpx.Client, base_conn: psycopg.Connection
) -> None:
    head, get = client.head(EXPORT), client.get(EXPORT)
    names = ("content-type", "content-disposition", "cache-control", "vary", "content-length")

    assert (head.status_code, head.content) == (200, b"")
    assert [head.headers.get(name) for name in names] == [get.headers.get(name) for name in names]
    assert wait_until_released(base_conn) < TIMEOUT


def test_number_of_concurrent_exports_is_bounded(
    client: httpx.Client, base_conn: psycopg.Connection
) -> None:
    with ExitStack() as stack:
        for _ in range(MAX_EXPORTS):
            assert stack.enter_context(client.stream("GET", LONG)).status_code == 200
        refused = client.get(EXPORT)
        ordinary = [client.get("/prices?ticker=eth_usd").status_code for _ in range(20)]
        assert len(export_backends(base_conn)) == MAX_EXPORTS

    assert error_reasons(refused, 503) == {"export": f"{MAX_EXPORTS} are in progress, the maximum"}
    assert int(refused.headers["retry-after"]) > 0
    assert ordinary == [200] * 20
    wait_until_released(base_conn)
    assert client.get(EXPORT).status_code == 200


def test_disconnect_releases_the_connection(
    client: httpx.Client, base_conn: psycopg.Connection, logged: list[str]
) -> None:
    """Whether the client read or not; it is no error."""
    for chunks in (0, 3):
        with client.stream("GET", LONG) as response:
            received = response.iter_raw()
            for _ in range(chunks):
                assert next(received)
        assert wait_until_released(base_conn) < TIMEOUT
    assert logged == []


def test_abandoned_exports_release_tcp_backends(
    open_tmp: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """Clients disconnect while the server is blocked in sending: its backends end within seconds.

    The same when a client does not read, and after a HEAD. Over TCP a server detects a closed
    connection when it can send; the kernel's next attempt may be two minutes away.
    """
    blocked = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE application_name = 'tracker-export' AND wait_event = 'ClientWrite'"
    )
    with start_over_tcp(open_tmp / "export-over-tcp") as settings:
        migrations.apply(settings.database_dsn)
        with (
            psycopg.connect(settings.database_dsn, autocommit=True) as conn,
            serve_api(settings) as client,
        ):
            with conn.transaction():
                insert_many(conn, "eth_usd", 5 * MINUTES)
            for _ in range(3):
                with ExitStack() as stack:
                    for _ in range(MAX_EXPORTS):
                        whole = client.stream("GET", LONG, headers=UNCOMPRESSED)
                        response = stack.enter_context(whole)
                        assert response.status_code == 200
                    wait_until(lambda: conn.execute(blocked).fetchone() == (MAX_EXPORTS,))
                wait_until_released(conn)
            assert client.head(LONG).status_code == 200
            wait_until_released(conn)
            monkeypatch.setattr(export, "WRITE_TIMEOUT", 0.3)
            with client.stream("GET", LONG, headers=UNCOMPRESSED) as response:
                wait_until(lambda: logged)
                wait_until_released(conn)
            assert logged == ["an export was aborted: the client does not read\n"]
            assert client.get(f"{LONG}&end_date=2024-01-16").status_code == 200


def test_killed_database_session_breaks_the_transfer(
    client: httpx.Client, base_conn: psycopg.Connection, logged: list[str]
) -> None:
    """A client must not take a part for the whole. It is logged once."""
    with client.stream("GET", LONG) as response:
        assert response.status_code == 200
        for pid in export_backends(base_conn):
            base_conn.execute("SELECT pg_terminate_backend(%s)", [pid])
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            response.read()

    assert [re.sub(":.*", "", line, flags=re.DOTALL) for line in logged] == [
        "an export was aborted"
    ]
    assert client.get(EXPORT).status_code == 200


def test_broken_transfer_resets_a_connection_without_chunks(
    client: httpx.Client, base_conn: psycopg.Connection, logged: list[str]
) -> None:
    """To HTTP/1.0 any other end is that of the export."""
    wait_until_released(base_conn)  # by earlier tests
    address = (client.base_url.host, client.base_url.port)
    with socket.create_connection(address, timeout=TIMEOUT) as connection:
        connection.sendall(f"GET {LONG} HTTP/1.0\r\n\r\n".encode())
        assert connection.recv(12) == b"HTTP/1.1 200"
        for pid in export_backends(base_conn):
            base_conn.execute("SELECT pg_terminate_backend(%s)", [pid])
        with connection.makefile("rb") as received, pytest.raises(ConnectionResetError):
            received.read()
    assert len(logged) == 1


def test_unresponsive_database_breaks_the_transfer(
    client: httpx.Client,
    base_conn: psycopg.Connection,
    logged: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(export, "_READ_TIMEOUT", 0.3)
    wait_until_released(base_conn)  # by earlier tests
    with client.stream("GET", LONG) as response:
        [pid] = export_backends(base_conn)
        with (
            pause_process(pid),
            pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)),
        ):
            response.read()

    assert [re.sub(":.*", "", line, flags=re.DOTALL) for line in logged] == [
        "an export was aborted"
    ]
    wait_until_released(base_conn)


def test_client_that_does_not_read_is_disconnected(
    client: httpx.Client,
    base_conn: psycopg.Connection,
    logged: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(export, "WRITE_TIMEOUT", 0.3)
    with client.stream("GET", LONG) as response:
        assert export_backends(base_conn)
        wait_until_released(base_conn)
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            response.read()
    assert logged == ["an export was aborted: the client does not read\n"]


def test_export_does_not_delay_the_shutdown(base: Settings, logged: list[str]) -> None:
    with ExitStack() as stack, serve_api(base) as client:
        response = stack.enter_context(client.stream("GET", LONG, headers=UNCOMPRESSED))
        assert response.status_code == 200
        started_at = time.monotonic()
    assert time.monotonic() - started_at < 4
    assert logged == []


def test_export_errors_have_their_status(servers: Settings) -> None:
    away = servers.changed(postgres_host="/nowhere")
    with serve_api(away) as client:
        assert error_reasons(client.get(EXPORT), 503) == {"database": "does not respond"}
    with create_database(servers) as empty, serve_api(empty) as client:
        assert error_reasons(client.get(EXPORT), 503) == {"migrations": "are pending"}
        assert error_reasons(client.get("/prices/export"), 422) == {"ticker": "is required"}


@pytest.mark.slow
def test_export_of_a_million_rows_needs_little_memory(servers: Settings) -> None:
    """The process grows by less than a tenth of what it sends, and serves others meanwhile."""
    latencies: list[float] = []
    with create_migrated_database(servers) as settings:
        with psycopg.connect(settings.database_dsn) as conn:
            insert_many(conn, "btc_usd", 1_000_000)
        with run_web(settings) as (process, api):
            done = threading.Event()
            thread = threading.Thread(target=measure_latency, args=(api, done, latencies))
            path = "/prices/export?ticker=btc_usd&format=ndjson&end_date=9999-01-01"
            api.get(path.replace("9999", "2024"))
            before = memory_megabytes(process.pid)
            thread.start()
            size, lines = 0, 0
            with api.stream("GET", path, headers=UNCOMPRESSED) as response:
                for chunk in response.iter_raw():
                    size += len(chunk)
                    lines += chunk.count(b"\n")
            done.set()
            thread.join()
            after = memory_megabytes(process.pid, "VmHWM")
            grown = [table_growth(api, process.pid, name) for name in MEDIA_TYPES]

    assert lines == 1_000_000
    assert after - before < size / 1_000_000 / 10
    assert max(grown) < 40  # a group of 262,144 rows, twice
    assert len(latencies) > 10
    assert max(latencies) < 1


def table_growth(api: httpx.Client, pid: int, name: str) -> float:
    """Megabytes that the process *pid* grows by while it sends a table of all rows."""
    path = f"/prices/export?ticker=btc_usd&format={name}"
    assert api.get(f"{path}&end_date=2024-01-16").is_success  # imports arro3
    before = memory_megabytes(pid)
    with api.stream("GET", path) as response:
        assert all(response.iter_raw())
    return memory_megabytes(pid, "VmHWM") - before


def measure_latency(api: httpx.Client, done: threading.Event, latencies: list[float]) -> None:
    """Request the newest price repeatedly, and record the latencies."""
    while not done.is_set():
        response = api.get("/prices/last?ticker=btc_usd")
        assert response.status_code == 200
        latencies.append(response.elapsed.total_seconds())
