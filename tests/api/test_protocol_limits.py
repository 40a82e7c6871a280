"""Clients that send too much, too slowly, or do not read; and what browsers are told."""

import hashlib
import inspect
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psycopg
import pytest
import uvicorn
from loguru import logger
from uvicorn.protocols.http import httptools_impl

from tests.support.servers import make_settings
from tests.support.serving import problem, served
from tests.support.streaming import following
from tracker.settings import Settings
from tracker.web import database, endpoint, exports, protocol, server

HEAD = b"GET /health/live HTTP/1.1\r\nHost: here\r\n"
ASKED = HEAD + b"\r\n"
LAST = "/prices/last?ticker=btc_usd"
UVICORN_SOURCE = "1d4e1c579df4168433a61a01f10c628b31c1790e72dd9769d2b8633b22214033"
PATIENCE = 20.0  # seconds; machines are shared
MARKS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "cross-origin",
    "content-security-policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings that lead to no server."""
    nowhere = {"postgres_host": "127.0.0.1", "postgres_port": 1, "redis_host": "127.0.0.1"}
    return make_settings(tmp_path_factory.mktemp("home"), **nowhere)


@pytest.fixture(scope="module")
def lonely(alone: Settings) -> Iterator[httpx.Client]:
    """A client of an API without a database."""
    with served(alone) as client:
        yield client


@contextmanager
def dialled(client: httpx.Client, receive_buffer: int | None = None) -> Iterator[socket.socket]:
    """A connection to the API of *client*, byte by byte."""
    with socket.socket() as line:
        line.settimeout(PATIENCE)
        if receive_buffer:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        line.connect((client.base_url.host, client.base_url.port))
        yield line


def all_of(line: socket.socket) -> bytes:
    """What comes until the API hangs up."""
    pieces = []
    try:
        while piece := line.recv(65_536):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


def receive_response(line: socket.socket) -> httpx.Response:
    """The next response, whole: head and body may come one after the other."""
    received = b""
    while True:
        piece = line.recv(65_536)
        assert piece, "the API has hung up"
        received += piece
        if b"\r\n\r\n" in received:
            response = parsed(received)
            if len(response.content) >= int(response.headers["content-length"]):
                return response


def flood(line: socket.socket, piece: bytes, size: int) -> int:
    """How many bytes of *size* could be sent."""
    sent = 0
    try:
        while sent < size:
            line.sendall(piece)
            sent += len(piece)
    except (ConnectionResetError, BrokenPipeError):
        pass
    return sent


def parsed(answer: bytes) -> httpx.Response:
    """*answer* as httpx has it."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    pairs = [line.split(b": ", 1) for line in lines]
    return httpx.Response(int(status.split()[1]), headers=pairs, content=body)


@pytest.fixture
def told() -> Iterator[list[str]]:
    """Every error that is logged."""
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}", level="ERROR")
    yield lines
    logger.remove(sink)


def serves(client: httpx.Client) -> bool:
    """Whether others are still served."""
    return client.get("/health/live").status_code == 200


@pytest.mark.parametrize(("over", "status"), [(0, 422), (1, 414)])
def test_an_address_has_a_greatest_length(lonely: httpx.Client, over: int, status: int) -> None:
    """With path, query and the question mark."""
    path = "/health/live?a="
    answer = lonely.get(path + "a" * (protocol.MAX_ADDRESS - len(path) + over))

    assert problem(answer, status)


def test_an_address_without_end_is_414(lonely: httpx.Client) -> None:
    """The parser has a limit of its own, at 64 kB, and would say 400."""
    with dialled(lonely) as line:
        line.sendall(b"GET /" + b"a" * 200_000)
        assert problem(parsed(all_of(line)), 414) == {"address": "is longer than 8192 bytes"}
    assert serves(lonely)


@pytest.mark.parametrize(
    "headers", [b"X-One: " + b"a" * 33_000 + b"\r\n", b"X-Many: a\r\n" * 1000], ids=["long", "many"]
)
def test_headers_have_a_greatest_length(lonely: httpx.Client, headers: bytes) -> None:
    """Together; each takes some bytes beside its own."""
    with dialled(lonely) as line:
        line.sendall(HEAD + headers + b"\r\n")
        assert problem(parsed(all_of(line)), 431) == {"headers": "are longer than 32768 bytes"}
    assert lonely.get("/health/live", headers={"X-One": "a" * 30_000}).status_code == 200


@pytest.mark.parametrize("piece", [b"a" * 8192, b"X-A: b\r\n" * 1024], ids=["value", "lines"])
def test_headers_without_end_are_431(lonely: httpx.Client, piece: bytes) -> None:
    """Before they end; what still comes is thrown away until the client has read why."""
    with dialled(lonely) as line:
        line.sendall(HEAD + b"X-Begun: ")
        flood(line, piece, 1_000_000)
        assert problem(parsed(all_of(line)), 431)
    assert serves(lonely)


def test_a_small_body_is_ignored(lonely: httpx.Client) -> None:
    """And the connection goes on."""
    with dialled(lonely) as line:
        for _ in range(2):
            line.sendall(HEAD + b"Content-Length: 60000\r\n\r\n" + b"a" * 60_000)
            assert receive_response(line).status_code == 200


@pytest.mark.parametrize(
    ("header", "piece"),
    [
        (b"Content-Length: 99999999999\r\n\r\n", b"a" * 65_536),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"8000\r\n" + b"a" * 32_768 + b"\r\n"),
    ],
    ids=["length", "chunks"],
)
def test_a_body_without_end_is_cut_off(lonely: httpx.Client, header: bytes, piece: bytes) -> None:
    """What was asked is answered first."""
    with dialled(lonely) as line:
        line.sendall(HEAD + header)
        assert receive_response(line).status_code == 200
        assert flood(line, piece, 100_000_000) < 50_000_000
    assert serves(lonely)


def test_half_a_request_is_408(lonely: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slowly it trickles, and on a connection that has served one before."""
    monkeypatch.setattr(protocol, "_REQUEST_TIMEOUT", 0.3)
    with dialled(lonely) as line, dialled(lonely) as other:
        other.sendall(ASKED)
        assert receive_response(other).status_code == 200
        for byte in b"GET /":
            line.sendall(bytes([byte]))
            time.sleep(0.02)
        other.sendall(b"GET /")
        for each in (line, other):
            assert list(problem(parsed(all_of(each)), 408)) == ["request"]


