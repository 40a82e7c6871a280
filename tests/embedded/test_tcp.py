"""The embedded TimescaleDB over TCP: the addresses of clients, and who is admitted."""

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import InsufficientPrivilege, ReadOnlySqlTransaction

from ops.bench.processes import free_ports
from tests.support.clock import NOON
from tests.support.commands import run_command
from tests.support.database import insert_minutes, make_settings
from tracker import migrations
from tracker.embedded.home import running_servers
from tracker.errors import EmbeddedError
from tracker.settings import Settings

pytestmark = pytest.mark.slow

ANALYST = "SELECT current_user, current_setting('statement_timeout'), count(*) FROM prices"


@pytest.fixture(scope="module")
def tcp(open_tmp: Path) -> Iterator[Settings]:
    """A running tracker's database that listens on the loopback, with a price."""
    [port] = free_ports(1)
    settings = make_settings(
        open_tmp / "tcp-home", postgres_db="odd db", embedded_postgres_port=port, redis_host="none"
    )
    with running_servers(settings, durable=False):
        migrations.apply(settings.database_dsn)
        with psycopg.connect(settings.database_dsn, autocommit=True) as conn:
            insert_minutes(conn, [NOON])
        yield settings


@pytest.fixture
def url(tcp: Settings) -> str:
    """The URL of the role analyst with a new password."""
    status, output, errors = run_command(tcp, "analyst-password")
    assert (status, errors) == (0, "")
    return output.rstrip("\n")


def test_url_admits_the_analyst(tcp: Settings, url: str) -> None:
    parts = urlsplit(url)
    assert (parts.scheme, parts.hostname) == ("postgresql", "127.0.0.1")
    assert parts.port == tcp.embedded_postgres_port
    assert conninfo_to_dict(url) == {
        "user": "analyst", "password": parts.password, "host": "127.0.0.1",
        "port": str(tcp.embedded_postgres_port), "dbname": "odd db",
    }  # fmt: skip
    with psycopg.connect(url) as conn:
        assert conn.execute(f"{ANALYST} GROUP BY 1").fetchone() == ("analyst", "1min", 1)
        with pytest.raises(ReadOnlySqlTransaction):
            conn.execute("DELETE FROM prices")
    with psycopg.connect(url) as conn:
        conn.execute("SET TRANSACTION READ WRITE")
        with pytest.raises(InsufficientPrivilege):
            conn.execute("DELETE FROM prices")


def test_new_password_replaces_the_old_one(tcp: Settings, url: str) -> None:
    status, output, _ = run_command(tcp.changed(postgres_user="analyst"), "analyst-password")
    assert status == 0
    with psycopg.connect(output.rstrip("\n")):
        pass
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url)


def test_others_are_refused(tcp: Settings, url: str) -> None:
    """A wrong password or none, other roles, the superuser: whatever the socket admits."""
    password = urlsplit(url).password
    assert password
    attempts = {
        "a wrong password": url.replace(password, "wrong"),
        "no password": url.replace(f":{password}", ""),
        "an empty password": url.replace(password, ""),
        **{
            role: url.replace("//analyst:", f"//{role}:")
            for role in ("postgres", "tracker_web", "tracker_worker", "nobody")
        },
    }
    for attempt in attempts.values():
        with pytest.raises(psycopg.OperationalError, match=r"password|SCRAM"):
            psycopg.connect(attempt, passfile="/dev/null")
    with psycopg.connect(tcp.database_dsn) as conn:
        query = (
            "SELECT string_agg(DISTINCT auth_method, ', ') FROM pg_hba_file_rules"
            " WHERE type <> 'local'"
        )
        assert conn.execute(query).fetchone() == ("scram-sha-256",)


def test_server_listens_on_the_loopback_only(tcp: Settings) -> None:
    """And on its socket under the same name as without TCP."""
    with psycopg.connect(tcp.database_dsn) as conn:
        assert conn.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)
        assert conn.info.host == str(tcp.sockets)
        assert conn.info.port == 5432
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", tcp.embedded_postgres_port or 0), 5).close()


