"""ops/nginx/tracker.conf: TLS, redirects and streams, by Debian's nginx before a real API."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from ops import debian
from ops.bench.processes import free_ports
from tests.support.database import insert_prices
from tests.support.debian import linked_command
from tests.support.waiting import current_minute, wait_until
from tracker.embedded.account import MINIMAL_ENVIRONMENT
from tracker.settings import CHECKOUT
from tracker.times import MINUTE

pytestmark = pytest.mark.slow

HOST = "tracker.example.org"
CERTIFICATES = f"/etc/letsencrypt/live/{HOST}"
MAIN = """\
daemon off;
master_process off;
pid {folder}/pid;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    scgi_temp_path {folder};
    uwsgi_temp_path {folder};
    include {folder}/tracker.conf;
}}
"""


def make_certificate(folder: Path) -> None:
    found = shutil.which("openssl")
    openssl = [found] if found else debian.linked_command("openssl-13", ["openssl"], "bin/openssl")
    key = ("-newkey", "rsa:2048", "-noenc", "-keyout", str(folder / "privkey.pem"))
    name = ("-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST},IP:127.0.0.1")
    words = ("req", "-x509", "-days", "2", *key, *name, "-out", str(folder / "fullchain.pem"))
    subprocess.run([*openssl, *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def proxies(
    client: httpx.Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Clients of the proxy by HTTP and by HTTPS; only addresses differ from the file."""
    folder = tmp_path_factory.mktemp("nginx")
    make_certificate(folder)
    plain, secure = free_ports(2)
    conf = (CHECKOUT / "ops/nginx/tracker.conf").read_text()
    lines = [line for line in conf.splitlines(keepends=True) if "listen [::]" not in line]
    for before, after in (
        ("listen 80;", f"listen 127.0.0.1:{plain};"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{secure} ssl;"),
        ("server 127.0.0.1:8000;", f"server 127.0.0.1:{client.base_url.port};"),
        (CERTIFICATES, str(folder)),
    ):
        assert any(before in line for line in lines)
        lines = [line.replace(before, after) for line in lines]
    (folder / "tracker.conf").write_text("".join(lines))
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder))
    words = ["-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    log = folder / "nginx.log"
    tls = ssl.create_default_context(cafile=folder / "fullchain.pem")
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            [*linked_command("nginx"), *words],
            env=MINIMAL_ENVIRONMENT,
            stdout=stream,
            stderr=stream,
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{plain}", timeout=20) as by_http,
        httpx.Client(base_url=f"https://127.0.0.1:{secure}", timeout=20, verify=tls) as by_https,
    ):
        try:
            wait_until(lambda: process.poll() is not None or responds(by_https))
            assert process.poll() is None, log.read_text()
            yield by_http, by_https
            assert "[warn]" not in log.read_text()
        finally:
            process.kill()


def responds(client: httpx.Client) -> bool:
    try:
        return client.get("/health/live").status_code == 200
    except httpx.TransportError:
        return False


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
        for number in range(2):
            minute = current_minute() - number * MINUTE
            insert_prices(writer, "btc_usd", {minute: f"{number}.50"})
            event = next(line for line in lines if line.startswith("data:"))
            assert f'"price":"{number}.50"' in event
