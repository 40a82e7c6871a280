"""Clients behind a proxy: the exchange's, the API's and the commands'."""

import os
from collections.abc import Iterator

import httpx
import pytest

from tests.support.api import serve_api
from tests.support.commands import run_command, start_tracker
from tests.support.proxy import LocalProxy, run_proxy
from tracker.client import Client
from tracker.errors import SettingsError, Unreachable
from tracker.recorder.deribit import DeribitClient
from tracker.settings import Settings
from tracker.simulator import Options, Simulator, running_simulator

pytestmark = pytest.mark.usefixtures("no_proxies")

DEAD = "http://127.0.0.1:9"
URL = "http://exchange.invalid/api/v2"  # only a proxy leads to it


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulator]:
    """A simulated exchange."""
    with running_simulator(Options(seed=5)) as served:
        yield served


@pytest.fixture
def proxy(exchange: Simulator) -> Iterator[LocalProxy]:
    """A proxy that leads to it."""
    with run_proxy(exchange.port) as proxy:
        yield proxy


@pytest.mark.parametrize("value", [DEAD, "socks5h://127.0.0.1:9", "nonsense://"])
@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_loopback_never_goes_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, exchange: Simulator, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    for host in ("127.0.0.1", "localhost"):
        with DeribitClient(f"http://{host}:{exchange.port}/api/v2") as client:
            assert client.fetch_price("btc_usd", 5).ticker == "btc_usd"


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
def test_exchange_is_reached_through_the_proxy(
    monkeypatch: pytest.MonkeyPatch, proxy: LocalProxy, scheme: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:{proxy.port}")
    with DeribitClient(URL) as client:
        assert client.fetch_price("btc_usd", 5).ticker == "btc_usd"
    [target] = proxy.targets
    assert "exchange.invalid" in target


def test_excluded_exchange_is_not_reached_through_the_proxy(
    monkeypatch: pytest.MonkeyPatch, proxy: LocalProxy
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{proxy.port}")
    monkeypatch.setenv("no_proxy", "invalid")
    with DeribitClient(URL) as client, pytest.raises(Unreachable, match=r"^exchange\.invalid: "):
        client.fetch_time()
    assert proxy.targets == []


def test_dead_proxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", DEAD)
    expected = r"^exchange\.invalid through HTTP_PROXY: "
    with DeribitClient(URL) as client, pytest.raises(Unreachable, match=expected):
        client.fetch_time()


def test_client_of_the_api_follows_the_variables(
    monkeypatch: pytest.MonkeyPatch, base: Settings
) -> None:
    with serve_api(base) as api:
        port = api.base_url.port or 0
        with run_proxy(port) as proxy:
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
            with Client(f"http://127.0.0.1:{port}/v1") as client:
                assert [each.ticker for each in client.tickers()] == ["btc_usd", "eth_usd"]
            assert proxy.targets == []
            with Client("http://tracker.invalid/v1") as client:
                assert [each.ticker for each in client.tickers()] == ["btc_usd", "eth_usd"]
            assert len(proxy.targets) == 1


def test_explicit_options_take_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "nonsense://")
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=[]))
    with Client("http://tracker.invalid", transport=transport) as client:
        assert client.tickers() == []
    with pytest.raises(SettingsError, match=r"^ALL_PROXY: "):
        Client("http://tracker.invalid")


@pytest.mark.parametrize(
    "words",
    [("worker",), ("check-exchange",), ("backfill",), ("last", "--url", "http://tracker.invalid")],
)
def test_unusable_proxy_is_one_line(servers: Settings, words: tuple[str, ...]) -> None:
    settings = servers.changed(client_base_url=URL)
    env = {**settings.environment(), "http_proxy": "socks4://proxy.invalid:1"}
    with start_tracker(*words, env=env) as process:
        _, errors = process.communicate(timeout=60)

    assert process.returncode == 1
    assert errors.startswith("tracker: http_proxy: is not the URL of an http, https, socks5 ")
    assert errors.count("\n") == 1


def test_command_names_a_dead_proxy(monkeypatch: pytest.MonkeyPatch, servers: Settings) -> None:
    monkeypatch.setenv("ALL_PROXY", DEAD)
    status, _, errors = run_command(servers, "last", "--url", "http://tracker.invalid")
    assert status == 1
    assert errors.startswith("tracker: http://tracker.invalid through ALL_PROXY is unavailable: ")


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_unusable_certificates_are_named(
    monkeypatch: pytest.MonkeyPatch, exchange: Simulator, name: str
) -> None:
    """httpx reads a folder when it verifies the first certificate, and a file at once."""
    monkeypatch.setenv(name, "/nowhere/at-all")
    if name == "SSL_CERT_DIR":
        DeribitClient(exchange.url).__exit__()
        return
    with pytest.raises(SettingsError, match=r"^SSL_CERT_FILE: .* \(got '/nowhere/at-all'\)$"):
        DeribitClient(exchange.url)


def test_environment_is_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Child processes, such as apt, still have the variables."""
    monkeypatch.setenv("HTTPS_PROXY", DEAD)
    assert Settings.load().environment()["HTTPS_PROXY"] == os.environ["HTTPS_PROXY"] == DEAD
