"""Proxies of HTTP clients, from the variables that curl and other programs read.

HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in upper or lower case, which takes precedence.
httpx reads them too, but sends loopback traffic through a proxy, raises other errors for each kind
of invalid URL, and knows no networks in NO_PROXY.
"""

import os
import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from tracker.errors import SettingsError, describe

if TYPE_CHECKING:
    import ssl

    import httpx

T = TypeVar("T", "httpx.HTTPTransport", "httpx.AsyncHTTPTransport")

_SCHEMES = {"http", "https", "socks5", "socks5h"}  # that httpx supports
_PORTS = {"http": 80, "https": 443}


class Proxy(NamedTuple):
    """A proxy; variable: where its URL is from."""

    variable: str
    url: str


def make_transports(
    transport: Callable[..., T], url: str, *, redirects: bool = False, **options: Any
) -> dict[str, Any]:
    """Arguments for a client of the server at *url*.

    transport: httpx' class, made with *options*.
    redirects: whether the client follows them, perhaps to another scheme. Without, certificates are
        loaded only if there is TLS: that takes longer than a request.

    Raises SettingsError with the variable of a proxy or of certificates that cannot be used.
    """
    proxies: dict[str, Proxy | None] = {scheme: find_proxy(url, scheme) for scheme in _PORTS}
    urls = (url, *(proxy.url for proxy in proxies.values() if proxy))
    has_tls = redirects or any(urlsplit(each).scheme == "https" for each in urls)
    certificates = _load_certificates() if has_tls else _trust_nobody()

    def make(scheme: str) -> T:
        proxy = proxies[scheme]
        return transport(verify=certificates, proxy=proxy and proxy.url, **options)

    return {"transport": make("https"), "mounts": {"http://": make("http")}}


def find_proxy(url: str, scheme: str = "") -> Proxy | None:
    """The proxy for requests to *url*; None for a direct connection, which the loopback always has.

    scheme: http or https instead of that of *url*. Raises SettingsError with the variable whose
    value is not the URL of a proxy.
    """
    parts = urlsplit(url)
    scheme, host = scheme or parts.scheme, parts.hostname or ""
    if is_loopback(host) or _is_excluded(host, parts.port or _PORTS[scheme]):
        return None
    for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"):
        if value := os.environ.get(name, "").strip():
            return Proxy(name, _check_url(name, value))
    return None


def _trust_nobody() -> "ssl.SSLContext":
    import ssl  # noqa: PLC0415 -- httpx imports it, and find_proxy needs neither

    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _load_certificates() -> "ssl.SSLContext":
    import httpx  # noqa: PLC0415 -- a slow import, which find_proxy does not need

    try:
        return httpx.create_ssl_context()
    except OSError as error:  # also ssl.SSLError
        name = "SSL_CERT_FILE" if os.environ.get("SSL_CERT_FILE") else "SSL_CERT_DIR"
        value = os.environ.get(name)
        raise SettingsError(f"{name}: {describe(error)} (got {value!r})") from None


def _check_url(name: str, value: str) -> str:
    """The URL of a proxy, http by default. Raises SettingsError."""
    url = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an invalid port or IPv6 address
        is_valid = False
    if not is_valid or re.search(r"\s", url):
        shown = re.sub("//.*@", "//…@", value)  # it may contain a password
        raise SettingsError(
            f"{name}: is not the URL of an http, https, socks5 or socks5h proxy, such as"
            f" http://proxy.example.org:3128 (got {shown!r})"
        )
    return url


def is_loopback(host: str) -> bool:
    """Whether *host* is localhost or one of the addresses 127.0.0.0/8 and ::1."""
    if host.rstrip(".") == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_excluded(host: str, port: int) -> bool:
    """Whether NO_PROXY has *host*: by name, as a subdomain, by address or network, or as `*`."""
    value = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    return any(_matches(entry, host, port) for entry in re.split(r"[\s,]+", value) if entry)


def _matches(entry: str, host: str, port: int) -> bool:
    entry = entry.lower().rpartition("://")[2].rstrip(".")
    if entry == "*":
        return True
    if with_port := re.fullmatch(r"(\[.*\]|[^:]*):([0-9]+)", entry):
        entry = with_port[1]
        if int(with_port[2]) != port:
            return False
    try:
        return ip_address(host) in ip_network(entry.strip("[]"), strict=False)
    except ValueError:  # one of them is a name
        name = entry.removeprefix("*").removeprefix(".")
        return f".{host.rstrip('.')}".endswith(f".{name}")
