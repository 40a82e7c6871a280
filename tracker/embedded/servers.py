"""PostgreSQL with TimescaleDB, and Redis, on private sockets of a home."""

import errno
import os
import pwd
import re
import resource
import shutil
import signal
import socket
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import psycopg
from psycopg import sql
from psycopg.errors import InternalError_

from tracker.database import SESSION
from tracker.embedded.account import CHECK_INTERVAL, Account, run_command, send_signal
from tracker.embedded.apt import ALTERNATIVE
from tracker.embedded.packages import Programs
from tracker.errors import EmbeddedError, describe
from tracker.settings import ROLES, Settings

_CONNECT_TIMEOUT = 2.0  # seconds
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid

# The limits of a container's memory: control groups of version 2, and of version 1.
_MEMORY_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 -- shm_overview(7)
_MEGABYTE = 1 << 20
_MIN_BUFFERS, _MAX_BUFFERS = 128, 8192  # MB

_NO_SUCH_ADDRESS = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
_LOOPBACK = "127.0.0.1"
_WEB_PORTS = {"WEB_PORT", "WORKER_METRICS_PORT"}  # at WEB_HOST; others are on the loopback
_BUILTIN_LOCALE = 17  # the first major version that needs no locale of the machine
_TRUSTED_LOOPBACK = re.compile(
    r"^(host\w*\s+\S+\s+\S+\s+"
    r"(?:127\.\S+|::1\S*|0\.0\.0\.0\S*|::/\d+|::|localhost|samehost|samenet|all)"
    r"(?:\s+[\d.:a-f]+)?\s+)trust\b",
    re.MULTILINE,
)
# In these, every role could fill the disk.
_OPEN_DATABASES = """
    SELECT FROM pg_database
     WHERE datname IN ('postgres', 'template1') AND has_database_privilege('public', oid, 'CONNECT')
"""
_POSTGRES_SETTINGS = """\
# Written at each start by `tracker`; your own settings go into postgresql.conf.
# Over TCP roles need a password: `tracker analyst-password`, or ALTER ROLE ... PASSWORD.
max_connections = 100
shared_preload_libraries = 'timescaledb'
timescaledb.telemetry_level = off
jit = off
random_page_cost = 1.1
max_locks_per_transaction = 128
log_line_prefix = '%m [%p] '
log_error_verbosity = terse
log_min_error_statement = panic
log_min_messages = log
log_checkpoints = off
"""
_NOT_DURABLE = """\
fsync = off
synchronous_commit = off
full_page_writes = off
"""
_REDIS_SETTINGS = {
    "port": "0",
    "appendonly": "yes",
    "save": "",
    "loglevel": "warning",
    "unixsocketperm": "700",
}


class Server(ABC):
    """A server of one home. It may be running already, whichever process started it.

    stop_signal: stops it without delay and without losing data.
    socket: where it listens.
    pidfile: the file beside the socket whose first line is the server's pid.
    log: its output, unless the supervisor runs it.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    socket_name: ClassVar[str]
    pidfile_name: ClassVar[str]

    def __init__(self, settings: Settings) -> None:
        """The server of the home in *settings*; nothing is started."""
        self.settings = settings
        self.account = Account.of(settings.home)
        self.socket = settings.sockets / self.socket_name
        self.pidfile = settings.sockets / self.pidfile_name
        self.log = settings.home / "log" / f"{self.name}.log"

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it responds, and has what the tracker expects of it."""

    @abstractmethod
    def prepare(self, programs: Programs, *, durable: bool = True) -> list[str]:
        """Make the data folder and return the command that runs the server.

        durable: without it a crash of the machine may lose data; for tests.
        Raises EmbeddedError if the folder is unusable.
        """

    def pid(self, pidfile: Path | None = None) -> int | None:
        """The server's process, if it runs.

        Raises EmbeddedError if the file cannot be read: the server may be running then.
        """
        pidfile = pidfile or self.pidfile
        try:
            pid = int(pidfile.read_text().split("\n", 1)[0])
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        except OSError as error:
            raise EmbeddedError(f"cannot read {pidfile}: {error.strerror}") from error
        return pid if self._is_server(pid) else None

    def _is_server(self, pid: int) -> bool:
        """Whether *pid* works in this home; after a SIGKILL the number may belong to another.

        Root without CAP_SYS_PTRACE cannot read the working folder of another user's process, and
        with /proc mounted hidepid it does not even exist: the socket's peer decides then.
        """
        try:
            return Path(f"/proc/{pid}/cwd").readlink().parent == self.settings.home
        except OSError:
            return _is_listening_process(pid, self.socket)

    def is_running(self) -> bool:
        """Whether it runs and is ready."""
        return self.pid() is not None and self.is_ready()

    def stop(self, timeout: float = 10.0) -> None:
        """Stop it and wait; kill it if that takes longer than *timeout* seconds."""
        for number in (self.stop_signal, signal.SIGKILL):
            pid = self.pid()
            if pid is None:
                return
            send_signal(pid, number)
            if self.wait_stopped(timeout):
                return
        raise EmbeddedError(f"{self.name} (pid {self.pid()}) does not stop")

    def wait_stopped(self, timeout: float = 10.0) -> bool:
        """Wait at most *timeout* seconds for its end; False if it still runs."""
        deadline = time.monotonic() + timeout
        while self.pid() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(CHECK_INTERVAL)
        return True


