"""The rights of each database role."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest
from psycopg.errors import (
    DuplicateObject,
    InsufficientPrivilege,
    LockNotAvailable,
    ReadOnlySqlTransaction,
)

from tests.support.database import insert_minutes, insert_misses, login
from tracker.settings import ROLES, Settings
from tracker.times import MINUTE

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
# What none of them may do besides the rights on public tables that tests/net records.
# %(chunk)s: the table in which the prices of NOON really are.
FORBIDDEN = [
    "DELETE FROM %(chunk)s",
    "UPDATE tickers SET revision = 0",
    "INSERT INTO candles_1h VALUES ('btc_usd', '2024-01-01Z', 1, 1, 1, 1, 1, 1, 0, 0)",
    "INSERT INTO candles_1d VALUES ('btc_usd', '2024-01-01Z', 1, 1, 1, 1, 1, 1, 0, 0)",
    "DELETE FROM internal.price_islands",
    "INSERT INTO internal.changes VALUES ('btc_usd', 99, 1)",
    "INSERT INTO internal.batches (tickers) VALUES ('{}')",
    "UPDATE internal.month_revisions SET revision = 0",
    "SELECT nextval('internal.batch_position')",
    "SELECT rebuild('btc_usd')",
    "SELECT create_analyst('mine')",
    "SELECT internal.reset_limits('analyst')",
    *("SELECT lo_creat(-1)", "SELECT lo_create(0)", "SELECT lo_from_bytea(0, 'x')"),
    "SELECT internal.revise_all('{btc_usd}')",
    "DELETE FROM _yoyo_migration",
    "ALTER FUNCTION internal.prices_changed() SECURITY INVOKER",
    "CREATE TRIGGER mine AFTER INSERT ON prices EXECUTE FUNCTION internal.prices_changed()",
    "ALTER ROLE postgres PASSWORD 'mine'",
    "SET ROLE postgres",
]
WRITING = [
    "INSERT INTO prices (ticker, price, created_at) VALUES ('btc_usd', 9.00, '2024-01-01Z')",
    "UPDATE prices SET price = 9.00",
    "INSERT INTO misses (ticker, minute, reason, attempts) VALUES ('a_b', '2024-01-01Z', 'x', 1)",
    "INSERT INTO internal.heartbeats VALUES ('worker', now())",
    "UPDATE internal.heartbeats SET at = now()",
]


@pytest.fixture(scope="module")
def owner(base: Settings) -> Iterator[psycopg.Connection]:
    """The owner's connection; the tables contain a price, a miss and a heartbeat."""
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        insert_minutes(conn, [NOON])
        insert_misses(conn, "btc_usd", [NOON + MINUTE], "x")
        conn.execute("INSERT INTO internal.heartbeats VALUES ('worker', %s)", [NOON])
        yield conn