def test_dsn_url_is_that_of_a_role_with_a_password(tcp: Settings, url: str, tmp_path: Path) -> None:
    """The password is in it if a variable has it."""
    password = urlsplit(url).password
    assert password
    address = f"127.0.0.1:{tcp.embedded_postgres_port}/{quote('odd db')}"
    status, output, errors = run_command(tcp, "dsn", "--url")
    assert (status, output) == (0, f"postgresql://analyst@{address}\n")
    assert errors.count("\n") == 1
    assert "`ops/just analyst-password`" in errors

    known = tcp.changed(postgres_user="analyst", postgres_password=password)
    assert run_command(known, "dsn", "--url") == (0, f"{url}\n", "")
    (tmp_path / "analyst").write_text(password)
    known = tcp.changed(analyst_password_file=tmp_path / "analyst")
    assert run_command(known, "dsn", "--url") == (0, f"{url}\n", "")
    status, output, _ = run_command(known, "dsn", "--jdbc")
    assert output == f"jdbc:postgresql://{address}?user=analyst&password={password}\n"
    notice = "this is the password of ANALYST_PASSWORD_FILE, not a new one\n"
    assert run_command(known, "analyst-password") == (0, f"{url}\n", notice)
    assert run_command(tcp, "dsn") == (0, f"{tcp.database_dsn}\n", "")


def test_analyst_password_creates_an_analyst(tcp: Settings) -> None:
    """With the bounds of the role analyst; a second call changes the password."""
    for _ in range(2):
        status, output, errors = run_command(tcp, "analyst-password", "o'neil")
        assert (status, errors) == (0, "")
        with psycopg.connect(output.rstrip("\n")) as conn:
            assert conn.execute(f"{ANALYST} GROUP BY 1").fetchone() == ("o'neil", "1min", 1)
            with pytest.raises(ReadOnlySqlTransaction):
                conn.execute("DELETE FROM prices")


def test_analyst_password_refuses_other_roles(tcp: Settings) -> None:
    refusals = {
        "postgres": "role postgres has other privileges than analysts have",
        "tracker_web": "role tracker_web has other privileges than analysts have",
        "pg_ann": 'role name "pg_ann" is reserved',
    }
    for role, refusal in refusals.items():
        assert run_command(tcp, "analyst-password", role) == (1, "", f"tracker: name: {refusal}\n")


def test_port_changes_at_the_next_start(open_tmp: Path) -> None:
    """Also to none: the URL has the socket then."""
    settings = make_settings(open_tmp / "ports-home", redis_host="none")
    for port in (*free_ports(2), None):
        own = settings.changed(embedded_postgres_port=port)
        with running_servers(own, durable=False):
            with psycopg.connect(settings.database_dsn) as conn:
                found = conn.execute("SHOW listen_addresses").fetchone()
            assert found == ("127.0.0.1" if port else "",)
            status, output, errors = run_command(settings, "dsn", "--url")
            assert status == 0
            if port is None:
                with psycopg.connect(output.rstrip("\n")):
                    pass
                assert "set EMBEDDED_POSTGRES_PORT" in errors
                status, output, errors = run_command(settings, "dsn", "--jdbc")
                assert (status, output) == (1, "")
                assert "set EMBEDDED_POSTGRES_PORT" in errors
                assert "JDBC requires TCP" in errors
            else:
                assert f"@127.0.0.1:{port}/" in output


def test_port_in_use_is_named(open_tmp: Path) -> None:
    settings = make_settings(open_tmp / "busy-home", redis_host="none")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        busy = settings.changed(embedded_postgres_port=port)
        refusal = f"^EMBEDDED_POSTGRES_PORT: port {port} of 127.0.0.1 is already in use: set"
        with pytest.raises(EmbeddedError, match=refusal), running_servers(busy):
            pass