def _is_listening_process(pid: int, path: Path) -> bool:
    """Whether *pid* listens on the socket at *path*, also while it is stopped or busy.

    Source: unix(7), SO_PEERCRED
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_CONNECT_TIMEOUT)
        try:
            connection.connect(str(path))
        except (BlockingIOError, TimeoutError):  # its backlog is full
            return True
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            return False
        except OSError as error:
            raise EmbeddedError(f"cannot connect to {path}: {describe(error)}") from error
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(peer)[0] == pid)


class Postgres(Server):
    """The database server; its superuser needs no password on the private socket."""

    name = "postgres"
    stop_signal = signal.SIGINT
    socket_name = ".s.PGSQL.5432"
    pidfile_name = ".s.PGSQL.5432.lock"  # PostgreSQL writes it for each socket

    def is_ready(self) -> bool:
        """Whether it accepts connections; creates the owner and the database if missing."""
        try:
            data = self.pidfile.read_text().splitlines()[1]
            status = Path(data, "postmaster.pid").read_text().split()[-1]
        except (OSError, IndexError):
            return False
        if status != "ready":  # a connection attempt would fill the log
            return False
        try:
            self._create_database()
        except psycopg.OperationalError:
            return False
        return True

    def _create_database(self) -> None:
        """Create the database and the role that owns it, if they are missing; close the others.

        The roles that migrations create own nothing: `postgres` stands in for them.
        """
        user, name = self.settings.postgres_user, self.settings.postgres_db
        owner = "postgres" if user in ROLES else user
        with self._connect() as conn:
            if not conn.execute("SELECT FROM pg_roles WHERE rolname = %s", [owner]).rowcount:
                create = sql.SQL("CREATE ROLE {} LOGIN SUPERUSER")
                conn.execute(create.format(sql.Identifier(owner)))
            if not conn.execute("SELECT FROM pg_database WHERE datname = %s", [name]).rowcount:
                create = sql.SQL("CREATE DATABASE {} OWNER {}")
                conn.execute(create.format(sql.Identifier(name), sql.Identifier(owner)))
            if conn.execute(_OPEN_DATABASES).rowcount:
                with suppress(InternalError_):  # another process revokes it at this moment
                    conn.execute("REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC")

    def _connect(self) -> psycopg.Connection:
        """A connection of the superuser."""
        return psycopg.connect(
            host=str(self.settings.sockets),
            port=5432,
            user="postgres",
            dbname="postgres",
            connect_timeout=5,
            autocommit=True,
            options=SESSION,
        )

    def prepare(self, programs: Programs, *, durable: bool = True) -> list[str]:
        """Make the cluster if it is missing, write its settings, and return the command."""
        data = self.settings.home / programs.folder
        if not data.exists():
            self._initdb(data, programs, durable=durable)
        _check_version(data, programs.major)
        pidfiles = self.settings.sockets.glob(".s.PGSQL.*.lock")
        for pidfile in (data / "postmaster.pid", self.pidfile, *pidfiles):
            if self.pid(pidfile) is None:  # stale: the number may belong to another process
                pidfile.unlink(missing_ok=True)
        _distrust_loopback(data / "pg_hba.conf")
        if port := self.settings.embedded_postgres_port:
            self._prepare_port(port)
        self._write_settings(data, programs, durable=durable)
        return [str(programs.postgres / "postgres"), "-D", str(data)]

    def _initdb(self, data: Path, programs: Programs, *, durable: bool) -> None:
        """Create the cluster in a draft folder and rename it, which never leaves an incomplete one.

        The socket's folder is private and needs no password; every local user can connect to the
        loopback, which requires one. Raises EmbeddedError for a user without a name, such as
        OpenShift's, which initdb refuses.
        """
        try:
            pwd.getpwuid(self.account.uid)
        except KeyError:
            raise EmbeddedError(
                f"uid {self.account.uid} has no entry in /etc/passwd, which PostgreSQL needs to"
                f" create its files: add one, or {ALTERNATIVE}"
            ) from None
        draft = data.with_name(f"{data.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        self.account.make_private(draft)
        locale = ["--locale=C.UTF-8"]
        if programs.major >= _BUILTIN_LOCALE:
            locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        authentication = ["--auth-local=trust", "--auth-host=scram-sha-256"]
        options = [*locale, "-E", "UTF8", "-U", "postgres", *authentication, "--no-instructions"]
        if not durable:
            options.append("--no-sync")
        run_command([str(programs.postgres / "initdb"), *options, "-D", str(draft)], self.account)
        with (draft / "postgresql.conf").open("a") as stream:
            stream.write("include 'tracker.conf'\n")
        draft.rename(data)

    def _prepare_port(self, port: int) -> None:
        """Check the TCP port, and link the socket, whose name PostgreSQL derives from that port.

        Clients find the socket under one name, whatever the port is. Raises EmbeddedError.
        """
        check_port("EMBEDDED_POSTGRES_PORT", _LOOPBACK, port)
        for link in (self.socket, self.pidfile):
            target = link.name.replace("5432", str(port))
            if target != link.name:
                link.unlink(missing_ok=True)
                link.symlink_to(target)

    def tcp_address(self) -> tuple[str, int] | None:
        """Host and port at which the running server accepts TCP connections, if it does.

        Source: PostgreSQL's src/include/utils/pidfile.h, the lines of postmaster.pid
        """
        try:
            data = Path(self.pidfile.read_text().splitlines()[1])
            lines = (data / "postmaster.pid").read_text().splitlines()
            port, address = int(lines[3]), lines[5].strip()
        except (OSError, IndexError):  # it starts or stops
            return None
        if not address:
            return None
        return (_LOOPBACK if address in {"*", "0.0.0.0"} else address), port  # noqa: S104 -- compared

    def has_password(self, role: str) -> bool:
        """Whether *role* has a password, which a login over TCP requires."""
        query = "SELECT FROM pg_authid WHERE rolname = %s AND rolpassword IS NOT NULL"
        with self._connect() as conn:
            return bool(conn.execute(query, [role]).rowcount)

    def _write_settings(self, data: Path, programs: Programs, *, durable: bool) -> None:
        folder = str(self.settings.sockets).replace('"', '""').replace("'", "''")
        port = self.settings.embedded_postgres_port
        zone = "UTC" if Path("/usr/share/zoneinfo/UTC").exists() else "GMT"  # GMT needs no files
        # A quarter of the memory, as PostgreSQL's manual recommends; pages are taken when filled.
        buffers = min(max(available_memory() // 4 // _MEGABYTE, _MIN_BUFFERS), _MAX_BUFFERS)
        parts = [
            _POSTGRES_SETTINGS,
            f"unix_socket_directories = '\"{folder}\"'\n",
            f"listen_addresses = '{_LOOPBACK if port else ''}'\nport = {port or 5432}\n",
            f"timezone = '{zone}'\nlog_timezone = '{zone}'\n",
            f"dynamic_shared_memory_type = {self._find_shared_memory()}\n",
            # The jobs of the Community edition would fail for ever here, timescaledb #10191.
            "" if programs.community else "timescaledb.max_background_workers = 0\n",
            f"shared_buffers = {buffers}MB\n" if durable else _NOT_DURABLE,
        ]
        file = data / "tracker.conf"
        file.write_text("".join(parts))
        os.chown(file, self.account.uid, self.account.gid)  # root's umask may forbid others to read

    def _find_shared_memory(self) -> str:
        """The kind of shared memory: files beside the data where its folder is not writable."""
        try:
            run_command(["test", "-w", str(SHARED_MEMORY)], self.account)
        except EmbeddedError:
            return "mmap"
        return "posix"


def _check_version(data: Path, major: int) -> None:
    try:
        version = f"PostgreSQL {(data / 'PG_VERSION').read_text().strip()}"
    except OSError:
        version = "no cluster"
    if version != f"PostgreSQL {major}":
        raise EmbeddedError(
            f"{data} contains {version}, not PostgreSQL {major}: move it, or set TRACKER_HOME"
        )


def _distrust_loopback(hba: Path) -> None:
    """Require passwords on the loopback; version 0.1 created clusters that trust it."""
    if not hba.exists():
        return
    text = hba.read_text(errors="surrogateescape")
    changed = _TRUSTED_LOOPBACK.sub(r"\1scram-sha-256", text)
    if changed != text:
        draft, status = hba.with_name(f"{hba.name}.new"), hba.stat()
        draft.write_text(changed, errors="surrogateescape")
        shutil.copymode(hba, draft)
        os.chown(draft, status.st_uid, status.st_gid)
        draft.replace(hba)


def available_memory(limits: Iterable[Path] = _MEMORY_LIMITS) -> int:
    """Bytes of memory of the machine, or of the container whose limits are in *limits*.

    A limit of this process' address space (`ulimit -v`) counts too.
    """
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    address_space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if address_space != resource.RLIM_INFINITY:
        sizes.append(address_space)
    for file in limits:
        with suppress(OSError, ValueError):  # "max" is no limit
            sizes.append(int(file.read_text()))
    return min(sizes)


class Redis(Server):
    """The queue's server, which persists the queue in an append-only file."""

    name = "redis"
    stop_signal = signal.SIGTERM
    socket_name = "redis.sock"
    pidfile_name = "redis.pid"

    def is_ready(self) -> bool:
        """Whether it responds to PING; while it loads its file, it sends an error instead."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_CONNECT_TIMEOUT)
                connection.connect(str(self.socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    def prepare(self, programs: Programs, *, durable: bool = True) -> list[str]:
        """Make its folder and return the command."""
        data = self.settings.home / "redis"
        self.account.make_private(data)
        if self.pid() is None:
            self.pidfile.unlink(missing_ok=True)
        options = _REDIS_SETTINGS | {
            "dir": str(data),
            "unixsocket": str(self.socket),
            "pidfile": str(self.pidfile),
            "appendfsync": "everysec" if durable else "no",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        return [str(programs.redis), *arguments]


def check_port(variable: str, host: str, port: int) -> None:
    """Raises EmbeddedError naming *variable*, or WEB_HOST, if the port cannot be used."""
    host_variable = variable if variable not in _WEB_PORTS else "WEB_HOST"
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise EmbeddedError(f"{host_variable}: {host}: {error.strerror}") from None
    unavailable = 0
    for family, kind, protocol, _, address in addresses:
        try:
            with socket.socket(family, kind, protocol) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listener.bind(address)
        except OSError as error:
            if error.errno in _NO_SUCH_ADDRESS:  # of localhost's two, one may be
                unavailable += 1
                continue
            why = "is already in use" if error.errno == errno.EADDRINUSE else f"({error.strerror})"
            text = f"{variable}: port {port} of {host} {why}: set another port"
            raise EmbeddedError(text) from None
    if unavailable == len(addresses):
        raise EmbeddedError(f"{host_variable}: {host} is not an address of this machine")
