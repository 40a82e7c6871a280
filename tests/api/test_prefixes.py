"""Every reference in a response resolves behind a proxy that adds a path prefix."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import psycopg
import pytest

from tests.support.api import error_reasons, follow_links, serve_api
from tests.support.database import insert_minutes, minutes_from
from tests.support.prefix_proxy import PREFIX, proxy_requests
from tracker.settings import Settings

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
ROOTS = ("", "/v1")
PAGES = ("/", "/docs", "/problems")
ERRORS = {
    "/nowhere": 404,
    "/deep/er/no%2Fwhere/": 404,
    "/prices": 422,
    "/prices/last": 422,
    "/udf/symbols": 422,
    "/prices/filtered?ticker=btc_usd&date=2020-01-01": 404,
}


@pytest.fixture(scope="module", params=["prefix removed", "prefix left"])
def proxied(request: pytest.FixtureRequest, base: Settings) -> Iterator[httpx.Client]:
    """A client of a proxy in front of the API, and of the API itself."""
    strips = request.param == "prefix removed"
    settings = base if strips else base.changed(web_root_path=PREFIX)
    with serve_api(settings) as api, proxy_requests(api, strips=strips) as client:
        assert api.get("/v1/health/live").status_code == 200
        if not strips:
            assert api.get(PREFIX).headers["location"] == "./tracker/"
        yield client


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("path", ["/prices?", "/prices/gaps?", "/prices/candles?interval=1m&"])
def test_links_lead_through_all_pages(
    proxied: httpx.Client, writer: psycopg.Connection, root: str, path: str
) -> None:
    insert_minutes(writer, minutes_from(NOON, 9)[::2])
    query = "ticker=btc_usd&limit=2&start_date=2024-01-15T12:00&end_date=2024-01-15T12:09"
    pages = follow_links(proxied, f"{PREFIX}{root}{path}{query}")
    assert [len(page) for page in pages] == ([2, 2] if "gaps" in path else [2, 2, 1])


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("path", ERRORS)
def test_problem_types_resolve(proxied: httpx.Client, root: str, path: str) -> None:
    response = proxied.get(f"{PREFIX}{root}{path}")
    body = response.json()
    explanation = response.url.join(body["type"])

    assert response.status_code == ERRORS[path]
    if "udf" not in path:
        assert error_reasons(response, ERRORS[path])
    assert explanation.path == f"{PREFIX}/problems"
    assert f'<section id="{explanation.fragment}">' in proxied.get(explanation).text


@pytest.mark.parametrize("root", ROOTS)
def test_servers_of_the_document_resolve(proxied: httpx.Client, root: str) -> None:
    response = proxied.get(f"{PREFIX}{root}/openapi.json")
    servers = [response.url.join(server["url"]) for server in response.json()["servers"]]

    assert [server.path.rstrip("/") for server in servers] == [f"{PREFIX}/v1", PREFIX]
    for server in servers:
        url = f"{str(server).rstrip('/')}/udf/config"
        assert proxied.get(url).status_code == 200


@pytest.mark.parametrize("path", ["/v1", "/docs/", "/v1/problems/"])
def test_redirects_of_pages_resolve(proxied: httpx.Client, path: str) -> None:
    page = proxied.get(f"{PREFIX}{path}", follow_redirects=True)
    assert page.status_code == 200
    assert page.url.path == PREFIX + (path.rstrip("/") if path.endswith("/") else f"{path}/")


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("path", PAGES)
def test_references_of_pages_resolve(proxied: httpx.Client, root: str, path: str) -> None:
    """Those of pages, and of the scripts and styles that they load."""
    page = proxied.get(f"{PREFIX}{root}{path}")
    targets = [page.url.join(each) for each in re.findall(r'(?:src|href)="([^"#]+)"', page.text)]
    visited = set()
    while targets:
        target = targets.pop()
        if target.host != page.url.host or target in visited:
            continue
        visited.add(target)
        found = proxied.get(target)
        assert found.status_code == 200, target
        assert target.path.startswith(f"{PREFIX}{root}/")
        if target.path.endswith(".js") and "swagger" not in target.path:
            imports = re.findall(r'(?:from|import) "([^"]+)"', found.text)
            fetched = re.findall(r'url: "([^"]+)"', found.text)
            targets += [target.join(each) for each in imports]
            targets += [page.url.join(each) for each in fetched]

    assert page.status_code == 200
    assert path == "/problems" or len(visited) > 3
