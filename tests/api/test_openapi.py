"""The OpenAPI document matches the API, and /docs needs no other host."""

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import httpx
import jsonschema_rs
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.database import insert_minutes, minutes_from
from tracker import __version__
from tracker.times import MINUTE, minute_of

pytestmark = pytest.mark.slow

Schema = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def _prices(base_conn: psycopg.Connection) -> None:
    """Prices that are fresh for half an hour, also of an index that is not configured."""
    now = minute_of(datetime.now(UTC))
    for ticker in ("btc_usd", "eth_usd", "old_usd"):
        insert_minutes(base_conn, minutes_from(now - 2 * MINUTE, 32), ticker)


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> Schema:
    """The served document."""
    response = client.get("/v1/openapi.json")
    assert response.headers["content-type"] == "application/json"
    found: Schema = response.json()
    return found


def resolve_reference(document: Schema, part: Schema) -> Schema:
    """*part* itself, or what it refers to."""
    while "$ref" in part:
        found = document
        for step in part["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        part = found
    return part


def test_document_is_openapi_3_1(client: httpx.Client, document: Schema) -> None:
    assert document["openapi"] == "3.1.0"
    assert document["info"]["version"] == __version__
    assert client.get("/openapi.json").json() == {**document, "servers": ANY}
    for section in document["components"].values():
        for part in section.values():
            if "type" in part or "const" in part:
                jsonschema_rs.meta.validate(part)


def test_documented_paths_are_the_served_ones(client: httpx.Client, document: Schema) -> None:
    paths = set(document["paths"])
    assert all(list(item) == ["get"] for item in document["paths"].values())
    for path in paths:
        for prefix in ("", "/v1"):
            target = prefix + path.replace("{name}", "style.css")
            refused = client.post(target)
            assert refused.status_code == 405, target
            assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
            if path != "/prices/stream":  # which never ends
                assert client.get(target).status_code != 405
                assert client.head(target).status_code not in {404, 405}

    words = {word for path in paths for word in path.split("/") if word}
    others = {f"/{word}" for word in words} | {f"/{one}/{two}" for one in words for two in words}
    others -= {path.replace("{name}", "style.css") for path in paths}
    statuses = {other: client.head(other).status_code for other in sorted(others)}
    assert {other for other, status in statuses.items() if status != 404} == set()


def test_every_operation_is_complete(document: Schema) -> None:
    """It has an id, a summary, every parameter of its path, and every status."""
    names = []
    for path, item in document["paths"].items():
        operation = item["get"]
        names.append(operation["operationId"])
        assert operation["summary"]
        parameters = [resolve_reference(document, part) for part in operation["parameters"]]
        in_path = {part["name"] for part in parameters if part["in"] == "path"}
        assert in_path == set(re.findall(r"\{(\w+)\}", path))
        assert all(
            part["required"] for part in parameters if part["name"] in {"ticker", "date", "name"}
        )
        ignored = {"/udf/config", "/udf/time", "/", "/docs", "/problems", "/page/{name}"}
        reads_no_query = path in ignored
        expected = {"200", "500"} if reads_no_query else {"200", "422", "500"}
        assert expected <= set(operation["responses"])
        for status, part in operation["responses"].items():
            response = resolve_reference(document, part)
            assert response["description"]
            headers = {"X-Request-ID"} | ({"Cache-Control"} if status != "200" else set())
            assert headers | ({"Retry-After"} if status in {"429", "503"} else set()) <= set(
                response["headers"]
            )
            has_etag = "ETag" in operation["responses"]["200"]["headers"]
            assert has_etag == ("304" in operation["responses"])
            assert status in {"200", "304"} or list(response["content"]) == [
                "application/problem+json"
            ]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("header", "status"), [({"If-None-Match": "*"}, 304), ({"Accept": "image/png"}, 406)]
)
@pytest.mark.parametrize("path", ["/prices", "/prices/last", "/prices/gaps", "/prices/coverage"])
def test_304_and_406_match_the_document(
    client: httpx.Client, document: Schema, path: str, header: dict[str, str], status: int
) -> None:
    response = client.get(f"{path}?ticker=btc_usd", headers=header)
    described = resolve_reference(
        document, document["paths"][path]["get"]["responses"][str(status)]
    )

    assert response.status_code == status
    assert set(described["headers"]) <= {name.title() for name in response.headers} | {
        "X-Request-ID",
        "ETag",
    }
    media_type = response.headers.get("content-type")
    assert ([media_type] if media_type else []) == list(described.get("content", []))


def test_examples_match_their_schemas(document: Schema) -> None:
    for item in document["paths"].values():
        content = resolve_reference(document, item["get"]["responses"]["200"])["content"]
        for part in content.values():
            if "example" in part:
                schema = {**part["schema"], "components": document["components"]}
                jsonschema_rs.validator_for(schema).validate(part["example"])
        for part in item["get"]["parameters"]:
            for example in part["schema"].get("examples", []):
                jsonschema_rs.validator_for(part["schema"]).validate(example)


def test_schemathesis_finds_no_failure(
    client: httpx.Client, document: Schema, tmp_path: Path
) -> None:
    command = [str(Path(sys.executable).with_name("st")), "run", f"{client.base_url}/openapi.json"]
    options = ["--phases=examples,coverage,fuzzing,stateful", "--max-examples=10", "--workers=2"]
    options += [f"--url={client.base_url}/v1"]  # st does not resolve the relative servers
    options += ["--exclude-path=/prices/stream"]  # it never ends; the next test asks it by HEAD
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
    count = len(document["paths"])
    assert f"{count - 1} selected / {count} total" in done.stdout
    assert "✅ Stateful" in done.stdout
    assert "No issues found" in done.stdout


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_stream_accepts_only_documented_parameters(
    client: httpx.Client, document: Schema, data: st.DataObject
) -> None:
    parts = document["paths"]["/prices/stream"]["get"]["parameters"]
    tickers, query, header = (resolve_reference(document, part)["schema"] for part in parts)
    names = st.lists(st.sampled_from(tickers["items"]["enum"]), min_size=1, unique=True)
    ids = st.from_regex(query["pattern"], fullmatch=True).map(lambda text: text.split(",")[0])

    parameters = {"ticker": data.draw(names), "last_event_id": data.draw(ids)}
    headers = {"Last-Event-ID": data.draw(ids)}
    assert query == header
    assert client.head("/prices/stream", params=parameters, headers=headers).status_code == 200
    odd = data.draw(st.text().filter(lambda text: not re.search(query["pattern"], text)))
    twice = [*parameters["ticker"], parameters["ticker"][0]]
    for wrong in ({"last_event_id": odd}, {"ticker": odd}, {"ticker": twice}):
        response = client.head("/prices/stream", params=parameters | wrong)
        assert response.status_code == 422, wrong


@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize("page", ["/", "/docs"])
def test_pages_need_no_other_host(client: httpx.Client, prefix: str, page: str) -> None:
    response = client.get(prefix + page)
    targets = re.findall(r'(?:src|href)="([^"#]+)"', response.text)

    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "unsafe" not in response.headers["content-security-policy"]
    assert len([target for target in targets if target.startswith("page/")]) >= 4
    for target in targets:
        if not target.startswith("https://www.tradingview.com"):  # a link, not a request
            found = client.get(response.url.join(target))
            assert found.status_code == 200
            assert found.url.path == f"{prefix}/{target}"
