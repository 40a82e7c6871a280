"""Clients that send too much, send too slowly, or do not read."""

import hashlib
import inspect
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import httpx
import psycopg
import pytest
import uvicorn
from uvicorn.protocols.http import httptools_impl

from tests.support.api import error_reasons, serve_api
from tests.support.database import insert_minutes, make_settings
from tests.support.logs import capture_log
from tests.support.stream import open_stream
from tracker.settings import Settings
from tracker.times import minute_of
from tracker.web import database, endpoint, export, protocol, server

HEAD = b"GET /health/live HTTP/1.1\r\nHost: here\r\n"
REQUEST = HEAD + b"\r\n"
LAST = "/prices/last?ticker=btc_usd"
UVICORN_SOURCE = "1d4e1c579df4168433a61a01f10c628b31c1790e72dd9769d2b8633b22214033"
TIMEOUT = 20.0  # seconds


@pytest.fixture(scope="module")
def unavailable(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of unavailable servers."""
    addresses = {"postgres_host": "127.0.0.1", "postgres_port": 1, "redis_host": "127.0.0.1"}
    return make_settings(tmp_path_factory.mktemp("home"), **addresses)


@pytest.fixture(scope="module")
def api(unavailable: Settings) -> Iterator[httpx.Client]:
    """A client of an API without a database."""
    with serve_api(unavailable) as client:
        yield client


@contextmanager
def connect(client: httpx.Client, receive_buffer: int | None = None) -> Iterator[socket.socket]:
    """A raw connection to the API of *client*."""
    with socket.socket() as connection:
        connection.settimeout(TIMEOUT)
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.connect((client.base_url.host, client.base_url.port))
        yield connection


def receive_all(connection: socket.socket) -> bytes:
    """All bytes until the API disconnects."""
    chunks = []
    try:
        while chunk := connection.recv(65_536):
            chunks.append(chunk)
    except ConnectionResetError:
        pass
    return b"".join(chunks)


def receive_response(connection: socket.socket) -> httpx.Response:
    """The next complete response."""
    received = b""
    while True:
        chunk = connection.recv(65_536)
        assert chunk, "the API has hung up"
        received += chunk
        if b"\r\n\r\n" in received:
            response = parse_response(received)
            if len(response.content) >= int(response.headers["content-length"]):
                return response


def send_many(connection: socket.socket, chunk: bytes, size: int) -> int:
    """The number of bytes that could be sent, *size* at most."""
    sent = 0
    try:
        while sent < size:
            connection.sendall(chunk)
            sent += len(chunk)
    except (ConnectionResetError, BrokenPipeError):
        pass
    return sent


def parse_response(response: bytes) -> httpx.Response:
    """A response as a value of httpx."""
    head, _, body = response.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    pairs = [connection.split(b": ", 1) for connection in lines]
    return httpx.Response(int(status.split()[1]), headers=pairs, content=body)


def is_live(client: httpx.Client) -> bool:
    """Whether other clients are still served."""
    return client.get("/health/live").status_code == 200


def test_small_body_is_ignored(api: httpx.Client) -> None:
    with connect(api) as connection:
        for _ in range(2):
            connection.sendall(HEAD + b"Content-Length: 60000\r\n\r\n" + b"a" * 60_000)
            assert receive_response(connection).status_code == 200


@pytest.mark.parametrize(
    ("header", "chunk"),
    [
        (b"Content-Length: 99999999999\r\n\r\n", b"a" * 65_536),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"8000\r\n" + b"a" * 32_768 + b"\r\n"),
    ],
    ids=["length", "chunks"],
)
def test_endless_body_is_cut_off(api: httpx.Client, header: bytes, chunk: bytes) -> None:
    """After the response."""
    with connect(api) as connection:
        connection.sendall(HEAD + header)
        assert receive_response(connection).status_code == 200
        assert send_many(connection, chunk, 100_000_000) < 50_000_000
    assert is_live(api)


def test_incomplete_request_is_408(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slowly it arrives, on a new or a used connection."""
    monkeypatch.setattr(protocol, "_REQUEST_TIMEOUT", 0.3)
    with connect(api) as connection, connect(api) as other:
        other.sendall(REQUEST)
        assert receive_response(other).status_code == 200
        for byte in b"GET /":
            connection.sendall(bytes([byte]))
            time.sleep(0.02)
        other.sendall(b"GET /")
        for sock in (connection, other):
            assert list(error_reasons(parse_response(receive_all(sock)), 408)) == ["request"]


def test_idle_connection_is_closed_silently(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "_REQUEST_TIMEOUT", 0.3)
    with connect(api) as connection, connect(api) as blank:
        blank.sendall(REQUEST)
        assert receive_response(blank).status_code == 200
        blank.sendall(b"\r\n")
        assert (receive_all(connection), receive_all(blank)) == (b"", b"")


def test_incomplete_body_closes_the_connection_after_the_response(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "_REQUEST_TIMEOUT", 0.3)
    with connect(api) as connection:
        connection.sendall(HEAD + b"Content-Length: 5\r\n\r\nab")
        response = receive_all(connection)
    assert response.startswith(b"HTTP/1.1 200 ")
    assert response.count(b"HTTP/1.1") == 1


def test_used_connection_is_closed_after_the_keep_alive(unavailable: Settings) -> None:
    """As the setting has it."""
    with serve_api(unavailable.changed(web_keep_alive=1)) as client, connect(client) as connection:
        connection.sendall(REQUEST)
        assert receive_response(connection).status_code == 200
        assert connection.recv(1) == b""
    config = server.configure(unavailable.changed(web_keep_alive=130))
    assert config.timeout_keep_alive == 130


def test_number_of_pipelined_requests_is_bounded(api: httpx.Client) -> None:
    with connect(api) as connection:
        connection.sendall(REQUEST * protocol.MAX_PIPELINED + HEAD + b"Connection: close\r\n\r\n")
        assert receive_all(connection).count(b'{"status":"live"}') == protocol.MAX_PIPELINED + 1
    with connect(api) as connection:
        connection.sendall(REQUEST * 1000)
        assert protocol.MAX_PIPELINED < receive_all(connection).count(b'{"status":"live"}') < 1000
    assert is_live(api)


def test_garbage_after_a_request_does_not_affect_its_response(api: httpx.Client) -> None:
    with connect(api) as connection:
        connection.sendall(REQUEST + b"\x16\x03\x01\r\n\r\n")
        assert parse_response(receive_all(connection)).json() == {"status": "live"}


def test_client_that_does_not_read_is_disconnected(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """A slow reader is not."""
    monkeypatch.setattr(protocol, "_READ_TIMEOUT", 2.0)
    requests = (
        b"GET /page/swagger-ui.js HTTP/1.1\r\nHost: here\r\n\r\n" * 4
    )  # more than kernels keep
    whole = len(api.get("/page/swagger-ui.js", headers={"Accept-Encoding": "identity"}).content)
    with connect(api, 4096) as idle, connect(api) as slow:
        idle.sendall(requests)
        unread_until = time.monotonic() + 2 * protocol._READ_TIMEOUT
        slow.sendall(requests)
        got = 0
        while got < 4 * whole and (chunk := slow.recv(65_536)):
            got += len(chunk)
            time.sleep(0.01)
        assert got > 4 * whole
        time.sleep(max(0.0, unread_until - time.monotonic()))
        assert len(receive_all(idle)) < 4 * whole
    assert logged == []


@contextmanager
def lock_prices(settings: Settings) -> Iterator[None]:
    """Block every reader of prices."""
    with psycopg.connect(settings.database_dsn) as conn:
        conn.execute("LOCK TABLE prices IN ACCESS EXCLUSIVE MODE")
        yield


def test_locked_table_is_503_in_time(base: Settings, client: httpx.Client) -> None:
    with lock_prices(base):
        response = client.get(LAST)
    assert error_reasons(response, 503) == {"database": "does not respond"}
    assert response.elapsed.total_seconds() < 4


def test_request_has_a_deadline(
    base: Settings, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API serves the next request."""
    monkeypatch.setattr(endpoint, "RESPONSE_DEADLINE", 0.3)
    with lock_prices(base):
        response = client.get("/tickers")
    assert error_reasons(response, 503) == {"server": "did not respond within 0.3 seconds"}
    assert int(response.headers["retry-after"]) > 0
    assert client.get("/prices?ticker=btc_usd").status_code == 200


def test_stream_outlives_the_request_deadline(
    client: httpx.Client, writer: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "RESPONSE_DEADLINE", 0.5)
    with open_stream(client.base_url, "btc_usd") as stream:
        time.sleep(0.8)
        insert_minutes(writer, [minute_of(datetime.now(UTC))])
        assert [event.name for event in stream.take(1)] == ["price"]


def test_request_deadline_exceeds_every_database_deadline(
    base: Settings, client: httpx.Client
) -> None:
    """An outage of the database is reported as one, whatever the request does first.

    The longest request is an export of an index that is no longer configured: it looks the index
    up, connects, and waits for the first line.
    """
    assert (
        database.QUERY_DEADLINE + database.CONNECT_TIMEOUT + export.BEGIN_TIMEOUT
        < endpoint.RESPONSE_DEADLINE
    )
    with lock_prices(base):
        response = client.get("/prices/export?ticker=btc_usd")
    assert error_reasons(response, 503) == {"database": "does not respond"}


def test_protocol_matches_uvicorn_source() -> None:
    """protocol.py subclasses it: read it again after a change, and record the new hash."""
    assert uvicorn.__version__.startswith(server.TESTED_UVICORN)
    source = inspect.getsource(httptools_impl).encode()
    assert hashlib.sha256(source).hexdigest() == UVICORN_SOURCE


def test_untested_uvicorn_serves_without_limits(
    unavailable: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning is logged, and uvicorn's own protocol serves."""
    monkeypatch.setattr(uvicorn, "__version__", "9.0.0")
    with capture_log("WARNING", "{message}") as lines, serve_api(unavailable) as client:
        response = client.get("/health/live?" + "a" * protocol.MAX_ADDRESS)

    assert response.status_code == 422
    assert lines[0].startswith("requests are not limited in size or time: uvicorn 9.0.0")
