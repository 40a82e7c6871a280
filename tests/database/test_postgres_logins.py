"""PostgreSQL as others run it: TLS, passwords with any character, several hosts."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from tests.support.api import serve_api
from tests.support.certificates import Certificates, make_certificates
from tests.support.commands import run_command
from tests.support.database import create_database, make_settings
from tracker import migrations, queries
from tracker.database import Database, connect
from tracker.embedded.account import Account
from tracker.embedded.home import home_servers, prepare_servers, running_servers
from tracker.embedded.packages import find_programs
from tracker.errors import DatabaseDown
from tracker.settings import Settings
from tracker.transfer.backup import backup
from tracker.transfer.restore import restore

pytestmark = pytest.mark.slow

PASSWORD = " a b'\"%40@:/?#[]\\é€\U0001f511$ "


@dataclass(frozen=True, slots=True)
class SecureServer:
    """A PostgreSQL that accepts only TCP with TLS and a password, apart from its socket.

    settings: with TLS and the password.
    local: through its socket, as superuser.
    """

    settings: Settings
    local: Settings


@pytest.fixture(scope="module")
def secure(open_tmp: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureServer]:
    """Such a server, on an address of its own, because its port is always 5432."""
    local = make_settings(open_tmp / "secure", redis_host="none")
    address = f"127.{uuid4().int % 200 + 10}.{uuid4().int % 250}.2"
    certificates = make_certificates(tmp_path_factory.mktemp("tls"), address)
    prepare_servers(local, home_servers(local), durable=False)
    configure_tls(local, certificates, address)
    with running_servers(local, durable=False):
        with psycopg.connect(local.database_dsn, autocommit=True) as conn:
            conn.execute("CREATE ROLE owner LOGIN SUPERUSER")
            conn.execute("CREATE DATABASE prices OWNER owner")
        migrations.set_role_passwords(local.database_dsn, {"owner": PASSWORD})
        settings = local.changed(
            postgres_host=address,
            postgres_user="owner",
            postgres_password=PASSWORD,
            postgres_db="prices",
            postgres_sslmode="verify-full",
            postgres_sslrootcert=certificates.authority,
        )
        migrations.apply(settings.database_dsn)
        yield SecureServer(settings, local.changed(postgres_db="prices"))


def configure_tls(local: Settings, certificates: Certificates, address: str) -> None:
    """Let the server listen on *address*, with a certificate, for encrypted connections only."""
    data, account = local.home / find_programs(local).folder, Account.of(local.home)
    for file, name in ((certificates.certificate, "tls.pem"), (certificates.key, "tls.key")):
        (data / name).write_bytes(file.read_bytes())
        (data / name).chmod(0o600)
        shutil.chown(data / name, account.uid, account.gid)
    with (data / "postgresql.auto.conf").open("a") as conf:
        conf.write(f"listen_addresses = '{address}'\nssl = on\n")
        conf.write("ssl_cert_file = 'tls.pem'\nssl_key_file = 'tls.key'\n")
    (data / "pg_hba.conf").write_text(
        "local all all trust\nhostssl all all 127.0.0.0/8 scram-sha-256\n"
    )


def is_encrypted(conn: psycopg.Connection) -> bool:
    """Whether the connection has TLS."""
    query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    return bool((conn.execute(query).fetchone() or (False,))[0])


def test_recorder_connects_with_tls(secure: SecureServer) -> None:
    with Database(secure.settings.database_dsn, 1) as database:
        assert database.run(is_encrypted)


def test_api_reads_with_tls(secure: SecureServer) -> None:
    with serve_api(secure.settings) as client:
        assert client.get("/tickers").status_code == 200


@pytest.mark.parametrize("words", [("migrate",), ("psql", "-c", "TABLE tickers"), ("dsn",)])
def test_command_connects_with_tls(secure: SecureServer, words: tuple[str, ...]) -> None:
    status, _, errors = run_command(secure.settings, *words)
    assert (status, errors) == (0, "")


def test_printed_string_connects(secure: SecureServer) -> None:
    _, output, _ = run_command(secure.settings, "dsn")
    with psycopg.connect(output.strip()) as conn:
        assert is_encrypted(conn)


def test_backup_and_restore_connect_with_tls(secure: SecureServer, tmp_path: Path) -> None:
    """pg_dump and pg_restore have the password from their environment."""
    file = str(tmp_path / "saved.zip")
    saved = backup(secure.settings, file, "dump")
    with create_database(secure.local) as empty:
        target = secure.settings.changed(postgres_db=empty.postgres_db)
        assert restore(target, file)[0] == saved


@pytest.mark.parametrize("role", ["tracker_web", "tracker_worker", "analyst"])
def test_role_logs_in_with_password_of_its_file(
    secure: SecureServer, tmp_path: Path, role: str
) -> None:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n", encoding="utf-8")
    status, _, errors = run_command(
        secure.settings.changed(**{f"{role}_password_file": file}), "migrate"
    )
    assert (status, errors) == (0, "")

    login = secure.settings.changed(
        postgres_user=role, postgres_password="", postgres_password_file=file
    )
    with psycopg.connect(login.database_dsn) as conn:
        assert conn.info.user == role


@pytest.mark.parametrize(
    ("changes", "variables"),
    [
        ({"postgres_password": "wrong"}, "POSTGRES_USER, POSTGRES_PASSWORD"),
        ({"postgres_password": ""}, "POSTGRES_PASSWORD"),
        ({"postgres_sslmode": "disable"}, "POSTGRES_SSLMODE"),
        ({"postgres_sslrootcert": None}, "POSTGRES_SSLROOTCERT"),
    ],
)
def test_refusal_names_the_variable(
    secure: SecureServer, changes: dict[str, object], variables: str
) -> None:
    dsn = secure.settings.changed(**changes).database_dsn
    with pytest.raises(DatabaseDown) as caught, connect(dsn):
        pass
    assert str(caught.value).endswith(f" ({variables})")

    with pytest.raises(DatabaseDown, match=rf" \({variables}\)$"):
        migrations.apply(dsn)


def test_other_host_name_is_refused(secure: SecureServer) -> None:
    """The certificate is for localhost and one address."""
    dsn = secure.settings.changed(postgres_host="db.example.org").database_dsn
    address = secure.settings.postgres_host
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        psycopg.connect(f"{dsn} hostaddr={address}")


def test_second_host_serves_while_the_first_is_dead(secure: SecureServer, tmp_path: Path) -> None:
    """For every kind of connection."""
    settings = secure.settings.changed(
        postgres_host=f"127.0.0.1,{secure.settings.postgres_host}", postgres_port="9,5432"
    )
    with Database(settings.database_dsn, 1) as database:
        database.run(queries.record_heartbeat, "worker")
    with serve_api(settings) as client:
        assert client.get("/health/state").json()["parts"][0]["state"] == "up"
    assert migrations.apply(settings.database_dsn) == []
    assert backup(settings, str(tmp_path / "saved.zip"), "dump").migrations == migrations.names()
    status, _, errors = run_command(settings, "psql", "-c", "TABLE tickers")
    assert (status, errors) == (0, "")
