"""Readiness with reasons, the state of each part, and metrics."""

import math
import re
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import ANY

import httpx
import psycopg
import pytest
import redis
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus
from psycopg.conninfo import conninfo_to_dict

from tests.support.api import error_reasons, read_metric, serve_api, service_parts
from tests.support.database import (
    create_database,
    insert_minutes,
    insert_misses,
    make_settings,
)
from tracker import __version__, migrations
from tracker.embedded.home import running_servers
from tracker.queries import record_heartbeat
from tracker.settings import Settings
from tracker.times import MINUTE, minute_of

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


pytestmark = pytest.mark.usefixtures("writer")  # each begins with an empty database


PARTS = ("scheduler", "worker")


def insert_aged_prices(conn: psycopg.Connection, **ages: float) -> datetime:
    """Insert a price of each index, *ages* seconds old or a little more; prices differ by age."""
    now = datetime.now(UTC)
    for ticker, age in ages.items():
        price = f"{abs(age) + 1:.2f}"
        insert_minutes(conn, [minute_of(now - timedelta(seconds=age))], ticker, price)
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
        "redis": "accepts writes",
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
        "redis": {"state": "up", "words": "accepts writes"},
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


def insert_unchanged(conn: psycopg.Connection, ticker: str, minutes: int) -> None:
    """Insert another price, and then the same one for that many minutes until now."""
    now = minute_of(datetime.now(UTC))
    insert_minutes(conn, [now - (minutes + 1) * MINUTE], ticker, "2.50")
    insert_minutes(conn, [now - number * MINUTE for number in range(minutes + 1)], ticker)


def test_frozen_index_is_reported(client: httpx.Client, writer: psycopg.Connection) -> None:
    """From five minutes on, in the state and as a metric; a later change ends it."""
    for part in PARTS:
        record_heartbeat(writer, part)
    insert_unchanged(writer, "btc_usd", 7)
    insert_unchanged(writer, "eth_usd", 2)

    state = client.get("/health/state").json()
    assert state["status"] == "impaired"
    assert service_parts(client)["exchange"] == {
        "state": "down",
        "words": "responds, but btc_usd has not changed for 7 min",
    }
    unchanged = {each["ticker"]: each["unchanged_seconds"] for each in state["prices"]}
    assert unchanged == {"btc_usd": 420.0, "eth_usd": 120.0}
    metric = {t: read_metric(client, "tracker_price_unchanged_seconds", t) for t in unchanged}
    assert metric == unchanged

    writer.execute(
        "UPDATE prices SET price = 3.25"
        " WHERE ticker = 'btc_usd' AND created_at = (SELECT max(created_at) FROM prices)"
    )
    state = client.get("/health/state").json()
    assert state["prices"][0]["unchanged_seconds"] == 0.0
    assert state["status"] == "ok"


def test_pair_of_one_currency_may_stand_still(base: Settings, writer: psycopg.Connection) -> None:
    """Its time without a change is neither shown nor exported."""
    for part in PARTS:
        record_heartbeat(writer, part)
    insert_unchanged(writer, "usdc_usd", 60)
    with serve_api(base.changed(tickers="usdc_usd")) as client:
        state = client.get("/health/state").json()
        assert (state["status"], state["prices"][0]["unchanged_seconds"]) == ("ok", None)
        assert "tracker_price_unchanged_seconds{" not in client.get("/metrics").text


def test_locked_index_is_reported(client: httpx.Client, writer: psycopg.Connection) -> None:
    """While the worker learns of it: an old or a future report does not count."""
    for part in PARTS:
        record_heartbeat(writer, part)
    insert_aged_prices(writer, btc_usd=0, eth_usd=0)
    record_heartbeat(writer, "exchange", locked=["eth_usd"])

    state = client.get("/health/state").json()
    assert [each["locked"] for each in state["prices"]] == [False, True]
    assert service_parts(client)["exchange"] == {
        "state": "down",
        "words": "responds, but eth_usd is locked",
    }
    for age in ("10 min", "-1 day"):
        writer.execute(
            "UPDATE internal.heartbeats SET at = now() - %s::interval WHERE part = 'exchange'",
            [age],
        )
        assert client.get("/health/state").json()["status"] == "ok"
    record_heartbeat(writer, "exchange")
    assert client.get("/health/state").json()["status"] == "ok"


