"""Roles belong to the server: many databases, owners with few rights, passwords."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from tests.support.servers import fresh_database, make_settings
from tests.support.working import login
from tracker import migrations
from tracker.database import connect
from tracker.embedded.home import psql_command, psql_environment, servers_run, started
from tracker.errors import DatabaseDown, SettingsError
from tracker.settings import ROLES, Settings

pytestmark = pytest.mark.slow

PRICE = "INSERT INTO prices (ticker, price, created_at) VALUES ('btc_usd', 1.50, '2024-01-15Z')"
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
def server(open_tmp: Path) -> Iterator[Settings]:
    """A server of its own: its roles are nobody else's."""
    settings = make_settings(open_tmp / "roles-home")
    with started(settings, durable=False):
        yield settings


@pytest.fixture
def admin(server: Settings) -> Iterator[psycopg.Connection]:
    """Its superuser; there is no role of ours before, and none after."""
    with psycopg.connect(server.database_dsn, autocommit=True) as conn:
        yield conn
        for role in ROLES:
            conn.execute(f"DROP ROLE IF EXISTS {role}")


@pytest.fixture
def fresh(server: Settings, admin: psycopg.Connection) -> Iterator[Settings]:
    """A database without the schema, on a server without roles of ours."""
    assert present(admin) == set()
    with fresh_database(server) as settings:
        yield settings


def present(admin: psycopg.Connection) -> set[str]:
    found = admin.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)", [list(ROLES)])
    return {name for (name,) in found}


def rights(settings: Settings) -> set[tuple[str, ...]]:
    with psycopg.connect(settings.database_dsn) as conn:
        return set(conn.execute(RIGHTS).fetchall())


def test_databases_of_one_server_migrate_at_once(
    server: Settings, admin: psycopg.Connection
) -> None:
    """Whoever is first makes the roles; all of them give the same rights."""
    with ExitStack() as stack:
        databases = [stack.enter_context(fresh_database(server)) for _ in range(4)]
        for each in databases:
            migrations.apply(each.database_dsn)
            migrations.rollback(each.database_dsn, "0")
        for role in ROLES:
            admin.execute(f"DROP ROLE {role}")
        with ThreadPoolExecutor(4) as threads:
            done = list(threads.map(migrations.apply, [each.database_dsn for each in databases]))

        assert all(names == migrations.names() for names in done)
        assert present(admin) == set(ROLES)
        assert len(rights(databases[0])) > 20
        assert all(rights(each) == rights(databases[0]) for each in databases)


def test_a_rollback_takes_no_role_from_another_database(
    server: Settings, fresh: Settings, admin: psycopg.Connection
) -> None:
    """Its own rights go, all of them; the roles, their settings and the neighbour's rights stay."""
    with fresh_database(server) as neighbour:
        for each in (fresh, neighbour):
            migrations.apply(each.database_dsn)
        admin.execute("ALTER ROLE analyst CONNECTION LIMIT 3")
        given = rights(neighbour)
        migrations.rollback(fresh.database_dsn, "0")

        assert present(admin) == set(ROLES)
        assert rights(fresh) == set()
        assert rights(neighbour) == given
        migrations.apply(fresh.database_dsn)
        assert rights(fresh) == given
    query = "SELECT rolconnlimit FROM pg_roles WHERE rolname = 'analyst'"
    assert admin.execute(query).fetchone() == (3,)


@pytest.fixture
def managed(server: Settings, admin: psycopg.Connection) -> Iterator[Settings]:
    """A database as a managed server gives it: an owner who is no superuser, the extension."""
    admin.execute("CREATE ROLE plain LOGIN")
    with fresh_database(server) as settings:
        admin.execute(f"ALTER DATABASE {settings.postgres_db} OWNER TO plain")
        with psycopg.connect(settings.database_dsn, autocommit=True) as conn:
            conn.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        yield settings.changed(postgres_user="plain")
    admin.execute("DROP ROLE plain")


def test_an_owner_who_may_make_no_roles_goes_without(
    managed: Settings, admin: psycopg.Connection
) -> None:
    """It is told in a line; all works as the owner, and rights can be given later."""
    done = migrate(managed)
    assert (done.returncode, done.stdout.count("applied")) == (0, len(migrations.names()))
    said = "missing roles: analyst, tracker_web, tracker_worker; plain may not create roles."
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1
    assert present(admin) == set()
    with login(managed, "plain") as conn:
        conn.execute(PRICE)
        assert conn.execute("SELECT count(*) FROM latest_prices").fetchone() == (1,)

    admin.execute("CREATE ROLE tracker_web LOGIN")
    with login(managed, "tracker_web") as conn:
        with pytest.raises(InsufficientPrivilege):
            conn.execute("SELECT FROM prices")
        assert migrate(managed).stdout == "the database is up to date\n"
        assert conn.execute("SELECT FROM prices").rowcount == 1


