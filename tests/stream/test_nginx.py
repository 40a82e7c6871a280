"""ops/nginx/tracker.conf: TLS, redirects and streams, by Debian's nginx before a real API."""

import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime

import httpx
import psycopg
import pytest

from ops.bench.processes import free_ports
from tests.support.api import format_moment, serve_api
from tests.support.browser import chromium, open_page
from tests.support.certificates import make_certificates
from tests.support.database import insert_minutes, insert_prices, minutes_from
from tests.support.nginx import run_nginx
from tests.support.waiting import current_minute, wait_until
from tracker.settings import CHECKOUT, Settings
from tracker.times import MINUTE
from tracker.web.stream.responses import StreamOptions

pytestmark = pytest.mark.slow

OPTIONS = StreamOptions(heartbeat=0.1, retry=0.1)
FOLLOW = """
() => {
  window.received = [];
  window.errors = 0;
  window.source = new EventSource("prices/stream?ticker=btc_usd");
  for (const name of ["message", "ready", "price"])
    source.addEventListener(name, ({ type, data }) => received.push([type, JSON.parse(data)]));
  source.addEventListener("error", () => errors++);
}"""
HOST = "tracker.example.org"
CERTIFICATES = f"/etc/letsencrypt/live/{HOST}"


@pytest.fixture(scope="module")
def port() -> int:
    """The port of the API."""
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def proxies(
    base: Settings, port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Clients of the proxy by HTTP and by HTTPS; only addresses and paths differ from the file."""
    folder = tmp_path_factory.mktemp("nginx")
    certificates = make_certificates(folder, "127.0.0.1")
    plain, secure = free_ports(2)
    conf = (CHECKOUT / "ops/nginx/tracker.conf").read_text()
    lines = [line for line in conf.splitlines(keepends=True) if "listen [::]" not in line]
    for before, after in (
        ("retry: 5000", "retry: 100"),
        ("listen 80;", f"listen 127.0.0.1:{plain};"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{secure} ssl;"),
        ("server 127.0.0.1:8000;", f"server 127.0.0.1:{port};"),
        (f"{CERTIFICATES}/fullchain.pem", str(certificates.certificate)),
        (f"{CERTIFICATES}/privkey.pem", str(certificates.key)),
    ):
        assert any(before in line for line in lines)
        lines = [line.replace(before, after) for line in lines]
    tls = ssl.create_default_context(cafile=certificates.authority)
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{plain}", timeout=20) as by_http,
        httpx.Client(base_url=f"https://127.0.0.1:{secure}", timeout=20, verify=tls) as by_https,
        ExitStack() as first,
    ):
        first.enter_context(serve_api(base, port=port))
        with run_nginx(folder, "".join(lines), by_https) as log:
            first.close()
            yield by_http, by_https
            assert "[warn]" not in log.read_text()


@pytest.fixture
def api(base: Settings, port: int) -> Iterator[httpx.Client]:
    """The API behind it."""
    with serve_api(base, OPTIONS, port=port) as client:
        yield client


def test_http_is_redirected_to_https(proxies: tuple[httpx.Client, httpx.Client]) -> None:
    by_http, _ = proxies

    response = by_http.get("/v1/prices?ticker=btc_usd", headers={"Host": HOST})

    assert response.status_code == 301
    assert response.headers["location"] == f"https://{HOST}/v1/prices?ticker=btc_usd"


@pytest.mark.usefixtures("api")
def test_https_serves_the_api_without_its_metrics(
    proxies: tuple[httpx.Client, httpx.Client],
) -> None:
    _, by_https = proxies

    response = by_https.get("/v1/prices?ticker=btc_usd")

    assert response.status_code == 200
    assert response.headers["strict-transport-security"] == "max-age=31536000"
    assert by_https.get("/metrics").status_code == by_https.get("/v1/metrics").status_code == 404
    assert by_https.get("/").headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.usefixtures("api")
def test_events_arrive_as_they_are_sent(
    proxies: tuple[httpx.Client, httpx.Client], writer: psycopg.Connection
) -> None:
    _, by_https = proxies
    with by_https.stream("GET", "/prices/stream?ticker=btc_usd") as response:
        lines = response.iter_lines()
        newest = current_minute()
        for number in range(2):
            insert_prices(writer, "btc_usd", {newest - number * MINUTE: f"{number}.50"})
            event = next(line for line in lines if '"price":' in line)
            assert f'"price":"{number}.50"' in event


def test_browser_survives_a_restart_of_the_api(
    base: Settings,
    port: int,
    proxies: tuple[httpx.Client, httpx.Client],
    base_conn: psycopg.Connection,
) -> None:
    """Its EventSource receives each price once; while the API is down too, and no empty event."""
    _, by_https = proxies
    minutes = minutes_from(datetime(2024, 1, 15, 12, tzinfo=UTC), 5)
    with chromium() as browser, open_page(browser, ignore_https_errors=True) as monitored:
        page = monitored.page
        with serve_api(base, OPTIONS, port=port):
            page.goto(str(by_https.base_url.join("/docs")))
            page.evaluate(FOLLOW)
            wait_until(lambda: page.evaluate("received.length == 1"))
            insert_minutes(base_conn, minutes[:2])
            wait_until(lambda: page.evaluate("received.length == 3"))
        insert_minutes(base_conn, minutes[2:4])
        wait_until(lambda: page.evaluate("errors >= 3 && source.readyState != EventSource.CLOSED"))
        with serve_api(base, OPTIONS, port=port):
            insert_minutes(base_conn, minutes[4:])
            wait_until(
                lambda: page.evaluate("received.filter(([type]) => type == 'price').length == 5")
            )
            received = page.evaluate("received")

    assert {name for name, _ in received} == {"ready", "price"}
    shown = [data["created_at"] for name, data in received if name == "price"]
    assert shown == [format_moment(minute) for minute in minutes]
