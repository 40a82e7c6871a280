"""What is not understood, not there, or our own fault: one shape of answer, and nothing leaks."""

import re
import socket
from collections.abc import Iterator

import httpx
import psycopg
import pytest
from loguru import logger

from tests.support.servers import fresh_database
from tests.support.serving import problem, served
from tracker.settings import Settings

PATHS = ["/prices", "/prices/last", "/prices/filtered", "/health/live", "/health/ready"]
PATHS += ["/metrics", "/openapi.json", "/docs", "/", "/page/swagger-ui.css", "/problems"]
PAGE = "/prices?ticker=btc_usd"
HEX = re.compile("[0-9a-f]{32}")


@pytest.fixture(scope="module")
def client(migrated: Settings) -> Iterator[httpx.Client]:
    """A client of the API."""
    with served(migrated) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "culprits"),
    [
        ("/prices", ["ticker"]),
        ("/prices/last", ["ticker"]),
        ("/prices/filtered", ["date", "ticker"]),
        ("/v1/prices/filtered?date=x", ["date", "ticker"]),
        ("/prices?ticker=", ["ticker"]),
        ("/prices?ticker", ["ticker"]),
        ("/prices?ticker=doge_usd", ["ticker"]),
        ("/prices?ticker=BTC_USD", ["ticker"]),
        ("/prices?ticker=btc_usd%00", ["ticker"]),
        ("/prices?ticker=btc_usd%ff", ["ticker"]),
        ("/prices?ticker=btc_usd%zz", ["ticker"]),
        ("/prices?ticker=btc_usd%", ["ticker"]),
        ("/prices?ticker=btc_usd+", ["ticker"]),
        ("/prices?ticker=%27%3B+DROP+TABLE+prices", ["ticker"]),
        (f"/prices?ticker={'a' * 7_000}_usd", ["ticker"]),
        (f"/prices?{'a' * 7_000}=1", ["a" * 60 + "\u2026", "ticker"]),
        ("/prices?ticker=btc_usd&ticker=btc_usd", ["ticker"]),
        (PAGE + "&Limit=5", ["Limit"]),
        (PAGE + "&date=2024-01-15", ["date"]),
        (PAGE + "&", []),
        (PAGE + "&=", [""]),
        (PAGE + "&%00=1", ["\N{REPLACEMENT CHARACTER}"]),
        (PAGE + "&limit=5&limit=5&x=1&x=2&start_date=never", ["limit", "start_date", "x"]),
        *[(f"{PAGE}&limit={limit}", ["limit"]) for limit in ("", 0, 1001, 1.5, -1, "1e3", "%2B5")],
        *[(f"{PAGE}&limit={limit}", ["limit"]) for limit in ("%D9%A5", "5%00", "9" * 7_000)],
        *[(f"{PAGE}&start_date={date}", ["start_date"]) for date in ("", "%00", "%ff", "now")],
        *[(f"{path}?verbose=1", ["verbose"]) for path in PATHS[3:]],
    ],
)
def test_what_is_not_understood_is_422(
    client: httpx.Client, path: str, culprits: list[str]
) -> None:
    """Missing, malformed, repeated, unknown, blank: each culprit is named, and none else."""
    answer = client.get(path)

    assert sorted(problem(answer, 422) if culprits else []) == culprits
    assert answer.status_code == (422 if culprits else 200)
    assert not culprits or len(answer.content) < 2000


@pytest.mark.parametrize(
    "line",
    [b"GET /\xff HTTP/1.1", b"GET /prices?ticker=\xff HTTP/1.1", b"BREW / HTTP/1.1", b"\x16\x03"],
)
def test_what_is_not_http_is_400(client: httpx.Client, line: bytes) -> None:
    """It never reaches us: uvicorn answers in plain text, and the next request is served."""
    assert raw(client, line) == b"HTTP/1.1 400 Bad Request\r\n"
    assert client.get(PAGE).status_code == 200


