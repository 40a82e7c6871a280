"""Exports: the same lines as on pages, in constant memory, and every way in which one may end."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psycopg
import pytest
from loguru import logger

from ops.bench.processes import free_ports
from tests.support.servers import fresh_database, started_over_tcp
from tests.support.serving import problem, served
from tests.support.working import wait_for
from tracker import migrations
from tracker.settings import Settings
from tracker.times import MINUTE
from tracker.web import export, exports
from tracker.web.exports import MAX_EXPORTS

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
EXPORT = "/prices/export?ticker=btc_usd"
LONG = "/prices/export?ticker=eth_usd&format=ndjson"
MINUTES = 200_000  # of eth_usd: more than lies in the buffers between a server and a client
PATIENCE = 20.0  # seconds; machines are shared


@pytest.fixture(scope="module")
def archive(servers: Settings) -> Iterator[Settings]:
    """A database in which btc_usd has a few prices, far apart, and eth_usd many."""
    with fresh_database(servers) as settings:
        migrations.apply(settings.database_dsn)
        with psycopg.connect(settings.database_dsn) as conn:
            few = [NOON + n * MINUTE for n in (0, 1, 719, 720, 100_000, 600_000, 600_001)]
            for place, minute in enumerate(few):
                seen = minute + timedelta(microseconds=1_234_567) if place % 2 else None
                conn.execute(
                    "INSERT INTO prices (ticker, price, created_at, observed_at, source)"
                    " VALUES ('btc_usd', %s, %s, %s, %s)",
                    [f"{place + 1}.{place:018}", minute, seen, "poll" if place % 3 else "chart"],
                )
            fill(conn, "eth_usd", MINUTES)
        yield settings


def fill(conn: psycopg.Connection, ticker: str, count: int) -> None:
    """*count* prices on end; without candles it is faster."""
    conn.execute("SET LOCAL session_replication_role = replica")
    conn.execute(
        "INSERT INTO prices (ticker, price, created_at) SELECT %(ticker)s, 1.50, at"
        " FROM generate_series(%(first)s::timestamptz, %(last)s, INTERVAL '1 min') AS at",
        {"ticker": ticker, "first": NOON, "last": NOON + (count - 1) * MINUTE},
    )
    conn.execute("INSERT INTO tickers (ticker, since) VALUES (%s, %s)", [ticker, NOON])


@pytest.fixture(scope="module")
def client(archive: Settings) -> Iterator[httpx.Client]:
    """A client of the API on that database."""
    with served(archive) as client:
        yield client


@pytest.fixture
def watcher(archive: Settings) -> Iterator[psycopg.Connection]:
    """A connection to that database."""
    with psycopg.connect(archive.database_dsn, autocommit=True) as conn:
        yield conn


@pytest.fixture
def told() -> Iterator[list[str]]:
    """Every error that is logged."""
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}", level="WARNING")
    yield lines
    logger.remove(sink)


def backends(conn: psycopg.Connection) -> list[int]:
    """The connections of exports."""
    ours = "SELECT pid FROM pg_stat_activity WHERE application_name = 'tracker-export'"
    return [pid for (pid,) in conn.execute(ours)]


def wait_until_free(conn: psycopg.Connection) -> float:
    """Seconds until no export has a connection."""
    begun = time.monotonic()
    while backends(conn):
        assert time.monotonic() - begun < PATIENCE
        time.sleep(0.01)
    return time.monotonic() - begun


@pytest.mark.parametrize("include", ["", "&include=source", "&include=observed_at,source"])
@pytest.mark.parametrize("form", ["csv", "ndjson"])
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
def test_an_export_is_a_page_without_end(
    client: httpx.Client, ends: str, form: str, include: str
) -> None:
    """To the byte: every digit, null, and the header line of a table without rows."""
    asked = f"{ends}{include}&format={form}"
    page = client.get(f"/prices?ticker=btc_usd&order=asc&limit=1000{asked}")
    answer = client.get(EXPORT + asked)

    assert answer.status_code == 200
    assert answer.content == page.content
    assert answer.headers["content-type"] == page.headers["content-type"]
    assert answer.headers["content-disposition"] == f'attachment; filename="btc_usd.{form}"'
    assert answer.headers["cache-control"] == "no-store"
    assert not {"etag", "content-length", "content-encoding"} & set(answer.headers)


def test_a_table_is_exported_unless_lines_are_accepted(client: httpx.Client) -> None:
    """JSON has an end, and cannot be streamed; the parameter wins."""
    lines = "application/x-ndjson"
    plain = client.get(EXPORT)
    accepted = client.get(EXPORT, headers={"Accept": f"{lines}, text/csv;q=0.5"})

    assert plain.headers["content-type"].startswith("text/csv")
    assert accepted.headers["content-type"] == lines
    refused = client.get(EXPORT, headers={"Accept": "application/json"})
    assert problem(refused, 406) == {"Accept": f"accepts none of text/csv, {lines}"}
    assert problem(client.get(EXPORT + "&format=json"), 422) == {
        "format": "is not one of csv, ndjson: 'json'"
    }


def test_head_says_what_get_would(client: httpx.Client, watcher: psycopg.Connection) -> None:
    """And leaves no connection behind."""
    head, get = client.head(EXPORT), client.get(EXPORT)
    names = ("content-type", "content-disposition", "cache-control", "vary", "content-length")

    assert (head.status_code, head.content) == (200, b"")
    assert [head.headers.get(name) for name in names] == [get.headers.get(name) for name in names]
    assert wait_until_free(watcher) < PATIENCE


def test_few_are_served_at_once(client: httpx.Client, watcher: psycopg.Connection) -> None:
    """One more is told when to come back, all else is served, and who leaves makes room."""
    with ExitStack() as stack:
        for _ in range(MAX_EXPORTS):
            assert stack.enter_context(client.stream("GET", LONG)).status_code == 200
        refused = client.get(EXPORT)
        ordinary = [client.get("/prices?ticker=eth_usd").status_code for _ in range(20)]
        assert len(backends(watcher)) == MAX_EXPORTS

    assert problem(refused, 503) == {"export": f"{MAX_EXPORTS} are in progress, the maximum"}
    assert int(refused.headers["retry-after"]) > 0
    assert ordinary == [200] * 20
    wait_until_free(watcher)
    assert client.get(EXPORT).status_code == 200


def test_a_client_that_leaves_frees_the_connection(
    client: httpx.Client, watcher: psycopg.Connection, told: list[str]
) -> None:
    """At once, whether it read or not; that is no error."""
    for pieces in (0, 3):
        with client.stream("GET", LONG) as answer:
            coming = answer.iter_raw()
            for _ in range(pieces):
                assert next(coming)
        assert wait_until_free(watcher) < PATIENCE
    assert told == []


def test_abandoned_exports_release_tcp_backends(
    open_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients leave while the server is blocked in sending: its backends end within seconds.

    So they do when a client does not read, and when it wants the headers alone.

    Over TCP a server notices a closed connection when it can send; the kernel's next attempt may
    be two minutes away.
    """
    blocked = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE application_name = 'tracker-export' AND wait_event = 'ClientWrite'"
    )
    with started_over_tcp(open_tmp / "export-over-tcp") as settings:
        migrations.apply(settings.database_dsn)
        with (
            psycopg.connect(settings.database_dsn, autocommit=True) as conn,
            served(settings) as client,
        ):
            with conn.transaction():
                fill(conn, "eth_usd", 5 * MINUTES)
            for _ in range(3):
                with ExitStack() as stack:
                    for _ in range(MAX_EXPORTS):
                        answer = stack.enter_context(client.stream("GET", LONG))
                        assert answer.status_code == 200
                    wait_for(lambda: conn.execute(blocked).fetchone() == (MAX_EXPORTS,))
                wait_until_free(conn)
            assert client.head(LONG).status_code == 200
            wait_until_free(conn)
            monkeypatch.setattr(export, "WRITE_TIMEOUT", 0.3)
            with client.stream("GET", LONG) as answer:
                wait_for(lambda: conn.execute(blocked).fetchone() == (1,))
                wait_until_free(conn)
            assert client.get(f"{LONG}&end_date=2024-01-16").status_code == 200


