"""Roles belong to the server: many databases, owners with few rights, passwords."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from tests.support.clock import NOON
from tests.support.commands import run_command
from tests.support.database import create_database, insert_minutes, login, make_settings
from tracker import migrations
from tracker.database import connect
from tracker.embedded.home import psql_command, psql_environment, running_servers, servers_are_ready
from tracker.errors import DatabaseDown, SettingsError
from tracker.settings import ROLES, Settings

pytestmark = pytest.mark.slow

# Rights on tables and functions that are not their owner's, the powers of functions, and roles.
RIGHTS = """
    SELECT relname, acl.grantee::regrole::text, acl.privilege_type
      FROM pg_class CROSS JOIN aclexplode(relacl) AS acl
     WHERE relnamespace IN ('public'::regnamespace, to_regnamespace('internal'))
       AND acl.grantee <> relowner
     UNION ALL
    SELECT relname, acl.grantee::regrole::text, attname || acl.privilege_type
      FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
     CROSS JOIN aclexplode(attacl) AS acl
     WHERE relnamespace IN ('public'::regnamespace, to_regnamespace('internal'))
     UNION ALL
    SELECT proname, prosecdef::text, acl.privilege_type
      FROM pg_proc CROSS JOIN aclexplode(coalesce(proacl, acldefault('f', proowner))) AS acl
     WHERE pronamespace = to_regnamespace('internal') AND prorettype = 'trigger'::regtype
       AND acl.grantee = 0
"""


@pytest.fixture(scope="module")
def own_server(open_tmp: Path) -> Iterator[Settings]:
    """A private server, whose roles belong to no other test."""
    settings = make_settings(open_tmp / "roles-home")
    with running_servers(settings, durable=False):
        yield settings


@pytest.fixture
def admin(own_server: Settings) -> Iterator[psycopg.Connection]:
    """Its superuser; the roles do not exist before, nor after."""
    with psycopg.connect(own_server.database_dsn, autocommit=True) as conn:
        yield conn
        for role in ROLES:
            conn.execute(f"DROP ROLE IF EXISTS {role}")


@pytest.fixture
def fresh_database(own_server: Settings, admin: psycopg.Connection) -> Iterator[Settings]:
    """A database without the schema, on a server without the roles."""
    assert existing_roles(admin) == set()
    with create_database(own_server) as settings:
        yield settings


def existing_roles(admin: psycopg.Connection) -> set[str]:
    found = admin.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)", [list(ROLES)])
    return {name for (name,) in found}


def read_privileges(settings: Settings) -> set[tuple[str, ...]]:
    with psycopg.connect(settings.database_dsn) as conn:
        return set(conn.execute(RIGHTS).fetchall())


def test_concurrent_migrations_share_roles(own_server: Settings, admin: psycopg.Connection) -> None:
    """The first one creates the roles; all of them grant the same privileges."""
    with ExitStack() as stack:
        databases = [stack.enter_context(create_database(own_server)) for _ in range(4)]
        for each in databases:
            migrations.apply(each.database_dsn)
            migrations.rollback(each.database_dsn, "0")
        for role in ROLES:
            admin.execute(f"DROP ROLE {role}")
        with ThreadPoolExecutor(4) as threads:
            done = list(threads.map(migrations.apply, [each.database_dsn for each in databases]))

        assert all(names == migrations.names() for names in done)
        assert existing_roles(admin) == set(ROLES)
        assert len(read_privileges(databases[0])) > 20
        assert all(read_privileges(each) == read_privileges(databases[0]) for each in databases)


def test_rollback_retains_roles_of_other_databases(
    own_server: Settings, fresh_database: Settings, admin: psycopg.Connection
) -> None:
    """Its own privileges are revoked; roles, their settings and the other's privileges stay."""
    with create_database(own_server) as neighbour:
        for each in (fresh_database, neighbour):
            migrations.apply(each.database_dsn)
        admin.execute("ALTER ROLE analyst CONNECTION LIMIT 3")
        given = read_privileges(neighbour)
        migrations.rollback(fresh_database.database_dsn, "0")

        assert existing_roles(admin) == set(ROLES)
        assert read_privileges(fresh_database) == set()
        assert read_privileges(neighbour) == given
        migrations.apply(fresh_database.database_dsn)
        assert read_privileges(fresh_database) == given
    query = "SELECT rolconnlimit FROM pg_roles WHERE rolname = 'analyst'"
    assert admin.execute(query).fetchone() == (3,)