def raw(client: httpx.Client, line: bytes) -> bytes:
    """The first line of the answer to a request line that is sent as it stands."""
    address = (client.base_url.host, client.base_url.port or 0)
    with socket.create_connection(address, timeout=20) as line_out, line_out.makefile("rb") as back:
        line_out.sendall(line + b"\r\nHost: here\r\nConnection: close\r\n\r\n")
        return back.readline()


@pytest.mark.parametrize(
    "path",
    [
        "/page",
        "/prices//last",
        "/prices/",
        "/prices/btc_usd",
        "/PRICES",
        "/v1",
        "/v2/prices",
        "/%00",
    ],
)
def test_a_path_that_is_not_there_is_404(client: httpx.Client, path: str) -> None:
    """No redirect, no guess."""
    assert problem(client.get(path), 404) == {"path": "does not exist"}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", PATHS)
def test_another_method_is_405(client: httpx.Client, path: str, method: str) -> None:
    """It says which there are."""
    answer = client.request(method, path)

    assert problem(answer, 405) == {"method": "must be GET or HEAD"}
    assert sorted(answer.headers["allow"].split(", ")) == ["GET", "HEAD"]


@pytest.mark.parametrize("path", [PAGE, "/prices", "/nowhere", *PATHS[3:5], *PATHS[6:]])
def test_head_is_get_without_the_body(client: httpx.Client, path: str) -> None:
    """The same status and headers."""
    head, get = client.head(path), client.get(path)

    assert head.content == b""
    assert head.status_code == get.status_code
    same = ("content-type", "content-length", "cache-control")
    assert [head.headers.get(name) for name in same] == [get.headers.get(name) for name in same]


@pytest.mark.parametrize("path", [PAGE, "/prices", "/nowhere", "/health/live"])
def test_a_request_has_an_id(client: httpx.Client, path: str) -> None:
    """The client's own, if it is short and plain; otherwise a new one each time."""
    given = client.get(path, headers={"X-Request-ID": "a.B-9_" + "x" * 58})
    assert given.headers["x-request-id"] == "a.B-9_" + "x" * 58

    odd = [b"", b"a b", b"a" * 65, b"a\xe9", b'a"', b"<script>", b"a\tb"]
    made = [client.get(path, headers=[(b"X-Request-ID", each)]) for each in odd]
    made += [client.get(path), client.get(path)]
    ids = [answer.headers["x-request-id"] for answer in made]
    assert all(HEX.fullmatch(each) for each in ids)
    assert len(set(ids)) == len(ids)


def test_an_error_of_ours_leaks_nothing(servers: Settings) -> None:
    """The client learns the request's id, under which the log has the reason."""
    with fresh_database(servers) as broken, psycopg.connect(broken.database_dsn) as conn:
        conn.execute(
            "CREATE VIEW prices AS SELECT id, 'secret' AS ticker, now() AS created_at,"
            " 1.50 / (id - id) AS price FROM (SELECT 1 AS id) AS one"
        )
        conn.commit()
        told: list[str] = []
        sink = logger.add(told.append, format="{extra[request_id]} {message}", level="ERROR")
        with served(broken.changed(cors_origins="*")) as client:
            answers = [client.get("/prices/last?ticker=btc_usd") for _ in range(3)]
            alive = client.get("/health/live")
            counted = client.get("/metrics").text
        logger.remove(sink)

    assert [problem(answer, 500) for answer in answers] == [{"server": "an internal error"}] * 3
    assert not re.search("division|SELECT|psycopg|Traceback|secret", answers[0].text, re.IGNORECASE)
    assert alive.status_code == 200
    assert 'tracker_http_requests_total{endpoint="last",method="GET",status="500"} 3.0' in counted
    assert answers[0].headers["access-control-allow-origin"] == "*"
    assert answers[0].headers["x-content-type-options"] == "nosniff"
    assert answers[0].headers["content-security-policy"].startswith("default-src 'none'")
    for answer, line in zip(answers, told, strict=True):
        assert line.startswith(f"{answer.headers['x-request-id']} a request failed")
        assert "division by zero" in line
