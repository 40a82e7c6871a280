"""A wrong `--url` is named with the reason, in one line."""

import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from tests.support.commands import TIMEOUT, start_tracker

TLS_ALERT = b"\x15\x03\x01\x00\x02\x02\x46"  # how a TLS server refuses a plain request

pytestmark = pytest.mark.slow


@contextmanager
def serve(handler: type[socketserver.BaseRequestHandler]) -> Iterator[str]:
    """The host and port of a server with this *handler*."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Site(BaseHTTPRequestHandler):
    """A web site that redirects /moved; /deep and /broken are JSON, and it has no other path."""

    def do_GET(self) -> None:
        status, name, value, body = 404, "Content-Type", "text/html", b""
        match self.path.split("/")[1]:
            case "moved":
                status, name, value = 308, "Location", "https://example.org/api"
            case "deep":
                status, body = 200, b"[" * 100_000
            case "broken":
                status, name, value, body = 200, "Link", '<http://[::1>; rel="next"', b"[]"
        self.send_response(status)
        self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing is logged."""


class _TlsServer(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.recv(65536)
        self.request.sendall(TLS_ALERT)


def error_of(address: str, command: str = "last") -> str:
    """The line that a command writes, after its address."""
    with start_tracker(command, "btc_usd", "--url", address) as process:
        output, errors = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, output) == (1, "")
    assert errors.count("\n") == 1
    assert errors.startswith(f"tracker: {address}")
    return errors.removeprefix(f"tracker: {address}").strip()


def test_site_without_tracker_is_named() -> None:
    with serve(_Site) as host:
        assert error_of(f"http://{host}") == ": HTTP 404; this is not the API of a tracker"
        moved = error_of(f"http://{host}/moved")
    where = "which redirects to https://example.org/api"
    assert moved == f": HTTP 308, {where}; this is not the API of a tracker"


@pytest.mark.parametrize(("path", "command"), [("deep", "last"), ("broken", "prices")])
def test_other_json_is_named(path: str, command: str) -> None:
    """Too many levels for the parser, and a next page without an address."""
    with serve(_Site) as host:
        error = error_of(f"http://{host}/{path}", command)
    assert error == ": unexpected response; this is not the API of a tracker"


def test_mixed_up_tls_is_named() -> None:
    """In both directions."""
    with serve(_TlsServer) as host:
        assert error_of(f"http://{host}").endswith(
            "if it expects TLS, its address begins with https"
        )
    with serve(_Site) as host:
        error = error_of(f"https://{host}")
    assert error.startswith("is unavailable: it does not speak TLS (")
    assert error.endswith("a plain address begins with http:")


def test_unknown_name_is_named() -> None:
    error = error_of("http://tracker.invalid:8000/v1")
    assert error.startswith("is unavailable: the name tracker.invalid does not resolve (")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://a..b", "is not an http or https URL"),
        ("http://two words", "is not an http or https URL"),
        ("http://[::1", "is not an http or https URL"),
        ("http://:80", "is not an http or https URL"),
        ("http://a.b/v1?limit=2", "has a query or a fragment"),
    ],
)
def test_impossible_address_is_status_2(address: str, reason: str) -> None:
    with start_tracker("last", "--url", address) as process:
        errors = process.communicate(timeout=TIMEOUT)[1]
    assert process.returncode == 2
    assert f"{reason}: {address!r}" in errors


def test_login_is_not_repeated() -> None:
    with start_tracker("last", "--url", "http://me:secret@127.0.0.1:1") as process:
        errors = process.communicate(timeout=TIMEOUT)[1]
    assert errors.startswith("tracker: http://127.0.0.1:1 is unavailable: ")