def test_who_asks_nothing_is_left(lonely: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once or after an answer, silent or with blank lines: nothing is said."""
    monkeypatch.setattr(protocol, "_REQUEST_TIMEOUT", 0.3)
    with dialled(lonely) as line, dialled(lonely) as blank:
        blank.sendall(ASKED)
        assert receive_response(blank).status_code == 200
        blank.sendall(b"\r\n")
        assert (all_of(line), all_of(blank)) == (b"", b"")


def test_half_a_body_ends_the_connection(
    lonely: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked is answered."""
    monkeypatch.setattr(protocol, "_REQUEST_TIMEOUT", 0.3)
    with dialled(lonely) as line:
        line.sendall(HEAD + b"Content-Length: 5\r\n\r\nab")
        answer = all_of(line)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 1


def test_some_requests_may_be_sent_ahead(lonely: httpx.Client) -> None:
    """As RFC 9112 allows; not so many that they fill the memory."""
    with dialled(lonely) as line:
        line.sendall(ASKED * protocol.MAX_PIPELINED + HEAD + b"Connection: close\r\n\r\n")
        assert all_of(line).count(b'{"status":"live"}') == protocol.MAX_PIPELINED + 1
    with dialled(lonely) as line:
        line.sendall(ASKED * 1000)
        assert protocol.MAX_PIPELINED < all_of(line).count(b'{"status":"live"}') < 1000
    assert serves(lonely)


def test_what_is_no_request_follows_one(lonely: httpx.Client) -> None:
    """The one is answered, and nothing is written into its answer."""
    with dialled(lonely) as line:
        line.sendall(ASKED + b"\x16\x03\x01\r\n\r\n")
        assert parsed(all_of(line)).json() == {"status": "live"}


def test_what_is_not_http_is_told_so(lonely: httpx.Client) -> None:
    """As every error is."""
    with dialled(lonely) as line:
        line.sendall(b"\x16\x03\x01\r\n\r\n")
        answer = parsed(all_of(line))
    assert problem(answer, 400) == {"request": "is not valid HTTP"}
    assert {name: answer.headers[name] for name in MARKS} == MARKS | {
        "cross-origin-resource-policy": "same-origin"
    }


def test_who_reads_nothing_is_left(
    lonely: httpx.Client, monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    """And who reads slowly is not."""
    monkeypatch.setattr(protocol, "_READ_TIMEOUT", 0.5)
    asked = b"GET /page/swagger-ui.js HTTP/1.1\r\nHost: here\r\n\r\n" * 4  # more than kernels keep
    whole = len(lonely.get("/page/swagger-ui.js", headers={"Accept-Encoding": "identity"}).content)
    with dialled(lonely, 4096) as still, dialled(lonely) as slow:
        still.sendall(asked)
        slow.sendall(asked)
        got = 0
        while got < 4 * whole and (piece := slow.recv(65_536)):
            got += len(piece)
            time.sleep(0.01)
        assert got > 4 * whole
        assert len(all_of(still)) < 4 * whole
    assert told == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health/live", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/nowhere", 404),
        ("POST", "/prices", 405),
        ("GET", "/prices", 422),
        ("HEAD", "/prices", 422),
        ("GET", LAST, 503),
        ("GET", "/udf/history?symbol=x", 422),
    ],
)
def test_every_answer_is_guarded(lonely: httpx.Client, method: str, path: str, status: int) -> None:
    """Errors too; each header stands once."""
    answer = lonely.request(method, path)

    assert answer.status_code == status
    assert {name: answer.headers.get_list(name) for name in MARKS} == {
        name: [value] for name, value in MARKS.items()
    }


