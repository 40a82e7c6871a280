"""JSON, CSV and NDJSON: which one a client gets, and that they say the same."""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import orjson
import psycopg
import pytest

from tests.support.serving import problem, served
from tracker.settings import Settings
from tracker.times import MINUTE

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
OFFERED = ("application/json", "text/csv", "application/x-ndjson")
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


@pytest.fixture(scope="module")
def client(base: Settings) -> Iterator[httpx.Client]:
    """A client of an API with some prices, one of them of an unknown clock."""
    with psycopg.connect(base.database_dsn) as conn:
        for n in (0, 1, 5):
            conn.execute(
                "INSERT INTO prices (ticker, price, created_at, observed_at)"
                " VALUES ('btc_usd', 68241.50, %s, %s)",
                [NOON + n * MINUTE, NOON + n * MINUTE if n else None],
            )
    with served(base) as client:
        yield client


@pytest.mark.parametrize("path", PATHS)
def test_the_formats_say_the_same(client: httpx.Client, path: str) -> None:
    """Objects of JSON are lines of NDJSON and of CSV; null is empty, and nothing else is."""
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
    assert (
        len(
            {
                answer.headers.get("link", "").replace(name, "")
                for answer, name in ((plain, "json"), (lines, "ndjson"), (table, "csv"))
            }
        )
        == 1
    )


def test_an_empty_table_has_its_header(client: httpx.Client) -> None:
    """And an empty NDJSON is empty."""
    path = "/prices?ticker=btc_usd&start_date=2020-01-01&include=source&format="
    assert client.get(path + "csv").text == "id,ticker,price,created_at,source\r\n"
    assert client.get(path + "ndjson").text == ""


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/json"),
        ("text/csv", "text/csv"),
        ("TEXT/CSV;header=present", "text/csv"),
        ("text/*", "text/csv"),
        ("text/*, application/json;q=0.9", "text/csv"),
        ("application/x-ndjson, text/csv;q=0.5", "application/x-ndjson"),
        ("text/csv;q=0.5, application/x-ndjson; q=0.7", "application/x-ndjson"),
        ("text/csv, application/json", "application/json"),
        ("*/*;q=0.1, text/csv;q=0.2", "text/csv"),
        ("application/json;q=0, */*", "text/csv"),
        ("application/*;q=0.5, application/json;q=0", "application/x-ndjson"),
        ("text/csv;q=nan, text/csv;q=2", "text/csv"),
        ("text/html", None),
        ("application/json;q=0", None),
        ("application/xml, application/json;q=0.0", None),
    ],
)
def test_what_is_accepted(client: httpx.Client, accept: str, expected: str | None) -> None:
    """The weightiest of the three; of equals the first; a range counts where nothing is nearer."""
    answer = client.get(PATHS[0], headers={"Accept": accept})

    if expected:
        assert answer.headers["content-type"].partition(";")[0] == expected
        assert "Accept" in answer.headers["vary"].split(", ")
    else:
        assert problem(answer, 406) == {"Accept": f"accepts none of {', '.join(OFFERED)}"}


@pytest.mark.parametrize("path", PATHS)
def test_the_parameter_wins(client: httpx.Client, path: str) -> None:
    """Over an Accept that wants another format, and over one that wants none."""
    for accept in ("application/json", "image/png"):
        answer = client.get(f"{path}&format=csv", headers={"Accept": accept})
        assert answer.headers["content-type"] == CSV
    other = client.get(f"{path}&format=xml")
    assert problem(other, 422) == {"format": "is not one of json, csv, ndjson: 'xml'"}


def test_several_accept_lines_are_one(client: httpx.Client) -> None:
    """As HTTP has it."""
    answer = client.get(PATHS[0], headers=[("Accept", "text/html"), ("Accept", "text/csv")])
    assert answer.headers["content-type"] == CSV


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", False),
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("identity, br", False),
    ],
)
def test_gzip_is_used_when_accepted(client: httpx.Client, header: str, *, expected: bool) -> None:
    """By its name, or by a star that does not exclude it."""
    answer = client.get("/openapi.json", headers={"Accept-Encoding": header})
    assert answer.headers.get("content-encoding") == ("gzip" if expected else None)
    assert "Accept-Encoding" in answer.headers["vary"].split(", ")
