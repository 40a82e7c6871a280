"""The API as it runs in production: uvicorn in a thread, real sockets, real HTTP."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import httpx
import uvicorn

from tracker.settings import Settings
from tracker.web.server import configure
from tracker.web.stream.responses import DEFAULT_OPTIONS, StreamOptions

ANCHORS = {
    400: "malformed",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    408: "slow-request",
    414: "long-address",
    422: "invalid-parameter",
    429: "too-many-requests",
    431: "long-headers",
    500: "server-error",
    503: "unavailable",
}


def problem(answer: httpx.Response, status: int) -> dict[str, str]:
    """The reason for each culprit in *answer*, which is an error as RFC 9457 wants it."""
    body = answer.json()
    assert answer.status_code == body["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"] == body["request_id"]
    assert list(body) == ["type", "title", "status", "detail", "errors", "request_id"]
    assert body["type"] == f"/problems#{ANCHORS[status]}"
    assert body["title"] == HTTPStatus(status).phrase
    reasons = {error["name"]: error["reason"] for error in body["errors"]}
    assert len(reasons) == len(body["errors"]) > 0
    assert all(f"{name}: {why}" in body["detail"] for name, why in reasons.items())
    return reasons


def linked_url(answer: httpx.Response, rel: str = "next") -> str:
    """Where the link *rel* of *answer* leads, resolved as RFC 3986 says; empty without one."""
    link = answer.links.get(rel)
    return str(answer.url.join(link["url"])) if link else ""


@contextmanager
def served(
    settings: Settings,
    stream_options: StreamOptions = DEFAULT_OPTIONS,
    *,
    port: int = 0,
    cache: bool = True,
) -> Iterator[httpx.Client]:
    """A client of the API of *settings*, on a free port or on *port*.

    cache: whether concurrent requests may share a response.
    """
    with socket.create_server(("127.0.0.1", port)) as listener:
        server = uvicorn.Server(configure(settings, stream_options, cache=cache))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            assert thread.is_alive(), "uvicorn ended at once"
            time.sleep(0.01)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with httpx.Client(base_url=url, timeout=20) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()
