"""Proxies: which variable applies to which server, and values that cannot be used."""

import pytest

from tracker.errors import SettingsError
from tracker.proxies import Proxy, find_proxy

URL = "https://www.deribit.com/api/v2"
PROXY = "http://proxy.example.org:3128"


pytestmark = pytest.mark.usefixtures("no_proxies")


def test_no_variable_means_no_proxy() -> None:
    assert find_proxy(URL) is None


@pytest.mark.parametrize(
    ("variables", "url", "expected"),
    [
        ({"HTTPS_PROXY": PROXY}, URL, "HTTPS_PROXY"),
        ({"https_proxy": PROXY}, URL, "https_proxy"),
        ({"HTTPS_PROXY": "http://other", "https_proxy": PROXY}, URL, "https_proxy"),
        ({"HTTP_PROXY": PROXY}, URL, None),
        ({"HTTP_PROXY": PROXY}, "http://example.org", "HTTP_PROXY"),
        ({"HTTPS_PROXY": PROXY}, "http://example.org", None),
        ({"ALL_PROXY": PROXY}, URL, "ALL_PROXY"),
        ({"all_proxy": PROXY, "ALL_PROXY": "http://other"}, URL, "all_proxy"),
        ({"ALL_PROXY": "http://other", "HTTPS_PROXY": PROXY}, URL, "HTTPS_PROXY"),
        ({"HTTPS_PROXY": "", "ALL_PROXY": PROXY}, URL, "ALL_PROXY"),
    ],
)
def test_variable_of_the_scheme_applies(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, expected: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find_proxy(url) == (Proxy(expected, PROXY) if expected else None)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1.2.3", "[::1]", "localhost", "LOCALHOST", "localhost."]
)
@pytest.mark.parametrize("value", [PROXY, "no proxy", "socks5h://127.0.0.1:1"])
def test_loopback_is_direct(monkeypatch: pytest.MonkeyPatch, host: str, value: str) -> None:
    """Whatever the variables contain."""
    monkeypatch.setenv("ALL_PROXY", value)
    monkeypatch.setenv("http_proxy", value)
    assert find_proxy(f"http://{host}:8000/v1") is None


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("*", URL),
        ("www.deribit.com", URL),
        ("deribit.com", URL),
        (".deribit.com", URL),
        ("*.deribit.com", URL),
        ("WWW.Deribit.com.", URL),
        ("a.example , deribit.com", URL),
        ("a.example deribit.com", URL),
        ("deribit.com:443", URL),
        ("https://deribit.com", URL),
        ("10.0.0.0/8", "http://10.1.2.3"),
        ("10.1.2.3", "http://10.1.2.3"),
        ("10.1.2.3:8080", "http://10.1.2.3:8080"),
        ("fd00::/8", "http://[fd00::1]"),
        ("fd00::1", "http://[fd00::1]:8080"),
        ("[fd00::1]", "http://[fd00::1]"),
        ("[fd00::1]:8080", "http://[fd00::1]:8080"),
    ],
)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_excluded_server_is_direct(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, url: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", PROXY)
    monkeypatch.setenv(name, value)
    assert find_proxy(url) is None


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("", URL),
        (",,", URL),
        ("deribit.org", URL),
        ("ribit.com", URL),
        ("test.www.deribit.com", URL),
        ("deribit.com:80", URL),
        ("10.0.0.0/8", "http://11.1.2.3"),
        ("10.0.0.0/99", "http://10.1.2.3"),
        ("10.1.2.3:8080", "http://10.1.2.3"),
        ("fd00::/8", "http://10.1.2.3"),
        ("[", URL),
        ("::1/128", URL),
    ],
)
def test_other_servers_are_not_excluded(
    monkeypatch: pytest.MonkeyPatch, value: str, url: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", value)
    assert find_proxy(url) == Proxy("ALL_PROXY", PROXY)


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("proxy.example.org:3128", "http://proxy.example.org:3128"),
        ("socks5h://proxy", "socks5h://proxy"),
        ("http://me:a%20b@[fd00::1]:80/", "http://me:a%20b@[fd00::1]:80/"),
    ],
)
def test_usable_value_is_taken(monkeypatch: pytest.MonkeyPatch, value: str, url: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    assert find_proxy(URL) == Proxy("HTTPS_PROXY", url)


@pytest.mark.parametrize(
    "value",
    ["http://", "ftp://proxy", "socks4://proxy", "http://proxy:x", "http://proxy:0", "http://[::1",
     "://", "a b", "http://proxy:99999", "socks5h:proxy:1080"],
)  # fmt: skip
def test_unusable_value_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("https_proxy", value)
    with pytest.raises(SettingsError, match=r"^https_proxy: is not the URL of an http, ") as caught:
        find_proxy(URL)
    assert str(caught.value).endswith(f" (got {value!r})")


def test_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks4://me:p@ss@proxy:1080")
    with pytest.raises(SettingsError, match=r"got 'socks4://…@proxy:1080'"):
        find_proxy(URL)
