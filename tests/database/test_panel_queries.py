"""The panels' SQL on a real database, in the role of Grafana."""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from tests.support.commands import run_psql
from tests.support.dashboards import BOARDS, GRAFANA, Query, expanded_sql, queries
from tests.support.database import insert_misses
from tracker.settings import Settings
from tracker.times import minute_of

NOW = minute_of(datetime.now(UTC))
SPAN = (NOW - timedelta(hours=3), NOW + timedelta(minutes=1))
CHOSEN = {"ticker": "btc_usd", "other": "eth_usd"}
PANELS = queries("timescaledb", "rawSql")

# Three hours of two indexes, one hour of another; a chunk long before, and one long after.
FILL = """
    INSERT INTO prices (ticker, price, created_at, observed_at, source)
    SELECT ticker, 100.00 + n, at, at, CASE WHEN mod(n, 7) = 0 THEN 'chart' ELSE 'poll' END
      FROM (VALUES ('btc_usd', 180), ('eth_usd', 180), ('late_usd', 60)) AS asked (ticker, most)
     CROSS JOIN LATERAL (
        SELECT n, %(now)s::timestamptz - make_interval(mins => n) AS at
          FROM generate_series(0, most) AS n
         WHERE mod(n, 10) <> 3
         UNION ALL
        SELECT 0, %(now)s::timestamptz + years
          FROM unnest(ARRAY[INTERVAL '3 years', INTERVAL '-3 years']) AS years
         WHERE ticker <> 'late_usd'
     ) AS minutes
"""


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Password files, as Compose mounts them."""
    folder = tmp_path_factory.mktemp("secrets")
    for role in ("grafana", "exporter"):
        (folder / f"{role}_db_password").write_text(f"{role}'s own: $ecret\n")
    return folder


def make_roles(settings: Settings, secrets: Path) -> None:
    words = (f"--set=secrets={secrets}", "--no-psqlrc", "--quiet", f"--file={GRAFANA}/roles.sql")
    assert run_psql(settings, *words) == (0, "", "")


@pytest.fixture(scope="module")
def filled(base: Settings, secrets: Path) -> Settings:
    """A database with some hours of prices, and the roles."""
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        conn.execute(FILL, {"now": NOW})
        insert_misses(conn, "btc_usd", [NOW - timedelta(minutes=3)], "refused")
    make_roles(base, secrets)
    return base


@pytest.fixture
def grafana(filled: Settings) -> Iterator[psycopg.Connection]:
    """A connection in Grafana's role."""
    dsn = filled.changed(postgres_user="grafana").database_dsn
    with psycopg.connect(dsn, autocommit=True) as conn:
        yield conn


def run_panel(conn: psycopg.Connection, query: Query, step: str = "1m", before: str = "") -> list:
    text = expanded_sql(query.text, *SPAN, CHOSEN, step)
    return conn.execute(before + text).fetchall()


@pytest.mark.parametrize("query", PANELS, ids=str)
@pytest.mark.parametrize("step", ["1m", "2h"])
def test_panel_has_a_value_in_every_column(
    grafana: psycopg.Connection, query: Query, step: str
) -> None:
    rows = run_panel(grafana, query, step)
    assert rows
    assert all(any(value is not None for value in column) for column in zip(*rows, strict=True))


@pytest.mark.parametrize("query", PANELS, ids=str)
def test_panel_excludes_chunks_outside_its_window(
    grafana: psycopg.Connection, query: Query
) -> None:
    plan = "\n".join(line for (line,) in run_panel(grafana, query, before="EXPLAIN "))
    assert len(set(re.findall(r"_hyper_\d+_\d+_chunk\b", plan))) <= 1
    assert "_chunk" in plan or "candles_1h" in plan


def find_panel(title: str) -> Query:
    [found] = [query for query in PANELS if query.panel == title]
    return found


