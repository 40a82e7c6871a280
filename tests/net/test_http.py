"""Every path and parameter of the API, as an outsider sees it, against the recordings."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.net import cases_prices, cases_protocol, cases_series
from tests.net.cases_protocol import FOLLOWED, LONG, PRICES, RAW, VARIANTS
from tests.net.product import Product, Web
from tests.net.recordings import TEXT, check
from tests.net.requests import (
    COMMON,
    Case,
    common_headers,
    get,
    observe,
    observe_all,
    send,
    send_raw,
)

pytestmark = pytest.mark.slow

GROUPS: dict[str, Callable[[], list[Case]]] = {
    "ticker": cases_prices.ticker_cases,
    "formats": cases_prices.format_cases,
    "pages": cases_prices.page_cases,
    "moments": cases_prices.moment_cases,
    "snapshots": cases_prices.snapshot_cases,
    "exports": cases_prices.export_cases,
    "candles": cases_series.candle_cases,
    "missing": cases_series.missing_cases,
    "filled": cases_series.filled_cases,
    "statistics": cases_series.statistics_cases,
    "charts": cases_series.chart_cases,
    "methods": cases_protocol.method_cases,
    "paths": cases_protocol.path_cases,
    "origins": cases_protocol.origin_cases,
    "encodings": cases_protocol.encoding_cases,
    "headers": cases_protocol.header_cases,
}
MOST_PAGES = 40
TEXT_KEYS = ("description", "summary", "title")  # of the OpenAPI document
LINK = re.compile(r'<([^>]*)>; rel="(\w+)"')
NAME = re.compile(r'(?:src|href)="(/?page/[^"]+)"')
SAMPLE = re.compile(r"([a-z_]+)(?:\{(.*)\})? \S+")
LABEL = re.compile(r"(\w+)=")


@pytest.mark.parametrize("group", GROUPS)
def test_responses_are_as_recorded(web: Web, group: str) -> None:
    check(f"http_{group}", *observe_all(web, GROUPS[group]()))


def test_conditional_requests_are_as_recorded(web: Web) -> None:
    """The ETags are those of the responses; what is recorded holds them."""
    etag = send(web, get(PRICES)).header("etag")
    packed_etag = send(web, get(LONG, Accept_Encoding="gzip")).header("etag")
    assert packed_etag.endswith('-gzip"')
    check("http_conditions", *observe_all(web, cases_protocol.condition_cases(etag, packed_etag)))


def test_malformed_requests_are_as_recorded(web: Web) -> None:
    behaviour: dict[str, Any] = {COMMON: sorted(common_headers(web))}
    texts: dict[str, Any] = {}
    for name, data in RAW.items():
        seen = observe(web, Case("raw"), send_raw(web, data))
        behaviour[name] = seen.behaviour
        if seen.texts is not None:
            texts[name] = seen.texts
    check("http_malformed", behaviour, texts)


def test_links_lead_through_every_page(web: Web) -> None:
    behaviour = {name: _followed(web, target) for name, target in FOLLOWED.items()}
    check("http_links", behaviour)


def _followed(web: Web, target: str) -> list[Any]:
    """Each page from *target* on: its target, its links, its body; then the way back."""
    found = []
    for relation in ("next", "prev"):
        for _ in range(MOST_PAGES):
            case = get(target)
            received = send(web, case)
            seen = observe(web, case, received)
            links = {rel: url for url, rel in LINK.findall(received.header("link"))}
            shown = {"target": target, "link": _link_line(seen.behaviour["headers"])}
            found.append(shown | {"body": seen.behaviour["body"]})
            if relation not in links:
                break
            target = _target(web, target, links[relation])
    return found


def _link_line(headers: list[str]) -> str | None:
    return next((line for line in headers if line.startswith("link: ")), None)


def _target(web: Web, current: str, link: str) -> str:
    """The target that a client finds at *link*, absolute or relative to *current*."""
    parts = urlsplit(str(httpx.URL(f"{web.url}{current}").join(link)))
    assert parts.netloc == web.host
    return f"{parts.path}?{parts.query}"


@pytest.mark.parametrize("variant", VARIANTS)
def test_settings_change_responses_as_recorded(product: Product, variant: str) -> None:
    variables, cases = VARIANTS[variant]
    with product.changed(**variables).web() as web:
        seen = observe_all(web, cases)
    check(f"http_settings_{variant.replace(',', '').replace(' ', '_')}", *seen)


def test_openapi_document_is_as_recorded(web: Web) -> None:
    texts: dict[str, str] = {}
    document = _marked(json.loads(send(web, get("/openapi.json")).body), "", texts)
    check("openapi", document, texts)


def _marked(value: Any, pointer: str, texts: dict[str, str]) -> Any:
    """*value* without its texts for people, which are put into *texts* by their place."""
    if isinstance(value, list) and "Europe/Berlin" in value:
        return ["<IANA time zones>"]  # those of the machine
    if isinstance(value, list):
        return [_marked(each, f"{pointer}/{n}", texts) for n, each in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    found = {}
    for name, each in value.items():
        place = f"{pointer}/{name}"
        if name in TEXT_KEYS and isinstance(each, str):
            texts[place] = each
            found[name] = TEXT
        else:
            found[name] = _marked(each, place, texts)
    return found


def test_metrics_have_the_names_types_and_labels_recorded(web: Web) -> None:
    behaviour = {}
    texts: dict[str, Any] = {}
    for accept in ("*/*", "application/openmetrics-text; version=1.0.0"):
        received = send(web, get("/metrics", Accept=accept))
        seen = observe(web, Case("/metrics", varies=True), received)
        lines = received.body.decode().splitlines()
        samples = {_sample(line) for line in lines if not line.startswith("#")}
        types = sorted(line for line in lines if line.startswith(("# TYPE", "# UNIT", "# EOF")))
        headers = seen.behaviour["headers"]
        behaviour[accept] = {"headers": headers, "types": types, "samples": sorted(samples)}
        texts[accept] = sorted(line for line in lines if line.startswith("# HELP"))
    check("metrics", behaviour, texts)


def _sample(line: str) -> str:
    """The name of a sample and the names of its labels."""
    found = SAMPLE.match(line)
    assert found, line
    labels = ",".join(LABEL.findall(found[2] or ""))
    return f"{found[1]}{{{labels}}}"


def test_page_files_are_as_recorded(web: Web) -> None:
    """What the pages name, and what those files name: they come whole, or nothing works."""
    if send(web, get("/docs")).status == 503:
        pytest.skip("npm brought nothing")
    names = set()
    left = [f"/{name.lstrip('/')}" for url in ("/", "/docs") for name in _named(web, url)]
    while left:
        url = left.pop()
        if url not in names:
            names.add(url)
            left += [f"/page/{name}" for name in _imported(web, url)]
    check("http_files", *observe_all(web, [get(url) for url in sorted(names)]))


def _named(web: Web, url: str) -> list[str]:
    return NAME.findall(send(web, get(url)).body.decode())


def _imported(web: Web, url: str) -> list[str]:
    text = send(web, get(url)).body.decode() if url.endswith(".js") else ""
    return re.findall(r'(?:from|import) ?"\./([\w.-]+)"', text)