def test_limits_that_an_analyst_changed_are_restored(fresh_database: Settings) -> None:
    """By `migrate` and by a new password: a shared login must not stay damaged."""
    migrations.apply(fresh_database.database_dsn)
    query = "SELECT name, setting FROM pg_settings WHERE source ~ 'user' ORDER BY 1"
    with login(fresh_database, "analyst") as conn:
        limits = conn.execute(query).fetchall()
    assert len(limits) == 6
    for repair in (
        migrations.apply,
        lambda dsn: migrations.set_analyst_password(dsn, "analyst", "a word"),
    ):
        with login(fresh_database, "analyst") as conn:
            conn.execute("SET default_transaction_read_only = off")
            conn.execute("ALTER ROLE analyst SET default_transaction_read_only = off")
            conn.execute("ALTER ROLE analyst SET statement_timeout = 0")
            database = fresh_database.postgres_db
            conn.execute(f"ALTER ROLE analyst IN DATABASE {database} SET search_path = pg_temp")
        repair(fresh_database.database_dsn)
        with login(fresh_database, "analyst") as conn:
            assert conn.execute(query).fetchall() == limits


@pytest.fixture
def managed_database(own_server: Settings, admin: psycopg.Connection) -> Iterator[Settings]:
    """A database of a managed server: an owner who is no superuser, and the extension."""
    admin.execute("CREATE ROLE plain LOGIN")
    with create_database(own_server) as settings:
        admin.execute(f"ALTER DATABASE {settings.postgres_db} OWNER TO plain")
        with psycopg.connect(settings.database_dsn, autocommit=True) as conn:
            conn.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        yield settings.changed(postgres_user="plain")
    admin.execute("DROP ROLE plain")


def test_owner_without_createrole_migrates_without_roles(
    managed_database: Settings, admin: psycopg.Connection
) -> None:
    """One line warns; the owner can do everything, and privileges can be granted later."""
    status, output, errors = run_command(managed_database, "migrate")
    assert (status, output.count("applied")) == (0, len(migrations.names()))
    said = "missing roles: analyst, tracker_web, tracker_worker; plain may not create roles."
    assert errors.startswith(said)
    assert errors.count("\n") == 1
    assert existing_roles(admin) == set()
    with login(managed_database, "plain") as conn:
        insert_minutes(conn, [NOON])
        assert conn.execute("SELECT count(*) FROM latest_prices").fetchone() == (1,)

    admin.execute("CREATE ROLE tracker_web LOGIN")
    with login(managed_database, "tracker_web") as conn:
        with pytest.raises(InsufficientPrivilege):
            conn.execute("SELECT FROM prices")
        assert run_command(managed_database, "migrate")[1] == "the database is up to date\n"
        assert conn.execute("SELECT FROM prices").rowcount == 1


def test_owner_with_createrole_creates_roles(
    managed_database: Settings, admin: psycopg.Connection
) -> None:
    """Roles, their settings, privileges and passwords need no superuser."""
    admin.execute("ALTER ROLE plain CREATEROLE")
    migrations.apply(managed_database.database_dsn)
    migrations.set_role_passwords(managed_database.database_dsn, {"analyst": "a word"})

    with login(managed_database, "tracker_worker") as conn:
        insert_minutes(conn, [NOON])
    with login(managed_database, "analyst") as conn:
        assert conn.execute("SELECT count(*) FROM latest_prices").fetchone() == (1,)
        assert conn.execute("SHOW statement_timeout").fetchone() == ("1min",)
        assert conn.execute("SHOW temp_file_limit").fetchone() == ("-1",)  # only a superuser may
    migrations.rollback(managed_database.database_dsn, "0", drop_rows=True)


