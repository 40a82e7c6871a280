"""The document says what the API does, no more and no less; /docs shows it without the internet."""

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import psycopg
import pytest
from starlette.routing import Route

from tests.conftest import fresh_database
from tests.serving import served
from tracker import __version__, migrations
from tracker.models import MINUTE, minute_of
from tracker.settings import Settings
from tracker.web.app import PATHS, create_app

pytestmark = pytest.mark.slow

Schema = dict[str, Any]


@pytest.fixture(scope="module")
def client(servers: Settings) -> Iterator[httpx.Client]:
    """A client of an API that has fresh prices, among them those of an index not configured."""
    with fresh_database(servers) as base:
        migrations.apply(base.database_dsn)
        now = minute_of(datetime.now(UTC))
        insert = (
            "INSERT INTO prices (ticker, price, created_at) SELECT unnest(%s::text[]), 1.50, %s"
        )
        with psycopg.connect(base.database_dsn) as conn:
            for n in range(-2, 30):  # half an hour of it is still to come: nothing gets stale
                conn.execute(insert, [["btc_usd", "eth_usd", "old_usd"], now + n * MINUTE])
        with served(base) as client:
            yield client


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> Schema:
    """The document as it is served."""
    answer = client.get("/v1/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    found: Schema = answer.json()
    return found


def resolved(document: Schema, part: Schema) -> Schema:
    """*part* itself, or what it refers to."""
    while "$ref" in part:
        found = document
        for step in part["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        part = found
    return part


def test_the_document_is_openapi_3_1(client: httpx.Client, document: Schema) -> None:
    """It names its version and its servers, and it is the same at the bare path."""
    assert document["openapi"] == "3.1.0"
    assert document["info"]["version"] == __version__
    assert document["servers"] == [{"url": "/v1"}, {"url": "/"}]
    assert client.get("/openapi.json").json() == document
    for section in document["components"].values():
        for part in section.values():
            if "type" in part or "const" in part:
                jsonschema_rs.meta.validate(part)


def test_routes_and_document_agree(servers: Settings, document: Schema) -> None:
    """Every path is served bare and under the version, by GET and HEAD; nothing else is."""
    app = create_app(servers)._app
    routes = {(route.path, *sorted(route.methods)) for route in app.router.routes}  # type: ignore[attr-defined]
    assert all(isinstance(route, Route) for route in app.router.routes)  # type: ignore[attr-defined]

    assert set(document["paths"]) == set(PATHS)
    assert all(list(item) == ["get"] for item in document["paths"].values())
    both = [prefix + path for prefix in ("", "/v1") for path in document["paths"]]
    assert routes == {(path, "GET", "HEAD") for path in both}


def test_every_operation_is_complete(document: Schema) -> None:
    """An id, words, each parameter of its path, a good answer, and every error it may give."""
    names = []
    for path, item in document["paths"].items():
        operation = item["get"]
        names.append(operation["operationId"])
        assert operation["summary"]
        asked = [resolved(document, part) for part in operation["parameters"]]
        in_path = {part["name"] for part in asked if part["in"] == "path"}
        assert in_path == set(re.findall(r"\{(\w+)\}", path))
        assert all(part["required"] for part in asked if part["name"] in {"ticker", "date", "name"})
        assert {"200", "422", "500"} <= set(operation["responses"])
        for status, part in operation["responses"].items():
            response = resolved(document, part)
            assert response["description"]
            headers = {"X-Request-ID"} | ({"Cache-Control"} if status != "200" else set())
            assert headers | ({"Retry-After"} if status == "503" else set()) <= set(
                response["headers"]
            )
            assert status == "200" or list(response["content"]) == ["application/problem+json"]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("path", "operation", "status"),
    [
        ("/prices?ticker=btc_usd", "/prices", 200),
        ("/prices?ticker=btc_usd&limit=1", "/prices", 200),
        ("/prices?ticker=old_usd&start_date=2020-01-01", "/prices", 200),
        ("/prices?ticker=never_usd", "/prices", 422),
        ("/prices/last?ticker=eth_usd", "/prices/last", 200),
        ("/prices/last", "/prices/last", 422),
        ("/prices/filtered?ticker=btc_usd&date=2020-01-01", "/prices/filtered", 404),
        ("/prices?ticker=btc_usd&include=source,observed_at", "/prices", 200),
        ("/prices/last?ticker=btc_usd&include=observed_at", "/prices/last", 200),
        ("/prices/last?ticker=btc_usd&include=id", "/prices/last", 422),
        ("/prices/gaps?ticker=old_usd&limit=1", "/prices/gaps", 200),
        ("/prices/gaps?ticker=old_usd&end_date=never", "/prices/gaps", 422),
        ("/prices/coverage?ticker=eth_usd&interval=1d", "/prices/coverage", 200),
        ("/prices/coverage?ticker=eth_usd&limit=1", "/prices/coverage", 200),
        ("/prices/coverage?ticker=eth_usd&interval=1w", "/prices/coverage", 422),
        ("/health/live", "/health/live", 200),
        ("/health/ready", "/health/ready", 200),
        ("/metrics", "/metrics", 200),
        ("/openapi.json", "/openapi.json", 200),
        ("/docs", "/docs", 200),
        ("/docs/swagger_bundle.js", "/docs/{name}", 200),
        ("/docs/swagger_style.css", "/docs/{name}", 200),
        ("/docs/other.js", "/docs/{name}", 404),
    ],
)
def test_real_answers_are_as_described(
    client: httpx.Client, document: Schema, path: str, operation: str, status: int
) -> None:
    """Media type, headers and body."""
    answer = client.get(path)
    responses = document["paths"][operation]["get"]["responses"]
    described = resolved(document, responses[str(answer.status_code)])

    assert answer.status_code == status
    media_type = answer.headers["content-type"].partition(";")[0]
    content = described["content"][media_type]
    for name, header in described["headers"].items():
        value = answer.headers.get(name)
        assert value or not resolved(document, header).get("required"), name
    if media_type.endswith("json"):
        schema = {**content["schema"], "components": document["components"]}
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        validator.validate(answer.json())


def test_the_tickers_are_those_configured_and_those_stored(document: Schema) -> None:
    """Each of them is a valid question, and no other."""
    schema = document["components"]["parameters"]["ticker"]["schema"]
    assert schema == {"type": "string", "enum": ["btc_usd", "eth_usd", "old_usd"]}


def test_a_price_has_four_keys_and_those_included(document: Schema) -> None:
    """The four are always there, the others only when they are asked for."""
    price = document["components"]["schemas"]["Price"]
    assert price["required"] == ["id", "ticker", "price", "created_at"]
    assert list(price["properties"]) == [*price["required"], "source", "observed_at"]
    assert price["additionalProperties"] is False


def test_the_examples_are_true_to_their_schemas(document: Schema) -> None:
    """Whoever copies one is understood."""
    for item in document["paths"].values():
        content = resolved(document, item["get"]["responses"]["200"])["content"]
        for part in content.values():
            if "example" in part:
                schema = {**part["schema"], "components": document["components"]}
                jsonschema_rs.validator_for(schema).validate(part["example"])
    for part in document["components"]["parameters"].values():
        for example in part["schema"].get("examples", []):
            jsonschema_rs.validator_for(part["schema"]).validate(example)


def test_schemathesis_finds_no_failure(client: httpx.Client, tmp_path: Path) -> None:
    """Examples, coverage and fuzzing, with every check that it has by default."""
    command = [str(Path(sys.executable).with_name("st")), "run", f"{client.base_url}/openapi.json"]
    options = ["--phases=examples,coverage,fuzzing", "--max-examples=10", "--workers=2"]
    plain = ["--continue-on-failure", "--no-color", "--warnings=off"]
    done = subprocess.run(
        [*command, *options, *plain],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "11 selected / 11 total" in done.stdout
    assert "No issues found" in done.stdout


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_the_page_needs_nothing_from_elsewhere(client: httpx.Client, prefix: str) -> None:
    """Its script, its style and the document lie beside it, on this server."""
    answer = client.get(f"{prefix}/docs")
    named = re.findall(r'(?:src|href)="([^"]+)"|url: "([^"]+)"', answer.text)
    places = [place for pair in named for place in pair if place and place != "data:,"]

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert places == ["docs/swagger_style.css", "docs/swagger_bundle.js", "openapi.json"]
    assert not re.search("https?:", answer.text)
    for place in places:
        found = client.get(answer.url.join(place))
        assert found.url.path == f"{prefix}/{place}"
        assert found.status_code == 200
        assert len(found.content) > 5000
    style = client.get(f"{prefix}/docs/swagger_style.css")
    assert not re.search(r"url\((?!['\"]?data:)|@import", style.text)
