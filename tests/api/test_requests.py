"""Methods, targets and Host of requests, as RFC 9110 and RFC 9112 demand."""

import socket
from datetime import UTC, datetime
from http.client import HTTPResponse

import httpx
import psycopg
import pytest

from tests.support.api import error_reasons
from tests.support.database import insert_minutes

LIVE = "/health/live"
ALLOW = {"GET", "HEAD", "OPTIONS"}


def send(client: httpx.Client, text: str, method: str = "GET") -> httpx.Response:
    """The response to the head of a request, as it is written."""
    with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
        connection.settimeout(20)
        connection.sendall(f"{text}\r\n\r\n".encode("latin-1"))
        response = HTTPResponse(connection, method=method)
        response.begin()
        return httpx.Response(
            response.status, headers=response.getheaders(), content=response.read()
        )


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (f"GET {LIVE} HTTP/1.1", "is required"),
        (f"GET {LIVE} HTTP/1.1\r\nHost: a\r\nHost: a", "is given more than once"),
        (f"GET {LIVE} HTTP/1.1\r\nHost: a\r\nX: y\r\nhost: b", "is given more than once"),
        (f"GET {LIVE} HTTP/1.0\r\nHost: a\r\nHost: b", "is given more than once"),
        (f"GET http://a{LIVE} HTTP/1.1", "is required"),
        (f"POST {LIVE} HTTP/1.1", "is required"),
        *(
            (f"GET {LIVE} HTTP/1.1\r\nHost: {host}", "is not a host with or without a port")
            for host in ("a b", "a/b", "a:b", "u@a", "http://a", "[::1", "\xe9", "a:80:80")
        ),
    ],
)
def test_wrong_host_is_400(client: httpx.Client, head: str, reason: str) -> None:
    response = send(client, head)
    assert error_reasons(response, 400) == {"Host": reason}
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize(
    "head",
    [
        f"GET {LIVE} HTTP/1.0",
        f"GET {LIVE} HTTP/1.0\r\nHost: a",
        *(
            f"GET {LIVE} HTTP/1.1\r\nHost:{host}"
            for host in ("", " ", "a", " a:80", " A.b-c_d.example:", " [::1]:80", " 127.0.0.1")
        ),
        f"GET http://other.example{LIVE} HTTP/1.1\r\nHost: a",
    ],
)
def test_right_host_is_served(client: httpx.Client, head: str) -> None:
    """HTTP/1.0 needs none; an empty one is valid; that of the target takes precedence."""
    assert send(client, head).json() == {"status": "live"}


@pytest.mark.parametrize(
    ("target", "content"),
    [
        ("http://a", b"<!DOCTYPE html>"),
        ("http://a:80?x=/y", b"<!DOCTYPE html>"),
        ("HTTPS://a/v1/health/live", b'{"status":"live"}'),
        ("http://[::1]:80/health/live?", b'{"status":"live"}'),
    ],
)
def test_absolute_target_is_its_path(client: httpx.Client, target: str, content: bytes) -> None:
    response = send(client, f"GET {target} HTTP/1.1\r\nHost: b")
    assert response.status_code == 200
    assert response.content.startswith(content)


@pytest.mark.parametrize("method", ["BREW", "get", "Get", "X-Y", "G", "GETS"])
def test_unknown_method_is_501(client: httpx.Client, method: str) -> None:
    response = send(client, f"{method} {LIVE} HTTP/1.1\r\nHost: a")
    assert error_reasons(response, 501) == {"method": "is unknown; must be GET or HEAD"}


def test_unknown_method_is_501_however_it_arrives(client: httpx.Client) -> None:
    """After another request on the connection, and byte by byte."""
    with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
        connection.settimeout(20)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(f"HEAD {LIVE} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        first = HTTPResponse(connection, method="HEAD")
        first.begin()
        connection.sendall(b"B")
        connection.sendall(b"R")
        response = HTTPResponse(connection)
        response.begin()
    assert (first.status, response.status) == (200, 501)


@pytest.mark.parametrize("text", ["hello", "\x16\x03\x01", "G\xe9T / HTTP/1.1\r\nHost: a", "(x) /"])
def test_garbage_is_400(client: httpx.Client, text: str) -> None:
    assert error_reasons(send(client, text), 400) == {"request": "is not valid HTTP"}


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "PURGE"]
)
def test_other_method_is_405_with_the_allowed_ones(client: httpx.Client, method: str) -> None:
    for path in ("/v1/prices", "/health/live", "/", "/page/style.css"):
        response = send(client, f"{method} {path} HTTP/1.1\r\nHost: a", method)
        assert response.status_code == 405
        assert set(response.headers["allow"].split(", ")) == ALLOW
    assert send(client, f"{method} /nowhere HTTP/1.1\r\nHost: a").status_code == 404