def test_an_owner_with_createrole_is_enough(managed: Settings, admin: psycopg.Connection) -> None:
    """No superuser is needed for roles, their settings, rights and passwords."""
    admin.execute("ALTER ROLE plain CREATEROLE")
    migrations.apply(managed.database_dsn)
    migrations.set_role_passwords(managed.database_dsn, {"analyst": "a word"})

    with login(managed, "tracker_worker") as conn:
        conn.execute(PRICE)
    with login(managed, "analyst") as conn:
        assert conn.execute("SELECT count(*) FROM latest_prices").fetchone() == (1,)
        assert conn.execute("SHOW statement_timeout").fetchone() == ("1min",)
    migrations.rollback(managed.database_dsn, "0")


@pytest.fixture
def guarded(fresh: Settings, admin: psycopg.Connection) -> Iterator[Settings]:
    """A migrated database on a server that asks the roles for a password, and logs everything."""
    [(file,)] = admin.execute("SHOW hba_file").fetchall()
    hba = Path(file)
    before = hba.read_text()
    hba.write_text(f"local all {','.join(ROLES)} scram-sha-256\n{before}")
    admin.execute("ALTER SYSTEM SET log_statement = 'all'")
    admin.execute("ALTER SYSTEM SET log_min_error_statement = 'error'")
    admin.execute("SELECT pg_reload_conf()")
    migrations.apply(fresh.database_dsn)
    yield fresh
    hba.write_text(before)
    admin.execute("ALTER SYSTEM RESET ALL")
    admin.execute("SELECT pg_reload_conf()")


def test_passwords_come_from_files_and_are_seen_nowhere(
    guarded: Settings, admin: psycopg.Connection, tmp_path: Path
) -> None:
    """`migrate` sets them, again when they change: not in its output, nor in the server's log."""
    for secret in ("h'unter \\2", "*another one*"):
        (tmp_path / "web").write_text(f"{secret}\n")
        set_up = guarded.changed(tracker_web_password_file=tmp_path / "web")
        done = migrate(set_up)
        assert (done.returncode, done.stderr) == (0, "")
        web = guarded.changed(postgres_user="tracker_web", postgres_password_file=tmp_path / "web")
        with psycopg.connect(web.database_dsn) as conn:
            assert conn.execute("SELECT FROM prices").rowcount == 0
        kept = "SELECT rolpassword FROM pg_authid WHERE rolname = 'tracker_web'"
        [(hashed,)] = admin.execute(kept).fetchall()
        assert hashed.startswith("SCRAM-SHA-256$")

        log = (guarded.home / "log" / "postgres.log").read_text()
        assert "ALTER ROLE" in log
        seen = [done.stdout, log, repr(web), " ".join(psql_command(web, []))]
        assert not [text for text in seen if secret in text]
        assert psql_environment(web)["PGPASSWORD"] == secret


def migrate(settings: Settings) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "tracker", "migrate"]
    env = settings.environment()
    return subprocess.run(words, env=env, check=False, capture_output=True, text=True, timeout=60)


def test_a_wrong_password_is_refused_and_not_repeated(guarded: Settings) -> None:
    """Neither by the errors of worker and migrations, nor by what psycopg says."""
    wrong = guarded.changed(postgres_user="tracker_worker", postgres_password="letmein")
    migrations.set_role_passwords(guarded.database_dsn, {"tracker_worker": "right"})

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong.database_dsn)
    with pytest.raises(DatabaseDown) as told, connect(wrong.database_dsn):
        pass
    done = migrate(wrong)
    assert done.returncode == 1
    assert "letmein" not in f"{told.value}{done.stdout}{done.stderr}"


def test_a_role_that_is_not_there_is_named(fresh: Settings) -> None:
    """So is an owner who may not alter it; in one line, with the variable."""
    with pytest.raises(SettingsError, match=r'^ANALYST_PASSWORD_FILE: role "analyst" does not'):
        migrations.set_role_passwords(fresh.database_dsn, {"analyst": "x"})
    migrations.apply(fresh.database_dsn)
    worker = fresh.changed(postgres_user="tracker_worker")
    with pytest.raises(SettingsError, match=r"^ANALYST_PASSWORD_FILE: permission denied"):
        migrations.set_role_passwords(worker.database_dsn, {"analyst": "x"})


def test_databases_may_set_passwords_at_once(fresh: Settings) -> None:
    """The server refuses one of two at a time; that one tries again."""
    migrations.apply(fresh.database_dsn)
    with ThreadPoolExecutor(4) as threads:
        list(
            threads.map(
                migrations.set_role_passwords, [fresh.database_dsn] * 8, [{"analyst": "x"}] * 8
            )
        )


def test_no_role_of_ours_is_made_a_superuser(server: Settings, admin: psycopg.Connection) -> None:
    """The embedded server makes POSTGRES_USER its owner, but not if that names one of them."""
    assert servers_run(server.changed(postgres_user="analyst"))
    assert present(admin) == set()