def test_pages_keep_their_own_policy(lonely: httpx.Client) -> None:
    """A page loads its scripts; the rest is the same."""
    for path in ("/", "/docs", "/page/style.css"):
        found = lonely.get(path).headers
        assert re.search("script-src 'self'", found["content-security-policy"])
        assert len(found.get_list("content-security-policy")) == 1
        assert {name: found[name] for name in list(MARKS)[:3]} == dict(list(MARKS.items())[:3])


def test_what_others_may_not_read_they_may_not_embed(alone: Settings) -> None:
    """Where not every origin may read it, an answer is no other page's picture or script."""
    with served(alone.changed(cors_origins="https://a.example")) as client:
        found = client.get("/health/live", headers={"Origin": "https://a.example"}).headers
    assert found["cross-origin-resource-policy"] == "same-origin"
    assert found["access-control-allow-origin"] == "https://a.example"


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """Whoever reads prices waits."""
    with psycopg.connect(settings.database_dsn) as conn:
        conn.execute("LOCK TABLE prices IN ACCESS EXCLUSIVE MODE")
        yield


def test_a_stream_and_an_unchanged_answer_are_guarded(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """Whatever way an answer takes."""
    writer.execute(
        "INSERT INTO tickers (ticker, since) VALUES ('btc_usd', date_trunc('minute', now()))"
    )
    stream = client.head("/prices/stream?ticker=btc_usd")
    known = client.get("/tickers").headers["etag"]
    unchanged = client.get("/tickers", headers={"If-None-Match": known})

    assert (stream.status_code, unchanged.status_code) == (200, 304)
    for answer in (stream, unchanged):
        assert {name: answer.headers[name] for name in MARKS} == MARKS


def test_the_database_has_a_deadline(base: Settings, client: httpx.Client) -> None:
    """However it comes that it does not answer."""
    with locked(base):
        answer = client.get(LAST)
    assert problem(answer, 503) == {"database": "does not respond"}
    assert answer.elapsed.total_seconds() < 4


def test_every_answer_has_a_deadline(
    base: Settings, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, and nothing of it is left: the next one is served."""
    monkeypatch.setattr(endpoint, "RESPONSE_DEADLINE", 0.3)
    with locked(base):
        answer = client.get("/tickers")
    assert problem(answer, 503) == {"server": "did not respond within 0.3 seconds"}
    assert int(answer.headers["retry-after"]) > 0
    assert client.get("/prices?ticker=btc_usd").status_code == 200


def test_what_has_begun_may_last(
    client: httpx.Client, writer: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream outlives the deadline of its beginning."""
    monkeypatch.setattr(endpoint, "RESPONSE_DEADLINE", 0.5)
    with following(client.base_url, "btc_usd") as stream:
        time.sleep(0.8)
        writer.execute(
            "INSERT INTO prices (ticker, price, created_at)"
            " VALUES ('btc_usd', 1.50, date_trunc('minute', now()))"
        )
        assert [event.name for event in stream.take(1)] == ["price"]


def test_request_deadline_exceeds_every_database_deadline(
    base: Settings, client: httpx.Client
) -> None:
    """An outage of the database is reported as one, whatever the request does first.

    The longest request: an export of an index that is tracked no more looks it up, connects, and
    waits for its first line.
    """
    assert (
        database.QUERY_DEADLINE + database.CONNECT_TIMEOUT + exports.BEGIN_TIMEOUT
        < endpoint.RESPONSE_DEADLINE
    )
    with locked(base):
        answer = client.get("/prices/export?ticker=btc_usd")
    assert problem(answer, 503) == {"database": "does not respond"}


def test_internals_of_uvicorn_are_those_that_were_tested() -> None:
    """protocol.py subclasses them: after a change, read it again, and record the new source."""
    assert uvicorn.__version__.startswith(server.TESTED_UVICORN)
    source = inspect.getsource(httptools_impl).encode()
    assert hashlib.sha256(source).hexdigest() == UVICORN_SOURCE


def test_untested_uvicorn_serves_without_limits(
    alone: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a warning, and with uvicorn's own protocol."""
    monkeypatch.setattr(uvicorn, "__version__", "9.0.0")
    warnings: list[str] = []
    sink = logger.add(warnings.append, format="{message}", level="WARNING")
    with served(alone) as client:
        response = client.get("/health/live?" + "a" * protocol.MAX_ADDRESS)
    logger.remove(sink)

    assert response.status_code == 422
    assert warnings[0].startswith("requests are not limited in size or time: uvicorn 9.0.0")
