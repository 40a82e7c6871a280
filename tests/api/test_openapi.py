"""The document says what the API does, no more and no less; /docs shows it without the internet."""

import json
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
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.servers import fresh_database
from tests.support.serving import served
from tracker import __version__, migrations
from tracker.settings import Settings
from tracker.times import MINUTE, minute_of

pytestmark = pytest.mark.slow

# A zone is for days and longer alone: OpenAPI has no words for what one parameter asks of another.
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


def test_documented_paths_are_those_that_are_served(client: httpx.Client, document: Schema) -> None:
    """Each is served bare and under the version, by GET and HEAD; nothing beside them is."""
    paths = set(document["paths"])
    assert all(list(item) == ["get"] for item in document["paths"].values())
    for path in paths:
        for prefix in ("", "/v1"):
            there = prefix + path.replace("{name}", "style.css")
            refused = client.post(there)
            assert refused.status_code == 405, there
            assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD"}
            if path != "/prices/stream":  # which never ends
                assert client.get(there).status_code != 405
                assert client.head(there).status_code not in {404, 405}

    words = {word for path in paths for word in path.split("/") if word}
    others = {f"/{word}" for word in words} | {f"/{one}/{two}" for one in words for two in words}
    others -= {path.replace("{name}", "style.css") for path in paths}
    statuses = {other: client.head(other).status_code for other in sorted(others)}
    assert {other for other, status in statuses.items() if status != 404} == set()


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
        unasked = path in {"/udf/config", "/udf/time"}  # whatever is asked, they do not read it
        expected = {"200", "500"} if unasked else {"200", "422", "500"}
        assert expected <= set(operation["responses"])
        for status, part in operation["responses"].items():
            response = resolved(document, part)
            assert response["description"]
            headers = {"X-Request-ID"} | ({"Cache-Control"} if status != "200" else set())
            assert headers | ({"Retry-After"} if status in {"429", "503"} else set()) <= set(
                response["headers"]
            )
            kept = "ETag" in operation["responses"]["200"]["headers"]
            assert kept == ("304" in operation["responses"])
            assert status in {"200", "304"} or list(response["content"]) == [
                "application/problem+json"
            ]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("path", "operation", "status"),
    [
        ("/prices?ticker=btc_usd", "/prices", 200),
        ("/prices?ticker=btc_usd&limit=1", "/prices", 200),
        ("/prices?ticker=old_usd&start_date=2020-01-01", "/prices", 200),
        ("/prices?ticker=never_usd", "/prices", 422),
        ("/prices?ticker=eth_usd&format=csv&order=asc&limit=2", "/prices", 200),
        ("/prices?ticker=eth_usd&format=ndjson&before=2040-01-01", "/prices", 200),
        ("/prices/export?ticker=eth_usd", "/prices/export", 200),
        ("/prices/export?ticker=eth_usd&format=ndjson", "/prices/export", 200),
        ("/prices/export?ticker=eth_usd&format=json", "/prices/export", 422),
        ("/prices/last?ticker=eth_usd", "/prices/last", 200),
        ("/prices/last?ticker=eth_usd&format=csv", "/prices/last", 200),
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
        ("/prices/candles?ticker=btc_usd", "/prices/candles", 200),
        ("/prices/candles?ticker=btc_usd&limit=1&interval=1m", "/prices/candles", 200),
        ("/prices/candles?ticker=btc_usd&interval=1M&tz=Asia/Kolkata", "/prices/candles", 200),
        ("/prices/candles?ticker=btc_usd&format=csv", "/prices/candles", 200),
        ("/prices/candles?ticker=btc_usd&interval=2h", "/prices/candles", 422),
        ("/tickers", "/tickers", 200),
        ("/tickers?format=csv", "/tickers", 200),
        ("/tickers?ticker=btc_usd", "/tickers", 422),
        ("/udf/config", "/udf/config", 200),
        ("/udf/symbols?symbol=BTC_USD", "/udf/symbols", 200),
        ("/udf/symbols?symbol=AAPL", "/udf/symbols", 404),
        ("/udf/symbols", "/udf/symbols", 422),
        ("/udf/search?query=BTC&type=&exchange=&limit=30", "/udf/search", 200),
        ("/udf/search?limit=some", "/udf/search", 422),
        ("/udf/history?symbol=btc_usd&resolution=1&countback=5", "/udf/history", 200),
        ("/udf/history?symbol=btc_usd&resolution=1D&to=0", "/udf/history", 200),
        ("/udf/history?symbol=AAPL&resolution=60", "/udf/history", 404),
        ("/udf/history?symbol=btc_usd", "/udf/history", 422),
        ("/udf/time", "/udf/time", 200),
        ("/health/live", "/health/live", 200),
        ("/health/ready", "/health/ready", 200),
        ("/metrics", "/metrics", 200),
        ("/openapi.json", "/openapi.json", 200),
        ("/docs", "/docs", 200),
        ("/problems", "/problems", 200),
        ("/", "/", 200),
        ("/page/main.js", "/page/{name}", 200),
        ("/page/style.css", "/page/{name}", 200),
        ("/page/icon.svg", "/page/{name}", 200),
        ("/page/swagger-ui.txt", "/page/{name}", 200),
        ("/page/other.js", "/page/{name}", 404),
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
    if media_type in {"application/json", "application/problem+json"}:
        schema = {**content["schema"], "components": document["components"]}
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        validator.validate(answer.json())


@pytest.mark.parametrize(
    ("header", "status"), [({"If-None-Match": "*"}, 304), ({"Accept": "image/png"}, 406)]
)
@pytest.mark.parametrize("path", ["/prices", "/prices/last", "/prices/gaps", "/prices/coverage"])
def test_answers_to_headers_are_as_described(
    client: httpx.Client, document: Schema, path: str, header: dict[str, str], status: int
) -> None:
    """Nothing new, or nothing that the client takes."""
    answer = client.get(f"{path}?ticker=btc_usd", headers=header)
    described = resolved(document, document["paths"][path]["get"]["responses"][str(status)])

    assert answer.status_code == status
    assert set(described["headers"]) <= {name.title() for name in answer.headers} | {
        "X-Request-ID",
        "ETag",
    }
    media_type = answer.headers.get("content-type")
    assert ([media_type] if media_type else []) == list(described.get("content", []))


def test_the_tickers_are_those_configured_and_those_stored(document: Schema) -> None:
    """Each of them is a valid question, and no other."""
    [schema] = {
        json.dumps(part["schema"])
        for item in document["paths"].values()
        for part in item["get"]["parameters"]
        if part["name"] == "ticker" and "enum" in part["schema"]
    }
    assert json.loads(schema) == {"type": "string", "enum": ["btc_usd", "eth_usd", "old_usd"]}


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
        for part in item["get"]["parameters"]:
            for example in part["schema"].get("examples", []):
                jsonschema_rs.validator_for(part["schema"]).validate(example)


def test_schemathesis_finds_no_failure(
    client: httpx.Client, document: Schema, tmp_path: Path
) -> None:
    """Examples, coverage, fuzzing and walks along links, with every default check."""
    command = [str(Path(sys.executable).with_name("st")), "run", f"{client.base_url}/openapi.json"]
    options = ["--phases=examples,coverage,fuzzing,stateful", "--max-examples=10", "--workers=2"]
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
def test_the_stream_takes_what_is_described_and_nothing_else(
    client: httpx.Client, document: Schema, data: st.DataObject
) -> None:
    """Asked by HEAD, which ends: each of its parameters as its schema says, and anything else."""
    parts = document["paths"]["/prices/stream"]["get"]["parameters"]
    tickers, query, header = (resolved(document, part)["schema"] for part in parts)
    names = st.lists(st.sampled_from(tickers["items"]["enum"]), min_size=1, unique=True)
    ids = st.from_regex(query["pattern"], fullmatch=True).map(lambda text: text.split(",")[0])

    asked = {"ticker": data.draw(names), "last_event_id": data.draw(ids)}
    headers = {"Last-Event-ID": data.draw(ids)}
    assert query == header
    assert client.head("/prices/stream", params=asked, headers=headers).status_code == 200
    odd = data.draw(st.text().filter(lambda text: not re.search(query["pattern"], text)))
    twice = [*asked["ticker"], asked["ticker"][0]]
    for wrong in ({"last_event_id": odd}, {"ticker": odd}, {"ticker": twice}):
        answer = client.head("/prices/stream", params=asked | wrong)
        assert answer.status_code == 422, wrong


@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize("page", ["/", "/docs"])
def test_pages_need_nothing_from_elsewhere(client: httpx.Client, prefix: str, page: str) -> None:
    """Their scripts and styles lie beside them, and no other place may be asked."""
    answer = client.get(prefix + page)
    places = re.findall(r'(?:src|href)="([^"#]+)"', answer.text)

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert len([place for place in places if place.startswith("page/")]) >= 4
    for place in places:
        if not place.startswith("https://www.tradingview.com"):  # a link, not a request
            found = client.get(answer.url.join(place))
            assert found.status_code == 200
            assert found.url.path == f"{prefix}/{place}"


def test_files_of_pages_are_kept_and_asked_about(client: httpx.Client) -> None:
    """304 while nothing changed; none of them is found outside of its folder."""
    first = client.get("/page/style.css")
    again = client.get("/page/style.css", headers={"If-None-Match": first.headers["etag"]})

    assert first.headers["cache-control"] == "no-cache"
    assert (again.status_code, again.content) == (304, b"")
    for name in ("index.html", "..%2Fapp.py", "%2e%2e", "__pycache__", ""):
        assert client.get(f"/page/{name}").status_code == 404
