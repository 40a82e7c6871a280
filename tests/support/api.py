"""The API over real HTTP: served by uvicorn in a thread or as a process of its own."""

import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http import HTTPStatus
from typing import Any

import httpx
import uvicorn
from prometheus_client.parser import text_string_to_metric_families

from ops.bench.processes import free_ports
from tests.support.waiting import wait_until
from tracker.settings import Settings
from tracker.web.server import configure
from tracker.web.stream.responses import DEFAULT_OPTIONS, StreamOptions

ANCHORS = {
    400: "malformed",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    408: "slow-request",
    412: "precondition-failed",
    414: "long-address",
    422: "invalid-parameter",
    429: "too-many-requests",
    431: "long-headers",
    500: "server-error",
    501: "unknown-method",
    503: "unavailable",
    505: "http-version",
}
TITLES = {414: "URI Too Long", 422: "Unprocessable Content"}  # of RFC 9110; Python's from 3.13 on

Metrics = dict[tuple[str, ...], float]


@contextmanager
def serve_api(
    settings: Settings,
    stream_options: StreamOptions = DEFAULT_OPTIONS,
    *,
    port: int = 0,
    cache: bool = True,
) -> Iterator[httpx.Client]:
    """A client of the API with *settings*, served by a thread on a free port or on *port*.

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


@contextmanager
def run_web(settings: Settings) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """Run `tracker web` on a free port, with a client, from its first response on."""
    [port] = free_ports(1)
    env = settings.changed(web_port=port).environment()
    command = [sys.executable, "-m", "tracker", "web"]
    with (
        subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client,
    ):
        try:
            wait_until(lambda: fetch_status(client, "/health/live") == 200)
            yield process, client
        finally:
            process.kill()


def fetch_status(client: httpx.Client, path: str) -> int | None:
    """The status of the response to GET *path*; None while nothing listens."""
    try:
        return client.get(path).status_code
    except httpx.TransportError:
        return None


def get_json(client: httpx.Client, path: str, **params: Any) -> Any:
    """The body of a successful response."""
    response = client.get(path, params=params)
    assert response.status_code == 200, response.text
    return response.json()


def service_parts(client: httpx.Client) -> dict[str, dict[str, str]]:
    """The parts of /health/state by name: state and words."""
    parts = get_json(client, "/health/state")["parts"]
    return {part["name"]: {"state": part["state"], "words": part["words"]} for part in parts}


def follow_links(client: httpx.Client, path: str, rel: str = "next") -> list[list[dict[str, Any]]]:
    """The rows of each page from *path* on, through its links of *rel*."""
    pages, url = [], path
    while url:
        response = client.get(url)
        assert response.status_code == 200, response.text
        pages.append(response.json())
        url = linked_url(response, rel)
    return pages


def linked_url(response: httpx.Response, rel: str = "next") -> str:
    """The URL of the link *rel*, resolved against that of *response*; empty without one."""
    link = response.links.get(rel)
    return str(response.url.join(link["url"])) if link else ""


def error_reasons(response: httpx.Response, status: int) -> dict[str, str]:
    """The reason for each parameter in *response*, which must be an error as of RFC 9457."""
    body = response.json()
    assert response.status_code == body["status"] == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-request-id"] == body["request_id"]
    assert list(body) == ["type", "title", "status", "detail", "errors", "request_id"]
    assert re.fullmatch(rf"(\.\./)*problems#{ANCHORS[status]}", body["type"])
    assert body["title"] == TITLES.get(status, HTTPStatus(status).phrase)
    reasons = {error["name"]: error["reason"] for error in body["errors"]}
    assert len(reasons) == len(body["errors"]) > 0
    assert all(f"{name}: {reason}" in body["detail"] for name, reason in reasons.items())
    return reasons


def format_moment(moment: datetime) -> str:
    """A moment in the format of the API."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def read_metrics(url: httpx.URL | str) -> Metrics:
    """Each sample at *url* by its name and the sorted values of its labels; empty without one."""
    try:
        text = httpx.get(url, verify=False).text
    except httpx.TransportError:
        return {}
    samples = (s for family in text_string_to_metric_families(text) for s in family.samples)
    return {
        (sample.name, *dict(sorted(sample.labels.items())).values()): sample.value
        for sample in samples
    }


def read_metric(client: httpx.Client, *key: str) -> float:
    """The sample of the API with that name and label values."""
    return read_metrics(client.base_url.join("/metrics"))[key]
