"""SQL as analysts, the parts of the tracker and other writers use it.

Columns, rows and SQLSTATEs are behaviour; comments and messages of errors are texts.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest

from tests.net import sql_cases
from tests.net.product import CHECKOUT, Product
from tests.net.queries import Observation, run_queries, run_query, split_messages
from tests.net.recordings import check

pytestmark = pytest.mark.slow

EXAMPLES = CHECKOUT / "sql" / "examples"
NOW = "timestamptz '2024-03-31 23:59:30Z'"  # in the place of now() in the examples
NOTIFY_TIMEOUT = 90.0  # seconds


@pytest.fixture(scope="module")
def filled(empty_product: Product) -> Iterator[Product]:
    """A database with the rows of sql_cases."""
    with empty_product.database("net_sql") as filled:
        with psycopg.connect(filled.dsn, autocommit=True) as conn:
            conn.execute(sql_cases.ROWS)
        yield filled


@pytest.fixture
def owner(filled: Product) -> Iterator[psycopg.Connection]:
    """A connection to it as its owner."""
    with psycopg.connect(filled.dsn, autocommit=True) as conn:
        conn.execute("SET timezone = 'UTC'")
        yield conn


def compare(name: str, found: Mapping[str, Observation]) -> None:
    """Compare with the recording *name*, messages of errors apart."""
    check(name, *split_messages(found))


def test_catalog_of_public_is_recorded(owner: psycopg.Connection) -> None:
    """Relations, columns, types, keys, functions, roles; comments are texts."""
    catalog = run_queries(owner, sql_cases.CATALOG)
    check("sql_catalog", catalog, run_queries(owner, sql_cases.COMMENTS))


def test_reads_return_recorded_rows(owner: psycopg.Connection) -> None:
    """Every function, view and table of analysts."""
    compare("sql_reads", run_queries(owner, sql_cases.READS))


@pytest.mark.parametrize("zone", sql_cases.ZONES)
def test_summaries_are_equal_in_every_zone(owner: psycopg.Connection, zone: str) -> None:
    """Buckets are those of UTC, whatever the session's zone."""
    owner.execute(f"SET timezone = '{zone}'")
    compare("sql_summaries", run_queries(owner, sql_cases.SUMMARIES))


@pytest.mark.parametrize("zone", sql_cases.ZONES[1:])
def test_zone_of_session_prints_moments(owner: psycopg.Connection, zone: str) -> None:
    """Rows with moments in another zone."""
    owner.execute(f"SET timezone = '{zone}'")
    cases = {name: sql_cases.READS[name] for name in sql_cases.ZONED_READS}
    compare(f"sql_reads_{zone.rpartition('/')[2].lower()}", run_queries(owner, cases))


@pytest.mark.parametrize("role", ["analyst", "tracker_web"])
def test_examples_return_recorded_rows(filled: Product, role: str) -> None:
    """Each file of sql/examples, with a fixed moment for now(), as those who read see it."""
    files = sorted(EXAMPLES.glob("*.sql"))
    with log_in(filled, role) as conn:
        conn.execute("SET timezone = 'UTC'")
        found = {file.stem: run_query(conn, _at_fixed_time(file)) for file in files}
    compare("sql_examples", found)


def _at_fixed_time(file: Path) -> str:
    return re.sub(r"\bnow\(\)", NOW, file.read_text())


def log_in(product: Product, role: str) -> psycopg.Connection:
    """A connection as *role*, each statement committed."""
    return psycopg.connect(product.dsn, user=role, autocommit=True)


@pytest.mark.parametrize("role", sql_cases.ROLES)
def test_role_has_recorded_rights(owner: psycopg.Connection, role: str) -> None:
    """What each role may do, whatever the settings of its sessions; nothing is committed."""
    compare(f"sql_rights_{role}", try_as(owner, role, sql_cases.RIGHTS))


def test_heartbeats_have_recorded_rights(owner: psycopg.Connection) -> None:
    """The table of heartbeats alone, because it moves."""
    found = {
        f"{role}: {name}": each
        for role in sql_cases.ROLES
        for name, each in try_as(owner, role, sql_cases.HEARTBEAT).items()
    }
    compare("sql_rights_heartbeats", found)


def try_as(
    conn: psycopg.Connection, role: str, statements: Mapping[str, str]
) -> dict[str, Observation]:
    """Whether *role* may do each of *statements*; each is rolled back."""
    found: dict[str, Observation] = {}
    for name, statement in statements.items():
        with conn.transaction(force_rollback=True):
            conn.execute(f"SET LOCAL SESSION AUTHORIZATION {role}")
            seen = run_query(conn, statement)
        is_error = isinstance(seen, dict) and "sqlstate" in seen
        found[name] = seen if is_error else {"allowed": True}
    return found


def test_session_of_role_has_recorded_settings(filled: Product) -> None:
    """What a login of each role begins with, and what a reader's first write meets."""
    names = (
        *("default_transaction_read_only", "statement_timeout", "lock_timeout"),
        *("idle_in_transaction_session_timeout", "timezone", "search_path"),
    )
    write = sql_cases.insert_row("prices", {"ticker": "'a_b'", "price": "0.00"})
    found: dict[str, Observation] = {}
    for role in sql_cases.ROLES:
        with log_in(filled, role) as conn:
            found |= {f"{role}: {name}": run_query(conn, f"SHOW {name}") for name in names}
            found[f"{role}: write"] = run_query(conn, write)
    compare("sql_sessions", found)


def test_refusals_have_recorded_states(owner: psycopg.Connection) -> None:
    """Invalid rows are rejected from every role."""
    found = {}
    for name, statement in sql_cases.REFUSALS.items():
        with owner.transaction(force_rollback=True):
            found[name] = run_query(owner, statement)
    compare("sql_refusals", found)


def test_writes_have_recorded_effects(empty_product: Product) -> None:
    """What outsiders see in tables, views and functions after each statement; what LISTEN hears.

    Revisions and payloads are cases of their own: how many there are of a statement may change.
    """
    with (
        empty_product.database("net_writes") as product,
        psycopg.connect(product.dsn, autocommit=True) as writer,
        psycopg.connect(product.dsn, autocommit=True) as listener,
    ):
        writer.execute("SET timezone = 'UTC'")
        listener.execute("LISTEN prices")
        before: dict[str, Observation] = {}
        found: dict[str, Observation] = {}
        counted: dict[str, Observation] = {}
        for name, statement in sql_cases.WRITES.items():
            done, _ = split_messages({"done": run_query(writer, statement)})
            after = run_queries(writer, sql_cases.ASPECTS)
            payloads = sorted(_heard(writer, listener))
            found[name] = {
                **done,
                "changed": {key: after[key] for key in after if after[key] != before.get(key)},
                "notified": sorted(set(re.findall("[a-z]+_usd", "".join(payloads)))),
            }
            counted[name] = {
                "revisions": run_query(writer, sql_cases.REVISIONS),
                "payloads": payloads,
            }
            before = after
    check("sql_writes", found)
    check("sql_revisions", counted)


def _heard(writer: psycopg.Connection, listener: psycopg.Connection) -> Iterator[str]:
    """The payloads of what was notified before an empty one."""
    writer.execute("NOTIFY prices, ''")
    for notify in listener.notifies(timeout=NOTIFY_TIMEOUT):
        if not notify.payload:
            return
        yield notify.payload
    pytest.fail("LISTEN hears nothing")