def test_roles_have_no_attributes_or_memberships(owner: psycopg.Connection) -> None:
    query = """
        SELECT rolname FROM pg_roles
         WHERE rolname = ANY (%s) AND rolcanlogin
           AND NOT (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)
           AND NOT EXISTS (SELECT FROM pg_auth_members WHERE member = pg_roles.oid)
    """
    assert {name for (name,) in owner.execute(query, [list(ROLES)])} == set(ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_role_lacks_every_other_right(base: Settings, owner: psycopg.Connection, role: str) -> None:
    """Refused for want of a right, not because sessions begin read-only."""
    [(chunk,)] = owner.execute("SELECT show_chunks('prices')::text").fetchall()
    with login(base, role) as conn:
        conn.execute("SET default_transaction_read_only = off")
        for statement in FORBIDDEN + (WRITING if role != "tracker_worker" else []):
            with pytest.raises(InsufficientPrivilege):
                conn.execute(statement.replace("%(chunk)s", chunk))


@pytest.mark.parametrize("role", ["tracker_web", "analyst"])
def test_reader_sessions_begin_read_only(
    base: Settings, owner: psycopg.Connection, role: str
) -> None:
    with login(base, role) as conn:
        for statement in [*WRITING, "CREATE TEMP TABLE mine (id integer)"]:
            with pytest.raises(ReadOnlySqlTransaction):
                conn.execute(statement)
        assert conn.execute("SELECT count(*) FROM prices").fetchone() == (1,)
    assert owner.execute("SELECT count(*) FROM prices").fetchone() == (1,)


@pytest.fixture
def ann(base: Settings, owner: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """The session of a further analyst."""
    owner.execute("SELECT create_analyst('Ann''s')")
    with login(base, "Ann's") as conn:
        yield conn
    owner.execute("""DROP ROLE "Ann's" """)


def test_created_analyst_has_the_bounds_of_the_first(
    owner: psycopg.Connection, ann: psycopg.Connection, base: Settings
) -> None:
    query = """
        SELECT name, setting FROM pg_settings WHERE source = 'user' ORDER BY name
    """
    with login(base, "analyst") as conn:
        bounds = conn.execute(query).fetchall()
    assert ann.execute(query).fetchall() == bounds
    assert {name for name, _ in bounds} == {
        *("TimeZone", "default_transaction_read_only", "idle_in_transaction_session_timeout"),
        *("lock_timeout", "statement_timeout", "temp_file_limit"),
    }
    query = "SELECT rolconnlimit, rolsuper, rolcreaterole FROM pg_roles WHERE rolname = %s"
    assert owner.execute(query, ["Ann's"]).fetchone() == (20, False, False)


def test_second_analyst_of_a_name_is_refused(
    owner: psycopg.Connection, ann: psycopg.Connection
) -> None:
    with pytest.raises(DuplicateObject, match='role "Ann\'s" already exists') as raised:
        owner.execute("SELECT create_analyst('Ann''s')")
    assert "`tracker analyst-password`" in str(raised.value.diag.message_hint)
    assert ann.execute("SELECT count(*) FROM latest_prices").fetchone() == (1,)


def test_created_analyst_reads_and_changes_nothing(ann: psycopg.Connection) -> None:
    assert ann.execute("SELECT count(*) FROM latest_prices").fetchone() == (1,)
    ann.execute("SELECT * FROM gaps('btc_usd', '2024-01-01Z', '2024-02-01Z')")
    for statement in WRITING:
        with pytest.raises(ReadOnlySqlTransaction):
            ann.execute(statement)
    ann.execute("SET default_transaction_read_only = off")
    for statement in WRITING:
        with pytest.raises(InsufficientPrivilege):
            ann.execute(statement)


@pytest.mark.usefixtures("owner")
def test_analyst_has_temporary_tables_in_a_transaction_that_writes(base: Settings) -> None:
    """Later transactions fill them although they are read-only."""
    with login(base, "analyst") as conn:
        conn.execute("BEGIN READ WRITE")
        conn.execute("CREATE TEMP TABLE trades (ticker text, at timestamptz)")
        conn.execute("COMMIT")
        conn.execute("INSERT INTO trades VALUES ('btc_usd', %s)", [NOON + MINUTE])
        conn.execute("BEGIN READ WRITE")
        conn.execute("ANALYZE trades")
        conn.execute("COMMIT")
        with conn.cursor().copy("COPY trades FROM STDIN") as copy:
            copy.write_row(["btc_usd", NOON - MINUTE])
        query = """
            SELECT trade.at, quote.price
              FROM trades AS trade
              LEFT JOIN LATERAL price_at(trade.ticker, trade.at, '5 min') AS quote ON true
             ORDER BY trade.at
        """
        assert conn.execute(query).fetchall() == [
            (NOON - MINUTE, None),
            (NOON + MINUTE, Decimal("1.50")),
        ]


@pytest.mark.parametrize("name", ["postgres", "template1"])
def test_roles_connect_to_no_other_database(base: Settings, name: str) -> None:
    """Of the embedded server, where they could fill the disk."""
    for role in ROLES:
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            login(base.changed(postgres_db=name), role)


def test_analyst_does_not_wait_long_for_a_lock(base: Settings, owner: psycopg.Connection) -> None:
    with login(base, "analyst") as conn, owner.transaction():
        owner.execute("LOCK TABLE misses")
        with pytest.raises(LockNotAvailable):
            conn.execute("SELECT FROM misses")


def test_analysts_have_at_most_20_connections(base: Settings) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(login(base, "analyst"))
        with pytest.raises(psycopg.OperationalError, match='too many connections for role "ana'):
            login(base, "analyst")


def test_every_role_reads_every_table(base: Settings, owner: psycopg.Connection) -> None:
    tables = owner.execute(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'v')"
        " AND relnamespace IN ('public'::regnamespace, 'internal'::regnamespace)"
        " AND relname !~ 'yoyo'"
    ).fetchall()
    assert len(tables) == 12
    for role in ROLES:
        with login(base, role) as conn:
            for (table,) in tables:
                conn.execute(f"SELECT FROM {table} LIMIT 1")


def test_analyst_sees_five_tables(base: Settings, owner: psycopg.Connection) -> None:
    r"""As \\dt lists them, without those of yoyo."""
    query = (
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relname !~ 'yoyo'"
        " AND relnamespace <> 'pg_catalog'::regnamespace AND pg_table_is_visible(oid)"
        " ORDER BY relname"
    )
    with login(base, "analyst") as conn:
        names = [name for (name,) in conn.execute(query)]
    assert names == ["candles_1d", "candles_1h", "misses", "prices", "tickers"]
    assert owner.execute("SELECT count(*) FROM prices").fetchone() == (1,)


def test_trigger_functions_cannot_be_used_by_others(
    base: Settings, owner: psycopg.Connection
) -> None:
    """They run with the owner's rights."""
    with login(base, "analyst") as conn:
        conn.execute("SET default_transaction_read_only = off")
        conn.execute("CREATE TEMP TABLE mine (LIKE prices)")
        query = (
            "SELECT oid::regproc::text FROM pg_proc"
            " WHERE prosecdef AND prorettype = 'trigger'::regtype"
            " AND pronamespace = 'internal'::regnamespace"
        )
        names = [name for (name,) in owner.execute(query)]
        assert len(names) == 4
        for name in names:
            with pytest.raises(InsufficientPrivilege):
                conn.execute(
                    "CREATE TRIGGER mine AFTER INSERT ON mine REFERENCING NEW TABLE AS changed"
                    f" FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
                )


def test_triggers_ignore_temporary_tables_of_the_same_name(
    base: Settings, owner: psycopg.Connection
) -> None:
    minute = NOON + timedelta(days=1)
    with login(base, "tracker_worker") as conn:
        for table in ("tickers", "candles_1h", "candles_1d", "prices"):
            conn.execute(f"CREATE TEMP TABLE {table} (LIKE public.{table})")
        conn.execute("SET search_path = pg_temp, public")
        conn.execute(
            "INSERT INTO public.prices (ticker, price, created_at) VALUES ('btc_usd', 1.50, %s)",
            [minute],
        )
        assert conn.execute("SELECT count(*) FROM pg_temp.candles_1h").fetchone() == (0,)

    query = "SELECT count(*) FROM candles_1h WHERE bucket = %s"
    assert owner.execute(query, [minute]).fetchone() == (1,)
    query = "SELECT samples FROM candles_1d WHERE bucket = %s"
    assert owner.execute(query, [minute.replace(hour=0)]).fetchone() == (1,)