def test_a_database_that_dies_is_seen_by_the_client(
    client: httpx.Client, watcher: psycopg.Connection, told: list[str]
) -> None:
    """The transfer has no end: nobody takes a part for the whole. It is logged once."""
    with client.stream("GET", LONG) as answer:
        assert answer.status_code == 200
        for pid in backends(watcher):
            watcher.execute("SELECT pg_terminate_backend(%s)", [pid])
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            answer.read()

    assert [re.sub(":.*", "", line, flags=re.DOTALL) for line in told] == ["an export was aborted"]
    assert client.get(EXPORT).status_code == 200


def test_a_database_that_stands_still_is_not_waited_for(
    client: httpx.Client,
    watcher: psycopg.Connection,
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not for longer than a day's lines may take; then it is as if it had died."""
    monkeypatch.setattr(exports, "_READ_TIMEOUT", 0.3)
    with client.stream("GET", LONG) as answer:
        [pid] = backends(watcher)
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                answer.read()
        finally:
            os.kill(pid, signal.SIGCONT)

    assert [re.sub(":.*", "", line, flags=re.DOTALL) for line in told] == ["an export was aborted"]
    wait_until_free(watcher)


def test_a_client_that_does_not_read_is_left(
    client: httpx.Client,
    watcher: psycopg.Connection,
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a while it loses its place, and sees that it has not got all."""
    monkeypatch.setattr(export, "WRITE_TIMEOUT", 0.3)
    with client.stream("GET", LONG) as answer:
        assert backends(watcher)
        wait_until_free(watcher)
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            answer.read()
    assert told == ["an export was aborted: the client does not read\n"]


def test_an_export_does_not_hold_up_the_end(archive: Settings, told: list[str]) -> None:
    """The server stops in the middle of one: the client sees it, and nobody waits."""
    with ExitStack() as stack, served(archive) as client:
        answer = stack.enter_context(client.stream("GET", LONG))
        assert answer.status_code == 200
        begun = time.monotonic()
    assert time.monotonic() - begun < 4
    assert told == []


def test_errors_keep_their_status(servers: Settings) -> None:
    """The first line is there before a 200 is."""
    away = servers.changed(postgres_host="/nowhere")
    with served(away) as client:
        assert problem(client.get(EXPORT), 503) == {"database": "does not respond"}
    with fresh_database(servers) as empty, served(empty) as client:
        assert problem(client.get(EXPORT), 503) == {"migrations": "are pending"}
        assert problem(client.get("/prices/export"), 422) == {"ticker": "is required"}


@contextmanager
def process(settings: Settings) -> Iterator[tuple[int, str]]:
    """The API in a process of its own: its pid and its URL."""
    [port] = free_ports(1)
    env = settings.changed(web_port=port).environment()
    with subprocess.Popen([sys.executable, "-m", "tracker", "web"], env=env) as running:
        url = f"http://127.0.0.1:{port}"
        try:
            until = time.monotonic() + PATIENCE
            while not alive(url):
                assert time.monotonic() < until
                time.sleep(0.05)
            yield running.pid, url
        finally:
            running.terminate()


def alive(url: str) -> bool:
    """Whether the API answers."""
    try:
        return httpx.get(f"{url}/health/live").status_code == 200
    except httpx.TransportError:
        return False


def megabytes(pid: int, what: str) -> float:
    """The resident memory of a process: VmRSS, as it is; or VmHWM, the most it ever was."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


@pytest.mark.slow
def test_a_million_rows_need_no_memory(servers: Settings) -> None:
    """The process grows by less than a tenth of what it sends, and answers others meanwhile."""
    waits: list[float] = []
    with fresh_database(servers) as settings:
        migrations.apply(settings.database_dsn)
        with psycopg.connect(settings.database_dsn) as conn:
            fill(conn, "btc_usd", 1_000_000)
        with process(settings) as (pid, url):
            done = threading.Event()
            other = threading.Thread(target=keep_asking, args=(url, done, waits))
            path = f"{url}/prices/export?ticker=btc_usd&format=ndjson&end_date=9999-01-01"
            httpx.get(path.replace("9999", "2024"))
            before = megabytes(pid, "VmRSS")
            other.start()
            size, lines = 0, 0
            with httpx.stream("GET", path, timeout=PATIENCE) as answer:
                for piece in answer.iter_raw():
                    size += len(piece)
                    lines += piece.count(b"\n")
            done.set()
            other.join()
            after = megabytes(pid, "VmHWM")

    assert lines == 1_000_000
    assert after - before < size / 1_000_000 / 10
    assert len(waits) > 10
    assert max(waits) < 1


def keep_asking(url: str, done: threading.Event, waits: list[float]) -> None:
    """Ask for the newest price, again and again, and note how long each answer took."""
    with httpx.Client(base_url=url, timeout=PATIENCE) as client:
        while not done.is_set():
            answer = client.get("/prices/last?ticker=btc_usd")
            assert answer.status_code == 200
            waits.append(answer.elapsed.total_seconds())