@pytest.mark.parametrize("target", ["*", "/", "/v1/prices", "/prices/stream?ticker=btc_usd"])
def test_options_lists_the_methods(client: httpx.Client, target: str) -> None:
    """Of a path, or of the server."""
    response = send(client, f"OPTIONS {target} HTTP/1.1\r\nHost: a", "OPTIONS")
    assert (response.status_code, response.content) == (204, b"")
    assert set(response.headers["allow"].split(", ")) == ALLOW


def test_unknown_path_is_404_that_names_it(client: httpx.Client) -> None:
    """As it arrived: a proxy may have added or removed a prefix."""
    response = send(client, "OPTIONS /no%20where HTTP/1.1\r\nHost: a", "OPTIONS")
    assert error_reasons(response, 404) == {"path": "does not exist: '/no where'"}
    for path in ("/tracker/v1/prices", "/page/none.js"):
        assert error_reasons(client.get(path), 404) == {"path": f"does not exist: '{path}'"}


@pytest.mark.parametrize(
    "head", ["GET / HTTP/2.0\r\nHost: a", "GET / HTTP/3.0\r\nHost: a", "PRI * HTTP/2.0\r\n\r\nSM"]
)
def test_newer_version_is_505(client: httpx.Client, head: str) -> None:
    reasons = error_reasons(send(client, head), 505)
    assert reasons == {"version": "is not served; must be HTTP/1.1 or 1.0"}


def test_refused_head_has_the_headers_of_other_errors(client: httpx.Client) -> None:
    """A page of another origin may read why."""
    names = {"access-control-allow-origin", "access-control-expose-headers"}
    names |= {"x-content-type-options", "content-security-policy", "cross-origin-resource-policy"}
    other = client.get("/nowhere").headers
    for head in ("BREW / HTTP/1.1\r\nHost: a", "GET / HTTP/1.1", "GET / HTTP/2.0\r\nHost: a"):
        headers = send(client, f"{head}\r\nOrigin: https://b.example").headers
        assert {name: headers[name] for name in names} == {name: other[name] for name in names}


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/v1", "./v1/"),
        ("/v1?utm_source=x", "./v1/?utm_source=x"),
        ("/docs/", "../docs"),
        ("/v1/docs/", "../docs"),
        ("/problems/", "../problems"),
    ],
)
def test_page_is_found_with_and_without_a_slash(
    client: httpx.Client, path: str, location: str
) -> None:
    response = client.get(path)
    assert (response.status_code, response.headers["location"]) == (307, location)
    assert client.get(path, follow_redirects=True).headers["content-type"].startswith("text/html")


def test_http_1_0_gets_no_chunks(client: httpx.Client, writer: psycopg.Connection) -> None:
    """The end of the connection is that of a response whose length is unknown."""
    insert_minutes(writer, [datetime(2024, 1, 15, 12, tzinfo=UTC)])
    path = "/prices/export?ticker=btc_usd"
    plain = client.get(path).content
    for coding in ("identity", "gzip"):
        text = f"GET {path} HTTP/1.0\r\nAccept-Encoding: {coding}"
        response = send(client, text)
        assert "transfer-encoding" not in response.headers
        assert response.headers["connection"] == "close"
        assert response.content == plain
    head = send(client, f"HEAD {path} HTTP/1.0", "HEAD")
    assert not {"transfer-encoding", "content-length"} & set(head.headers)

    with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
        connection.settimeout(20)
        connection.sendall(b"GET /prices/stream?ticker=btc_usd HTTP/1.0\r\n\r\n")
        response = HTTPResponse(connection)
        response.begin()
        assert response.getheader("transfer-encoding") is None
        assert response.readline() == b"retry: 5000\n"


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/problems", "/page/style.css?v=2", "/v1/"],
)
def test_parameters_of_others_do_not_break_pages(client: httpx.Client, path: str) -> None:
    separator = "&" if "?" in path else "?"
    response = client.get(f"{path}{separator}utm_source=x&utm_source=y&fbclid=")
    assert response.status_code == 200
    assert response.content == client.get(path).content