@pytest.fixture
def guarded_server(fresh_database: Settings, admin: psycopg.Connection) -> Iterator[Settings]:
    """A migrated database on a server that requires passwords of the roles, and logs everything."""
    [(file,)] = admin.execute("SHOW hba_file").fetchall()
    hba = Path(file)
    before = hba.read_text()
    hba.write_text(f"local all {','.join(ROLES)} scram-sha-256\n{before}")
    admin.execute("ALTER SYSTEM SET log_statement = 'all'")
    admin.execute("ALTER SYSTEM SET log_min_error_statement = 'error'")
    admin.execute("SELECT pg_reload_conf()")
    migrations.apply(fresh_database.database_dsn)
    yield fresh_database
    hba.write_text(before)
    admin.execute("ALTER SYSTEM RESET ALL")
    admin.execute("SELECT pg_reload_conf()")


def test_passwords_from_files_are_not_disclosed(
    guarded_server: Settings, admin: psycopg.Connection, tmp_path: Path
) -> None:
    """`migrate` sets them whenever they change; neither its output nor the server logs them."""
    for secret in ("h'unter \\2", "*another one*"):
        (tmp_path / "web").write_text(f"{secret}\n")
        set_up = guarded_server.changed(tracker_web_password_file=tmp_path / "web")
        status, output, errors = run_command(set_up, "migrate")
        assert (status, errors) == (0, "")
        web = guarded_server.changed(
            postgres_user="tracker_web", postgres_password_file=tmp_path / "web"
        )
        with psycopg.connect(web.database_dsn) as conn:
            assert conn.execute("SELECT FROM prices").rowcount == 0
        kept = "SELECT rolpassword FROM pg_authid WHERE rolname = 'tracker_web'"
        [(hashed,)] = admin.execute(kept).fetchall()
        assert hashed.startswith("SCRAM-SHA-256$")

        log = (guarded_server.home / "log" / "postgres.log").read_text()
        assert "ALTER ROLE" in log
        seen = [output, log, repr(web), " ".join(psql_command(web, []))]
        assert not [text for text in seen if secret in text]
        assert psql_environment(web)["PGPASSWORD"] == secret


def test_wrong_password_is_rejected_and_not_disclosed(guarded_server: Settings) -> None:
    """Neither by errors of worker and migrations, nor by those of psycopg."""
    wrong = guarded_server.changed(postgres_user="tracker_worker", postgres_password="letmein")
    migrations.set_role_passwords(guarded_server.database_dsn, {"tracker_worker": "right"})

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong.database_dsn)
    with pytest.raises(DatabaseDown) as told, connect(wrong.database_dsn):
        pass
    status, output, errors = run_command(wrong, "migrate")
    assert status == 1
    assert "letmein" not in f"{told.value}{output}{errors}"


def test_missing_role_is_named(fresh_database: Settings) -> None:
    """So is an owner who may not alter it; in one line, with the variable."""
    with pytest.raises(SettingsError, match=r'^ANALYST_PASSWORD_FILE: role "analyst" does not'):
        migrations.set_role_passwords(fresh_database.database_dsn, {"analyst": "x"})
    migrations.apply(fresh_database.database_dsn)
    worker = fresh_database.changed(postgres_user="tracker_worker")
    with pytest.raises(SettingsError, match=r"^ANALYST_PASSWORD_FILE: permission denied"):
        migrations.set_role_passwords(worker.database_dsn, {"analyst": "x"})


def test_concurrent_password_changes_succeed(fresh_database: Settings) -> None:
    """The server rejects one of two at a time, which then retries."""
    migrations.apply(fresh_database.database_dsn)
    with ThreadPoolExecutor(4) as threads:
        list(
            threads.map(
                migrations.set_role_passwords,
                [fresh_database.database_dsn] * 8,
                [{"analyst": "x"}] * 8,
            )
        )


def test_role_is_not_made_superuser(own_server: Settings, admin: psycopg.Connection) -> None:
    """The embedded server makes POSTGRES_USER its owner, but not if that is one of the roles."""
    assert servers_are_ready(own_server.changed(postgres_user="analyst"))
    assert existing_roles(admin) == set()
