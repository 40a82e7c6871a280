"""JSON, CSV and NDJSON contain the same values."""

import csv
import io
from datetime import UTC, datetime

import httpx
import orjson
import psycopg
import pytest

from tests.support.api import error_reasons
from tracker.times import MINUTE

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
CSV = "text/csv; charset=utf-8; header=present"
PATHS = [
    "/prices?ticker=btc_usd",
    "/prices?ticker=btc_usd&include=source,observed_at&order=asc",
    "/prices?ticker=btc_usd&start_date=2020-01-01",
    "/prices/last?ticker=btc_usd&include=observed_at",
    "/prices/filtered?ticker=btc_usd&date=2024-01-15T12:00",
    "/prices/latest?include=source",
    "/prices/at?date=2024-01-15T12:01&tolerance=600&include=observed_at",
    "/prices/gaps?ticker=btc_usd&end_date=2024-01-16",
    "/prices/coverage?ticker=btc_usd&end_date=2024-01-16",
    "/prices/candles?ticker=btc_usd&interval=5m",
    "/prices/stats?ticker=btc_usd&end_date=2024-01-16",
]


@pytest.fixture(scope="module", autouse=True)
def _prices(base_conn: psycopg.Connection) -> None:
    """Some prices, one without the exchange's time."""
    for n in (0, 1, 5):
        base_conn.execute(
            "INSERT INTO prices (ticker, price, created_at, observed_at)"
            " VALUES ('btc_usd', 68241.50, %s, %s)",
            [NOON + n * MINUTE, NOON + n * MINUTE if n else None],
        )


@pytest.mark.parametrize("path", PATHS)
def test_formats_contain_the_same_values(client: httpx.Client, path: str) -> None:
    """Null is empty in CSV, and nothing else is."""
    plain, lines, table = (
        client.get(f"{path}&format={name}") for name in ("json", "ndjson", "csv")
    )
    rows = plain.json() if isinstance(plain.json(), list) else [plain.json()]

    assert plain.headers["content-type"] == "application/json"
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert lines.content == b"".join(orjson.dumps(row) + b"\n" for row in rows)
    assert table.headers["content-type"] == CSV
    head, *cells = csv.reader(io.StringIO(table.text, newline=""))
    texts = [["" if value is None else str(value) for value in row.values()] for row in rows]
    assert cells == texts
    assert all(list(row) == head for row in rows)
    assert table.text.count("\r\n") == table.text.count("\n") == len(rows) + 1
    links = {
        response.headers.get("link", "").replace(name, "")
        for response, name in ((plain, "json"), (lines, "ndjson"), (table, "csv"))
    }
    assert len(links) == 1


def test_empty_table_has_its_header(client: httpx.Client) -> None:
    path = "/prices?ticker=btc_usd&start_date=2020-01-01&include=source&format="
    assert client.get(path + "csv").text == "id,ticker,price,created_at,source\r\n"
    assert client.get(path + "ndjson").text == ""


def test_several_accept_headers_are_combined(client: httpx.Client) -> None:
    response = client.get(PATHS[0], headers=[("Accept", "text/html"), ("Accept", "text/csv")])
    assert response.headers["content-type"] == CSV


@pytest.mark.parametrize("path", [PATHS[0], "/prices/export?ticker=btc_usd"])
@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("application/jsonl", "application/jsonl"),
        ("application/ndjson", "application/ndjson"),
        ("text/html, application/jsonlines;q=0.1", "application/jsonlines"),
        ("application/x-ndjson, application/jsonl", "application/x-ndjson"),
        ("application/jsonl;q=0.5, application/x-ndjson;q=0.4", "application/jsonl"),
        ("text/*", CSV),
        ("text/*;q=0.9, application/json;q=0.8, application/x-ndjson;q=0.7", CSV),
        ("*/*;q=0.1, text/csv;q=0, application/json;q=0", "application/x-ndjson"),
        ("application/x-ndjson;q=0.1, application/problem+json", "application/x-ndjson"),
    ],
)
def test_every_name_of_a_format_is_accepted(
    client: httpx.Client, path: str, accept: str, media_type: str
) -> None:
    """The response has the name that the client accepts, and the lines of that format."""
    response = client.get(path, headers={"Accept": accept})
    name = "csv" if media_type == CSV else "ndjson"
    assert response.headers["content-type"] == media_type
    assert response.content == client.get(f"{path}&format={name}").content


@pytest.mark.parametrize("path", [*PATHS, "/prices/export?ticker=btc_usd", "/tickers"])
def test_client_that_names_only_its_errors_gets_the_default(
    client: httpx.Client, path: str
) -> None:
    """As generated clients of openapi-generator do where the document has no JSON."""
    response = client.get(path, headers={"Accept": "application/problem+json"})
    assert response.status_code == 200
    assert response.headers["content-type"] == client.get(path).headers["content-type"]


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        (PATHS[0], "text/html"),
        (PATHS[0], "text/html, application/problem+json"),
        (PATHS[0], "application/xml, image/*"),
        (PATHS[0], "*/*;q=0"),
        (PATHS[0], "application/json;q=0"),
        ("/prices/export?ticker=btc_usd", "application/json"),
    ],
)
def test_no_format_that_is_accepted_is_406(client: httpx.Client, path: str, accept: str) -> None:
    response = client.get(path, headers={"Accept": accept})
    [why] = error_reasons(response, 406).values()
    assert why.startswith("accepts none of ")
    assert client.get(f"{path}&format=csv", headers={"Accept": accept}).status_code == 200


@pytest.mark.parametrize(
    ("accept_encoding", "small", "large"),
    [
        ("gzip", "", "gzip"),
        ("br, x-gzip;q=0.1", "", "gzip"),
        ("*", "", "gzip"),
        ("", "", ""),
        ("br", "", ""),
        ("gzip;q=0", "", ""),
        ("*;q=0, identity", "", ""),
        ("gzip;q=0.5, identity", "", ""),
        ("gzip, identity;q=0.5", "", "gzip"),
        ("identity;q=0, gzip;q=0.1", "gzip", "gzip"),
        ("*;q=0, gzip", "gzip", "gzip"),
        ("identity;q=0, *", "gzip", "gzip"),
    ],
)
def test_coding_is_the_one_that_is_preferred(
    client: httpx.Client, accept_encoding: str, small: str, large: str
) -> None:
    headers = {"Accept-Encoding": accept_encoding}
    for path, coding in (("/prices/last?ticker=btc_usd", small), ("/openapi.json", large)):
        response = client.get(path, headers=headers)
        assert response.headers.get("content-encoding", "") == coding
        assert "Accept-Encoding" in response.headers["vary"]
        assert response.json() == client.get(path).json()


@pytest.mark.parametrize(
    "path", [PATHS[0], "/prices/export?ticker=btc_usd", "/tickers", "/docs", "/health/live"]
)
@pytest.mark.parametrize("accept_encoding", ["identity;q=0", "*;q=0", "br, *;q=0"])
def test_no_coding_that_is_accepted_is_406(
    client: httpx.Client, path: str, accept_encoding: str
) -> None:
    response = client.get(path, headers={"Accept-Encoding": accept_encoding})
    why = "accepts neither gzip nor identity"
    assert error_reasons(response, 406) == {"Accept-Encoding": why}
