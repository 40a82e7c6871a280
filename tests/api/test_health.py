"""Readiness with reasons, the state of each part, and metrics."""

import re
from datetime import UTC, datetime, timedelta
from unittest.mock import ANY

import httpx
import psycopg
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from tests.support.api import error_reasons, read_metric, serve_api, service_parts
from tests.support.database import create_database, insert_minutes, insert_misses
from tracker import migrations
from tracker.queries import record_heartbeat
from tracker.settings import Settings
from tracker.times import minute_of

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


pytestmark = pytest.mark.usefixtures("writer")  # each begins with an empty database


PARTS = ("scheduler", "worker")


def insert_aged_prices(conn: psycopg.Connection, **ages: float) -> datetime:
    """Insert a price of each index, *ages* seconds old or a little more."""
    now = datetime.now(UTC)
    for ticker, age in ages.items():
        insert_minutes(conn, [minute_of(now - timedelta(seconds=age))], ticker)
    return now


def test_ready_reports_the_age_of_each_price(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    now = insert_aged_prices(writer, btc_usd=0, eth_usd=60, sol_usdc=9999)

    response = client.get("/health/ready")

    assert response.status_code == 200
    body = response.json()
    assert list(body) == ["status", "prices"]
    assert body["status"] == "ready"
    assert [price["ticker"] for price in body["prices"]] == ["btc_usd", "eth_usd"]
    for price in body["prices"]:
        age = (now - datetime.fromisoformat(price["created_at"])).total_seconds()
        assert age - 0.1 <= price["age_seconds"] < age + 10
        assert price["missing"] == 0


def test_missing_minutes_and_the_failure_reason_are_reported(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    insert_aged_prices(writer, btc_usd=7200, eth_usd=1800)
    insert_aged_prices(writer, eth_usd=0)
    now = minute_of(datetime.now(UTC))
    for ticker, ago, reason in (
        ("btc_usd", 50, "rate_limited"),
        ("btc_usd", 2, "exchange_unavailable"),
        ("eth_usd", 5, "bad_answer"),
    ):
        insert_misses(writer, ticker, [now - timedelta(minutes=ago)], reason)

    reasons = error_reasons(client.get("/health/ready"), 503)
    assert list(reasons) == ["btc_usd"]
    assert reasons["btc_usd"].endswith("; the newest poll failed: exchange_unavailable")

    insert_aged_prices(writer, btc_usd=0)
    state = {p["ticker"]: p["missing"] for p in client.get("/health/ready").json()["prices"]}
    measured = {ticker: read_metric(client, "tracker_missing_minutes", ticker) for ticker in state}
    assert measured == state
    assert state["btc_usd"] == 60
    assert state["eth_usd"] in {28, 29, 30}


def test_state_describes_each_part(client: httpx.Client, writer: psycopg.Connection) -> None:
    insert_aged_prices(writer, btc_usd=0, eth_usd=0)
    state = client.get("/health/state").json()
    assert state["status"] == "impaired"
    assert {part["name"]: part["words"] for part in state["parts"]} == {
        "database": "responds",
        "scheduler": "has never sent a heartbeat",
        "worker": "has never sent a heartbeat",
        "exchange": "not polled",
    }

    now = datetime.now(UTC)
    record_heartbeat(writer, "worker")
    record_heartbeat(writer, "scheduler")
    record_heartbeat(writer, "scheduler", timedelta(days=1))  # came late, and changes nothing
    state = client.get("/health/state").json()
    assert state["status"] == "ok"
    assert {part["state"] for part in state["parts"]} == {"up"}
    assert [(each["ticker"], each["failing"]) for each in state["prices"]] == [
        ("btc_usd", None),
        ("eth_usd", None),
    ]

    writer.execute(
        "UPDATE internal.heartbeats SET at = at - INTERVAL '10 min' WHERE part = 'scheduler'"
    )
    writer.execute("TRUNCATE prices")
    insert_misses(writer, "eth_usd", [minute_of(now)], "refused")
    state = client.get("/health/state").json()
    assert service_parts(client) == {
        "database": {"state": "up", "words": "responds"},
        "scheduler": {"state": "down", "words": "last tick 10 min ago"},
        "worker": {"state": "up", "words": ANY},
        "exchange": {"state": "down", "words": "the newest poll failed: eth_usd: refused"},
    }
    assert state["prices"][0]["created_at"] is None


@pytest.mark.parametrize("ahead", ["400 days", "20 seconds"])
def test_heartbeat_from_the_future_keeps_no_part_up(
    client: httpx.Client, writer: psycopg.Connection, ahead: str
) -> None:
    """After a clock was set back a dead part is down, a live one up at its next heartbeat."""

    def states() -> dict[str, str]:
        parts = service_parts(client)
        return {name: parts[name]["state"] for name in PARTS}

    for part in PARTS:
        writer.execute(
            "INSERT INTO internal.heartbeats VALUES (%s, now() + %s::interval)", [part, ahead]
        )
    assert states() == {"scheduler": "down", "worker": "down"}

    record_heartbeat(writer, "worker")
    assert states() == {"scheduler": "down", "worker": "up"}


def test_exchange_without_recent_polls_is_unknown(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """A chart's price is no poll."""

    def exchange_part() -> dict[str, str]:
        state = client.get("/health/state").json()
        assert state["status"] == "impaired"
        return next(part for part in state["parts"] if part["name"] == "exchange")

    record_heartbeat(writer, "worker")
    none = {
        "name": "exchange",
        "state": "unknown",
        "words": "no poll of the last hour is recorded",
    }
    assert exchange_part() == none
    insert_aged_prices(writer, btc_usd=60, eth_usd=60)
    writer.execute("UPDATE prices SET source = 'chart'")
    insert_aged_prices(writer, btc_usd=4000)
    assert exchange_part() == none
    insert_aged_prices(writer, btc_usd=900)
    assert exchange_part()["state"] == "unknown"
    assert re.fullmatch(r"the newest poll recorded was 1[56] min ago", exchange_part()["words"])
    insert_aged_prices(writer, eth_usd=0)
    assert exchange_part() == {
        "name": "exchange",
        "state": "up",
        "words": "responded to the newest polls",
    }


def test_state_without_a_database_is_impaired(base: Settings) -> None:
    with serve_api(base.changed(postgres_db="nowhere")) as client:
        response = client.get("/health/state")
    assert (response.status_code, response.json()["status"]) == (200, "impaired")
    assert response.json()["parts"][0] == {
        "name": "database",
        "state": "down",
        "words": "does not respond",
    }


def test_not_ready_while_a_price_is_stale_or_missing(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    insert_aged_prices(writer, btc_usd=240)
    reasons = error_reasons(response := client.get("/health/ready"), 503)

    assert int(response.headers["retry-after"]) > 0
    assert list(reasons) == ["btc_usd", "eth_usd"]
    assert reasons["btc_usd"].endswith(" s old, more than 180 s")
    assert 240 <= int(reasons["btc_usd"].split()[4]) < 330
    assert reasons["eth_usd"] == "no price in the last month"

    insert_aged_prices(writer, btc_usd=115, eth_usd=40 * 86400)  # between 115 and 175 s old
    assert list(error_reasons(client.get("/health/ready"), 503)) == ["eth_usd"]


def test_price_from_the_future_is_not_fresh(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    insert_aged_prices(writer, btc_usd=-9999, eth_usd=0)
    assert list(error_reasons(client.get("/health/ready"), 503)) == ["btc_usd"]


def test_not_ready_unless_the_schema_is_of_this_version(servers: Settings) -> None:
    with create_database(servers) as bare, serve_api(bare) as client:
        assert error_reasons(client.get("/health/ready"), 503) == {"migrations": "are pending"}
        page = client.get("/prices?ticker=btc_usd")
        assert error_reasons(page, 503) == {"migrations": "are pending"}
        assert int(page.headers["retry-after"]) > 0
        assert client.get("/metrics").status_code == client.get("/openapi.json").status_code == 200

        migrations.apply(bare.database_dsn)
        migrations.rollback(bare.database_dsn, "3")
        pending = ", ".join(migrations.names()[3:])
        assert error_reasons(client.get("/health/ready"), 503) == {
            "migrations": f"are pending: {pending}"
        }

        migrations.apply(bare.database_dsn)
        assert list(error_reasons(client.get("/health/ready"), 503)) == ["btc_usd", "eth_usd"]
        assert client.get("/prices?ticker=btc_usd").json() == []

        with psycopg.connect(bare.database_dsn, autocommit=True) as conn:
            conn.execute(
                "INSERT INTO _yoyo_migration (migration_hash, migration_id, applied_at_utc)"
                " VALUES ('f', '0099.future', now())"
            )
        assert error_reasons(client.get("/health/ready"), 503) == {
            "migrations": "are of a newer version: 0099.future"
        }


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", PLAIN),
        ("*/*", PLAIN),
        ("text/plain;version=0.0.4", PLAIN),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", OPENMETRICS),
        ("application/openmetrics-text; version=never", OPENMETRICS),
        ("text/plain; version=1.0.0\u00e9; escaping=x", PLAIN),
    ],
)
def test_metrics_have_the_accepted_format(
    client: httpx.Client, writer: psycopg.Connection, accept: str, media_type: str
) -> None:
    now = insert_aged_prices(writer, btc_usd=600)
    response = client.get("/metrics", headers=[(b"Accept", accept.encode())])

    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == media_type
    parse = openmetrics if media_type == OPENMETRICS else prometheus
    found = {metric.name: metric for metric in parse(response.text)}
    [age] = found["tracker_price_age_seconds"].samples
    assert age.labels == {"ticker": "btc_usd"}
    assert 600 <= age.value < 700 + (datetime.now(UTC) - now).total_seconds()
    assert [sample.value for sample in found["tracker_database_up"].samples] == [1.0]
    assert "process_resident_memory_bytes" in found


def test_requests_are_counted_by_endpoint(client: httpx.Client) -> None:
    """No label is taken from a client's input."""

    def count_requests(**labels: str) -> float:
        families = prometheus(client.get("/metrics").text)
        samples = (sample for metric in families for sample in metric.samples)
        matching = (s for s in samples if s.name == "tracker_http_requests_total")
        return sum(s.value for s in matching if labels.items() <= s.labels.items())

    labels: list[dict[str, str]] = [
        {"endpoint": "prices"},
        {"endpoint": "none", "status": "404"},
        {"method": "DELETE"},
    ]
    before = [count_requests(**each) for each in labels]
    for path in ("/prices?ticker=btc_usd", "/v1/prices?ticker=eth_usd", "/prices"):
        client.get(path)
    client.get("/made/up")
    client.delete("/prices/last")

    after = [count_requests(**each) for each in labels]
    assert [b - a for a, b in zip(before, after, strict=True)] == [3, 1, 1]
    assert count_requests(endpoint="made") == 0
