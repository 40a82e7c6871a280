"""PostgreSQL with TimescaleDB on a private socket."""

import os
import re
import shutil
import signal
from pathlib import Path

import psycopg
from psycopg import sql

from tracker.embedded import memory
from tracker.embedded.programs import Programs
from tracker.embedded.server import Server
from tracker.errors import EmbeddedError
from tracker.settings import ROLES

_BUILTIN_LOCALE = 17  # the first major version that needs no locale of the machine
_INCLUDE = "include 'tracker.conf'\n"
# The socket's folder is closed to others; a port of the loopback is open to every local user.
_AUTHENTICATION = ("--auth-local=trust", "--auth-host=scram-sha-256")
_TRUSTED_LOOPBACK = re.compile(
    r"^(host\w*\s+\S+\s+\S+\s+(?:127\.\S+|::1\S*|localhost|samehost)(?:\s+[\d.:a-f]+)?\s+)trust\b",
    re.MULTILINE,
)
_ZONES = Path("/usr/share/zoneinfo/UTC")

_SETTINGS = """\
# Written at each start by `tracker`; your own settings go into postgresql.conf.
# Over TCP (listen_addresses) roles need a password: ALTER ROLE ... PASSWORD.
listen_addresses = ''
port = 5432
max_connections = 100
shared_preload_libraries = 'timescaledb'
timescaledb.telemetry_level = off
jit = off
random_page_cost = 1.1
max_locks_per_transaction = 128
log_destination = 'stderr'
logging_collector = off
log_line_prefix = '%m [%p] '
log_error_verbosity = terse
log_min_error_statement = panic
log_min_messages = log
log_checkpoints = off
"""
_MEGABYTE = 1 << 20
_FEWEST, _MOST = 128, 8192  # MB of shared buffers
_FLEETING = """\
fsync = off
synchronous_commit = off
full_page_writes = off
"""


class Postgres(Server):
    """The database server; its superuser needs no password, its socket is closed to others."""

    name = "postgres"
    sign = signal.SIGINT

    @property
    def pidfile(self) -> Path:
        """PostgreSQL's own, which it writes for each socket."""
        return self.settings.sockets / ".s.PGSQL.5432.lock"

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.settings.sockets / ".s.PGSQL.5432"

    def ready(self) -> bool:
        """Whether it answers; the role and the database are made if they are missing."""
        if not self._says_ready():  # asking before that would fill its log
            return False
        try:
            with self._connect("postgres") as connection:
                self._make_role(connection)
                self._make_database(connection)
        except psycopg.OperationalError:
            return False
        return True

    def prepare(self, programs: Programs, *, durable: bool = True) -> list[str]:
        """Make the cluster if there is none, and its settings: the command."""
        data = self.settings.home / programs.folder
        if not data.exists():
            self._initdb(data, programs)
        _check_version(data, programs)
        self._forget(data)
        _distrust_loopback(data / "pg_hba.conf")
        self._configure(data, programs, durable=durable)
        return [str(programs.postgres / "postgres"), "-D", str(data)]

    def _says_ready(self) -> bool:
        try:
            data = self.pidfile.read_text().splitlines()[1]
            return Path(data, "postmaster.pid").read_text().split()[-1] == "ready"
        except (OSError, IndexError):
            return False

    def _connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.settings.sockets),
            port=5432,
            user="postgres",
            dbname=database,
            connect_timeout=5,
            autocommit=True,
        )

    @property
    def _owner(self) -> str:
        """Who owns the database: not a role that the migrations make, and that owns nothing."""
        user = self.settings.postgres_user
        return "postgres" if user in ROLES else user

    def _make_role(self, connection: psycopg.Connection) -> None:
        role = self._owner
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).rowcount == 0:
            create = sql.SQL("CREATE ROLE {} LOGIN SUPERUSER")
            connection.execute(create.format(sql.Identifier(role)))

    def _make_database(self, connection: psycopg.Connection) -> None:
        name = self.settings.postgres_db
        if connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).rowcount == 0:
            create = sql.SQL("CREATE DATABASE {} OWNER {}")
            owner = sql.Identifier(self._owner)
            connection.execute(create.format(sql.Identifier(name), owner))

    def _initdb(self, data: Path, programs: Programs) -> None:
        """Make the cluster beside its place, so that one cut short is never taken for whole."""
        draft = data.with_name(f"{data.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        self.account.own(draft)
        locale = ["--locale=C.UTF-8"]
        if programs.major >= _BUILTIN_LOCALE:
            locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        options = [*locale, "-E", "UTF8", "-U", "postgres", *_AUTHENTICATION, "--no-instructions"]
        done = self.account.run([str(programs.postgres / "initdb"), *options, "-D", str(draft)])
        if done.returncode:
            raise EmbeddedError(f"initdb failed: {' '.join(done.stderr.split())}")
        with (draft / "postgresql.conf").open("a") as stream:
            stream.write(_INCLUDE)
        draft.rename(data)

    def _forget(self, data: Path) -> None:
        """Remove the pid files of a server that was killed: their number may be another's now."""
        for pidfile in (data / "postmaster.pid", self.pidfile):
            if self.owner_of(pidfile) is None:
                pidfile.unlink(missing_ok=True)

    def _configure(self, data: Path, programs: Programs, *, durable: bool) -> None:
        folder = str(self.settings.sockets).replace('"', '""').replace("'", "''")
        zone = "UTC" if _ZONES.exists() else "GMT"  # GMT needs no files
        lines = [
            _SETTINGS,
            f"unix_socket_directories = '\"{folder}\"'\n",
            f"timezone = '{zone}'\nlog_timezone = '{zone}'\n",
            # The jobs of the other edition would fail for ever here, timescaledb #10191.
            "" if programs.community else "timescaledb.max_background_workers = 0\n",
            f"shared_buffers = {_buffers()}MB\n" if durable else _FLEETING,
        ]
        (data / "tracker.conf").write_text("".join(lines))


def _buffers() -> int:
    """A quarter of the memory, as PostgreSQL's manual has it; taken as it is filled."""
    return min(max(memory.available() // 4 // _MEGABYTE, _FEWEST), _MOST)


def _distrust_loopback(hba: Path) -> None:
    """Ask for passwords on the loopback; clusters of version 0.1 trusted all who came from it."""
    if not hba.exists():
        return
    text = hba.read_text(errors="surrogateescape")
    changed = _TRUSTED_LOOPBACK.sub(r"\1scram-sha-256", text)
    if changed != text:
        draft, facts = hba.with_name(f"{hba.name}.new"), hba.stat()
        draft.write_text(changed, errors="surrogateescape")
        shutil.copymode(hba, draft)
        os.chown(draft, facts.st_uid, facts.st_gid)
        draft.replace(hba)


def _check_version(data: Path, programs: Programs) -> None:
    try:
        found = (data / "PG_VERSION").read_text().strip()
    except OSError:
        found = "nothing"
    if found != str(programs.major):
        raise EmbeddedError(
            f"{data} holds {found if found == 'nothing' else f'PostgreSQL {found}'},"
            f" not PostgreSQL {programs.major}: move it away, or set TRACKER_HOME"
        )