def test_patterns_select_from_the_names_that_the_worker_has_read(
    base: Settings, writer: psycopg.Connection
) -> None:
    """Without any, prices of none can be served; what vanished is reported for a day."""
    for part in PARTS:
        record_heartbeat(writer, part)
    insert_aged_prices(writer, btc_usd=0, old_usd=3600)
    with serve_api(base.changed(tickers="*_usd")) as client:
        response = client.get("/health/ready")
        assert response.status_code == 503
        why = "no index of the exchange is known yet that TICKERS selects"
        assert response.json()["errors"] == [{"name": "tickers", "reason": why}]
        assert service_parts(client)["exchange"] == {"state": "unknown", "words": why}

        record_heartbeat(writer, "listed", names=["btc_usd", "btc_usdc"])
        record_heartbeat(writer, "vanished", names=["old_usd", "old_usdc"])

        [price] = client.get("/health/ready").json()["prices"]
        assert price["ticker"] == "btc_usd"
        assert client.get("/health/state").json()["status"] == "ok"
        assert service_parts(client)["exchange"] == {
            "state": "up",
            "words": "responded to the newest polls; it does not list old_usd any more",
        }
        configured = {row["ticker"]: row["configured"] for row in client.get("/tickers").json()}
        assert configured == {"btc_usd": True, "old_usd": False}
        assert re.findall(
            "^tracker_index_vanished{.*", client.get("/metrics").text, re.MULTILINE
        ) == [
            'tracker_index_vanished{ticker="btc_usd"} 0.0',
            'tracker_index_vanished{ticker="old_usd"} 1.0',
        ]
        assert client.get("/prices/last?ticker=btc_usdc").status_code == 422
        record_heartbeat(writer, "listed", names=["btc_usd", "eth_usd"])
        assert client.get("/prices/last?ticker=eth_usd").status_code == 404
        writer.execute("UPDATE internal.heartbeats SET at = now() - INTERVAL '25 h'")
        assert 'tracker_index_vanished{ticker="old_usd"}' not in client.get("/metrics").text


def test_age_of_backup_is_exported(client: httpx.Client, writer: psycopg.Connection) -> None:
    """Infinite without one, and for one from the future."""
    insert_aged_prices(writer, btc_usd=0)

    def backup_age() -> float:
        found = prometheus(client.get("/metrics").text)
        [metric] = [metric for metric in found if metric.name == "tracker_backup_age_seconds"]
        return float(metric.samples[0].value)

    assert backup_age() == math.inf
    record_heartbeat(writer, "backup", timedelta(hours=2))
    assert 7200 <= backup_age() < 7500
    writer.execute("UPDATE internal.heartbeats SET at = now() + INTERVAL '400 days'")
    assert backup_age() == math.inf


def test_version_is_exported(client: httpx.Client) -> None:
    assert f'tracker_build_info{{version="{__version__}"}} 1.0' in client.get("/metrics").text


def test_buckets_separate_fast_requests(client: httpx.Client) -> None:
    """A page takes less than the smallest bucket of Prometheus' default."""
    client.get("/health/live")
    buckets = {
        float(sample.labels["le"])
        for metric in prometheus(client.get("/metrics").text)
        for sample in metric.samples
        if sample.name == "tracker_http_request_seconds_bucket"
    }
    assert {0.0001, 0.001, 0.005, 1.0} <= buckets
    assert len(buckets) <= 16


def test_full_redis_is_told_apart_from_a_silent_scheduler(
    base: Settings, writer: psycopg.Connection, open_tmp: Path
) -> None:
    """Ticks cannot pass through it, therefore the scheduler's state is unknown."""
    record_heartbeat(writer, "worker")
    record_heartbeat(writer, "scheduler", timedelta(minutes=10))
    own = make_settings(open_tmp / "full", postgres_host="none")
    with running_servers(own):
        sockets = conninfo_to_dict(base.database_dsn)["host"]
        settings = base.changed(postgres_host=sockets, tracker_home=own.tracker_home)
        with redis.from_url(own.broker_url) as server, serve_api(settings) as client:
            assert service_parts(client)["scheduler"]["state"] == "down"
            server.config_set("maxmemory", 1)
            found = service_parts(client)
            assert found["redis"]["state"] == "down"
            assert found["redis"]["words"].startswith("accepts no writes: ")
            assert found["scheduler"] == {
                "state": "unknown",
                "words": "last tick 10 min ago; its ticks pass through Redis",
            }
            assert found["worker"]["state"] == "up"


@pytest.mark.parametrize("listening", [True, False])
def test_unresponsive_redis_is_down(base: Settings, *, listening: bool) -> None:
    """One that hangs accepts connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if not listening:
            listener.close()
        with serve_api(base.changed(redis_host="127.0.0.1", redis_port=port)) as client:
            assert service_parts(client)["redis"] == {"state": "down", "words": "does not respond"}


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