def test_panel_of_candles_matches_the_rows(grafana: psycopg.Connection) -> None:
    """Prices fall by one a minute: an hour opens high and closes low."""
    for time, first, high, low, last in run_panel(grafana, find_panel("$ticker"), "1h"):
        newest = min(time + timedelta(minutes=59), NOW)
        oldest = max(time, NOW - timedelta(minutes=180))
        assert high == first
        assert low == last
        assert 100 + (NOW - oldest).seconds // 60 - first in {0, 1}
        assert last - 100 - (NOW - newest).seconds // 60 in {0, 1}


def test_panel_of_coverage_counts_every_minute_since_tracking(grafana: psycopg.Connection) -> None:
    rows = {row[0]: row[1:] for row in run_panel(grafana, find_panel("Coverage of the time range"))}
    newest, polled, charted, imported, missing, coverage, failed = rows["late_usd"]
    assert (newest, imported, failed) == (NOW, 0, 0)
    assert polled + charted == 55  # every tenth of 61 minutes was left out
    assert missing in {5, 6}  # the present one counts when it is over
    assert 90 < coverage <= 100
    assert rows["btc_usd"][6] == 1


def test_panel_of_hours_counts_sixty_minutes(grafana: psycopg.Connection) -> None:
    hours = run_panel(grafana, find_panel("Minutes per hour of $ticker"))
    whole = [hour for hour in hours if hour[0] + timedelta(hours=1) <= NOW]
    assert whole
    assert all(sum(hour[1:]) == 60 for hour in whole)


def test_spread_of_equal_prices_is_zero(grafana: psycopg.Connection) -> None:
    spread = run_panel(grafana, find_panel("Spread between $ticker and $other"))
    assert {float(value) for _, value in spread} == {0}
    assert {float(value) for _, value in run_panel(grafana, find_panel("$ticker in $other"))} == {1}


def test_variables_list_the_tracked_indexes(grafana: psycopg.Connection) -> None:
    ticker, other = BOARDS["prices"]["templating"]["list"]
    found = [
        [name for (name,) in grafana.execute(expanded_sql(each["query"], *SPAN, CHOSEN))]
        for each in (ticker, other)
    ]
    assert found == [["btc_usd", "eth_usd", "late_usd"], ["eth_usd", "late_usd"]]


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("grafana", "DELETE FROM prices"),
        ("grafana", "SET transaction_read_only = off; UPDATE tickers SET revision = 9"),
        ("grafana", "CREATE TABLE mine ()"),
        ("exporter", "SELECT price FROM prices"),
        ("exporter", "INSERT INTO misses SELECT FROM misses"),
    ],
)
def test_monitoring_roles_cannot_write(filled: Settings, role: str, statement: str) -> None:
    dsn = filled.changed(postgres_user=role).database_dsn
    with psycopg.connect(dsn) as conn, pytest.raises(psycopg.Error) as caught:
        conn.execute(statement)
    assert caught.value.sqlstate in {"42501", "25006"}


def test_passwords_are_updated_from_the_files(filled: Settings, secrets: Path) -> None:
    path = secrets / "grafana_db_password"
    assert is_password(filled, "grafana", path.read_text().strip())
    path.write_text("another")
    make_roles(filled, secrets)
    assert is_password(filled, "grafana", "another")
    assert is_password(filled, "exporter", "exporter's own: $ecret")


def is_password(settings: Settings, role: str, password: str) -> bool:
    """Whether the server's verifier is of this password (RFC 5803)."""
    query = "SELECT rolpassword FROM pg_authid WHERE rolname = %s"
    with psycopg.connect(settings.database_dsn) as conn:
        [verifier] = conn.execute(query, [role]).fetchone() or [""]
    _, rounds, salt, stored, _ = re.split(r"[$:]", verifier)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(rounds))
    client = hmac.digest(salted, b"Client Key", "sha256")
    return hashlib.sha256(client).digest() == base64.b64decode(stored)
