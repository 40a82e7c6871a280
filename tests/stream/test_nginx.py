"""ops/nginx/tracker.conf: TLS, redirects and streams, by Debian's nginx before a real API."""

import ssl
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from ops.bench.processes import free_ports
from tests.support.certificates import make_certificates
from tests.support.database import insert_prices
from tests.support.nginx import run_nginx
from tests.support.waiting import current_minute
from tracker.settings import CHECKOUT
from tracker.times import MINUTE

pytestmark = pytest.mark.slow

HOST = "tracker.example.org"
CERTIFICATES = f"/etc/letsencrypt/live/{HOST}"


@pytest.fixture(scope="module")
def proxies(
    client: httpx.Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Clients of the proxy by HTTP and by HTTPS; only addresses and paths differ from the file."""
    folder = tmp_path_factory.mktemp("nginx")
    certificates = make_certificates(folder, "127.0.0.1")
    plain, secure = free_ports(2)
    conf = (CHECKOUT / "ops/nginx/tracker.conf").read_text()
    lines = [line for line in conf.splitlines(keepends=True) if "listen [::]" not in line]
    for before, after in (
        ("listen 80;", f"listen 127.0.0.1:{plain};"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{secure} ssl;"),
        ("server 127.0.0.1:8000;", f"server 127.0.0.1:{client.base_url.port};"),
        (f"{CERTIFICATES}/fullchain.pem", str(certificates.certificate)),
        (f"{CERTIFICATES}/privkey.pem", str(certificates.key)),
    ):
        assert any(before in line for line in lines)
        lines = [line.replace(before, after) for line in lines]
    tls = ssl.create_default_context(cafile=certificates.authority)
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{plain}", timeout=20) as by_http,
        httpx.Client(base_url=f"https://127.0.0.1:{secure}", timeout=20, verify=tls) as by_https,
        run_nginx(folder, "".join(lines), by_https) as log,
    ):
        yield by_http, by_https
        assert "[warn]" not in log.read_text()


def test_http_is_redirected_to_https(proxies: tuple[httpx.Client, httpx.Client]) -> None:
    by_http, _ = proxies

    response = by_http.get("/v1/prices?ticker=btc_usd", headers={"Host": HOST})

    assert response.status_code == 301
    assert response.headers["location"] == f"https://{HOST}/v1/prices?ticker=btc_usd"


def test_https_serves_the_api_without_its_metrics(
    proxies: tuple[httpx.Client, httpx.Client],
) -> None:
    _, by_https = proxies

    response = by_https.get("/v1/prices?ticker=btc_usd")

    assert response.status_code == 200
    assert response.headers["strict-transport-security"] == "max-age=31536000"
    assert by_https.get("/metrics").status_code == by_https.get("/v1/metrics").status_code == 404
    assert by_https.get("/").headers["content-type"] == "text/html; charset=utf-8"


def test_events_arrive_as_they_are_sent(
    proxies: tuple[httpx.Client, httpx.Client], writer: psycopg.Connection
) -> None:
    _, by_https = proxies
    with by_https.stream("GET", "/prices/stream?ticker=btc_usd") as response:
        lines = response.iter_lines()
        newest = current_minute()
        for number in range(2):
            insert_prices(writer, "btc_usd", {newest - number * MINUTE: f"{number}.50"})
            event = next(line for line in lines if line.startswith("data:"))
            assert f'"price":"{number}.50"' in event
