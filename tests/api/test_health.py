"""Alive, ready with the reasons why not, and what is measured."""

from datetime import UTC, datetime, timedelta

import httpx
import psycopg
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from tests.support.servers import fresh_database
from tests.support.serving import problem, served
from tracker import migrations
from tracker.queries import record_heartbeat
from tracker.settings import Settings
from tracker.times import minute_of

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


pytestmark = pytest.mark.usefixtures("writer")  # each begins with an empty database


BEATING = ("scheduler", "worker")


def store(conn: psycopg.Connection, **ages: float) -> datetime:
    """A price for each index, of the minute that began *ages* seconds ago or a little earlier."""
    now = datetime.now(UTC)
    for ticker, age in ages.items():
        minute = minute_of(now - timedelta(seconds=age))
        insert = "INSERT INTO prices (ticker, price, created_at) VALUES (%s, 1.50, %s)"
        conn.execute(insert, [ticker, minute])
    return now


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_live_is_always_true(client: httpx.Client, prefix: str) -> None:
    """It asks nobody."""
    answer = client.get(f"{prefix}/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "live"})


def test_ready_with_a_fresh_price_of_every_index(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """It says how old they are."""
    now = store(writer, btc_usd=0, eth_usd=60, sol_usdc=9999)

    answer = client.get("/health/ready")

    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == ["status", "prices"]
    assert body["status"] == "ready"
    assert [price["ticker"] for price in body["prices"]] == ["btc_usd", "eth_usd"]
    for price in body["prices"]:
        age = (now - datetime.fromisoformat(price["created_at"])).total_seconds()
        assert age - 0.1 <= price["age_seconds"] < age + 10
        assert price["missing"] == 0


def test_what_is_missing_and_why_is_told(client: httpx.Client, writer: psycopg.Connection) -> None:
    """By readiness and metrics alike: holes of the last hour, and how the newest poll failed."""
    store(writer, btc_usd=7200, eth_usd=1800)
    store(writer, eth_usd=0)
    miss = "INSERT INTO misses (ticker, minute, reason, attempts) VALUES (%s, %s, %s, 3)"
    now = minute_of(datetime.now(UTC))
    for ticker, ago, reason in (
        ("btc_usd", 50, "rate_limited"),
        ("btc_usd", 2, "exchange_unavailable"),
        ("eth_usd", 5, "bad_answer"),
    ):
        writer.execute(miss, [ticker, now - timedelta(minutes=ago), reason])

    reasons = problem(client.get("/health/ready"), 503)
    assert list(reasons) == ["btc_usd"]
    assert reasons["btc_usd"].endswith("; the newest poll failed: exchange_unavailable")

    store(writer, btc_usd=0)
    told = {p["ticker"]: p["missing"] for p in client.get("/health/ready").json()["prices"]}
    text = client.get("/metrics").text
    samples = (sample for metric in prometheus(text) for sample in metric.samples)
    measured = {
        sample.labels["ticker"]: sample.value
        for sample in samples
        if sample.name == "tracker_missing_minutes"
    }
    assert measured == told
    assert told["btc_usd"] == 60
    assert told["eth_usd"] in {28, 29, 30}


def test_the_state_of_each_part_in_words(client: httpx.Client, writer: psycopg.Connection) -> None:
    """Silent parts, a poll that failed and a price that is old are told; all well is ok."""
    store(writer, btc_usd=0, eth_usd=0)
    told = client.get("/health/state").json()
    assert told["status"] == "impaired"
    assert {part["name"]: part["words"] for part in told["parts"]} == {
        "database": "responds",
        "scheduler": "has never sent a heartbeat",
        "worker": "has never sent a heartbeat",
        "exchange": "not polled",
    }

    now = datetime.now(UTC)
    record_heartbeat(writer, "worker")
    record_heartbeat(writer, "scheduler")
    record_heartbeat(writer, "scheduler", timedelta(days=1))  # came late, and changes nothing
    told = client.get("/health/state").json()
    assert told["status"] == "ok"
    assert {part["state"] for part in told["parts"]} == {"up"}
    assert [(each["ticker"], each["failing"]) for each in told["prices"]] == [
        ("btc_usd", None),
        ("eth_usd", None),
    ]

    writer.execute(
        "UPDATE internal.heartbeats SET at = at - INTERVAL '10 min' WHERE part = 'scheduler'"
    )
    writer.execute("TRUNCATE prices")
    miss = (
        "INSERT INTO misses (ticker, minute, reason, attempts) VALUES ('eth_usd', %s, 'refused', 1)"
    )
    writer.execute(miss, [minute_of(now)])
    told = client.get("/health/state").json()
    assert {part["name"]: part["state"] for part in told["parts"]} == {
        "database": "up",
        "scheduler": "down",
        "worker": "up",
        "exchange": "down",
    }
    assert told["parts"][1]["words"] == "last tick 10 min ago"
    assert told["parts"][3]["words"] == "the newest poll failed: eth_usd: refused"
    assert told["prices"][0]["created_at"] is None


@pytest.mark.parametrize("ahead", ["400 days", "20 seconds"])
def test_a_heartbeat_from_the_future_keeps_no_part_up(
    client: httpx.Client, writer: psycopg.Connection, ahead: str
) -> None:
    """A clock ran ahead and was set back: a dead part is down, a live one up at its next beat."""

    def states() -> dict[str, str]:
        parts = client.get("/health/state").json()["parts"]
        return {part["name"]: part["state"] for part in parts if part["name"] in BEATING}

    for part in BEATING:
        writer.execute(
            "INSERT INTO internal.heartbeats VALUES (%s, now() + %s::interval)", [part, ahead]
        )
    assert states() == {"scheduler": "down", "worker": "down"}

    record_heartbeat(writer, "worker")
    assert states() == {"scheduler": "down", "worker": "up"}


def test_an_exchange_that_was_not_asked_of_late_is_not_known(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """Before the first poll is recorded, and once the newest is old; a chart's price is no poll."""

    def exchange() -> dict[str, str]:
        told = client.get("/health/state").json()
        assert told["status"] == "impaired"
        return next(part for part in told["parts"] if part["name"] == "exchange")

    record_heartbeat(writer, "worker")
    none = {
        "name": "exchange",
        "state": "unknown",
        "words": "no poll of the last hour is recorded",
    }
    assert exchange() == none
    store(writer, btc_usd=60, eth_usd=60)
    writer.execute("UPDATE prices SET source = 'chart'")
    store(writer, btc_usd=4000)
    assert exchange() == none
    store(writer, btc_usd=900)
    assert exchange()["state"] == "unknown"
    assert exchange()["words"] in {f"the newest poll recorded was {n} min ago" for n in (15, 16)}
    store(writer, eth_usd=0)
    assert exchange() == {
        "name": "exchange",
        "state": "up",
        "words": "responded to the newest polls",
    }


def test_the_state_without_a_database(base: Settings) -> None:
    """It is told, not refused."""
    with served(base.changed(postgres_db="nowhere")) as client:
        answer = client.get("/health/state")
    assert (answer.status_code, answer.json()["status"]) == (200, "impaired")
    assert answer.json()["parts"][0] == {
        "name": "database",
        "state": "down",
        "words": "does not respond",
    }


def test_not_ready_while_a_price_is_old_or_missing(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """Each index with its own reason; 180 s are the most."""
    store(writer, btc_usd=240)
    reasons = problem(answer := client.get("/health/ready"), 503)

    assert int(answer.headers["retry-after"]) > 0
    assert list(reasons) == ["btc_usd", "eth_usd"]
    assert reasons["btc_usd"].endswith(" s old, more than 180 s")
    assert 240 <= int(reasons["btc_usd"].split()[4]) < 330
    assert reasons["eth_usd"] == "no price in the last month"

    store(writer, btc_usd=115, eth_usd=40 * 86400)  # between 115 and 175 s old
    assert list(problem(client.get("/health/ready"), 503)) == ["eth_usd"]


def test_a_price_from_the_future_makes_nothing_ready(
    client: httpx.Client, writer: psycopg.Connection
) -> None:
    """A wrong clock hides no outage."""
    store(writer, btc_usd=-9999, eth_usd=0)
    assert list(problem(client.get("/health/ready"), 503)) == ["btc_usd"]


def test_not_ready_while_migrations_are_pending(servers: Settings) -> None:
    """Never migrated, half migrated; afterwards ready without a restart."""
    with fresh_database(servers) as bare, served(bare) as client:
        assert problem(client.get("/health/ready"), 503) == {"migrations": "are pending"}
        page = client.get("/prices?ticker=btc_usd")
        assert problem(page, 503) == {"migrations": "are pending"}
        assert int(page.headers["retry-after"]) > 0
        assert client.get("/metrics").status_code == client.get("/openapi.json").status_code == 200

        migrations.apply(bare.database_dsn)
        migrations.rollback(bare.database_dsn, "3")
        pending = ", ".join(migrations.names()[3:])
        assert problem(client.get("/health/ready"), 503) == {
            "migrations": f"are pending: {pending}"
        }

        migrations.apply(bare.database_dsn)
        assert list(problem(client.get("/health/ready"), 503)) == ["btc_usd", "eth_usd"]
        assert client.get("/prices?ticker=btc_usd").json() == []


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
def test_metrics_in_the_format_that_is_accepted(
    client: httpx.Client, writer: psycopg.Connection, accept: str, media_type: str
) -> None:
    """Both are well formed and have the age of each index; an odd wish breaks nothing."""
    now = store(writer, btc_usd=600)
    answer = client.get("/metrics", headers=[(b"Accept", accept.encode())])

    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == media_type
    parse = openmetrics if media_type == OPENMETRICS else prometheus
    found = {metric.name: metric for metric in parse(answer.text)}
    [age] = found["tracker_price_age_seconds"].samples
    assert age.labels == {"ticker": "btc_usd"}
    assert 600 <= age.value < 700 + (datetime.now(UTC) - now).total_seconds()
    assert [sample.value for sample in found["tracker_database_up"].samples] == [1.0]
    assert "process_resident_memory_bytes" in found


def test_requests_are_counted_by_endpoint(client: httpx.Client) -> None:
    """A label for each function, method and status, never for what a visitor made up."""

    def count(**labels: str) -> float:
        families = prometheus(client.get("/metrics").text)
        samples = (sample for metric in families for sample in metric.samples)
        named = (s for s in samples if s.name == "tracker_http_requests_total")
        return sum(s.value for s in named if labels.items() <= s.labels.items())

    before = count(endpoint="prices"), count(endpoint="none", status="404"), count(method="DELETE")
    for path in ("/prices?ticker=btc_usd", "/v1/prices?ticker=eth_usd", "/prices"):
        client.get(path)
    client.get("/made/up")
    client.delete("/prices/last")

    after = count(endpoint="prices"), count(endpoint="none", status="404"), count(method="DELETE")
    assert [b - a for a, b in zip(before, after, strict=True)] == [3, 1, 1]
    assert count(endpoint="made") == 0
