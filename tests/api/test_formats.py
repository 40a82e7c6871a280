"""JSON, CSV and NDJSON contain the same values."""

import csv
import io
from datetime import UTC, datetime

import httpx
import orjson
import psycopg
import pytest

from tracker.times import MINUTE

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
CSV = "text/csv; charset=utf-8; header=present"
PATHS = [
    "/prices?ticker=btc_usd",
    "/prices?ticker=btc_usd&include=source,observed_at&order=asc",
    "/prices?ticker=btc_usd&start_date=2020-01-01",
    "/prices/last?ticker=btc_usd&include=observed_at",
    "/prices/filtered?ticker=btc_usd&date=2024-01-15T12:00",
    "/prices/gaps?ticker=btc_usd&end_date=2024-01-16",
    "/prices/coverage?ticker=btc_usd&end_date=2024-01-16",
    "/prices/candles?ticker=btc_usd&interval=5m",
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
