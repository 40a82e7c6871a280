"""The embedded servers: started, stopped, killed, side by side."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from stat import ST_GID, ST_MODE, ST_UID
from typing import Any

import psycopg
import pytest
import redis

from tests.support.processes import NOBODY, as_nobody, is_alive, wait_until_dead
from tracker.embedded import servers as servers_module
from tracker.embedded.home import (
    home_servers,
    psql_command,
    psql_environment,
    running_servers,
    servers_are_ready,
    start_background,
    stop_background,
)
from tracker.embedded.lock import lock_home
from tracker.embedded.servers import available_memory
from tracker.errors import EmbeddedError
from tracker.settings import CHECKOUT, Settings

pytestmark = pytest.mark.slow


def fetch_value(settings: Settings, query: str = "SELECT 42") -> object:
    with psycopg.connect(settings.database_dsn, autocommit=True) as connection:
        row = connection.execute(query).fetchone()
    return row and row[0]


def pids(settings: Settings) -> list[int]:
    return [pid for server in home_servers(settings) if (pid := server.pid())]


def run_as_program(
    settings: Settings, command: str, *, before: Sequence[str] = (), **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run the command of `tracker` in a process, whose other program *before* starts it."""
    words = [*before, sys.executable, "-m", "tracker", command]
    environment = settings.environment() | {"PATH": os.environ["PATH"]}
    return subprocess.run(
        words, check=False, env=environment, cwd=CHECKOUT, capture_output=True, text=True, **options
    )


@pytest.fixture
def other(settings: Settings, request: pytest.FixtureRequest) -> Iterator[Settings]:
    """A separate home, whose servers are stopped at the end."""
    name = request.node.name.replace("[", "-").replace("]", "")
    own = settings.changed(tracker_home=settings.home.parent / name[:60])
    yield own
    stop_background(own)


def test_timescaledb_and_redis_respond(servers: Settings) -> None:
    with psycopg.connect(servers.database_dsn) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        connection.execute("CREATE TABLE t (at timestamptz PRIMARY KEY)")
        connection.execute("SELECT create_hypertable('t', by_range('at'))")
        connection.rollback()

    with redis.from_url(servers.broker_url) as client:
        assert client.ping()


def test_servers_listen_on_private_sockets_only(servers: Settings) -> None:
    assert fetch_value(servers, "SHOW listen_addresses") == ""
    with redis.from_url(servers.broker_url) as client:
        assert client.config_get("port") == {"port": "0"}
    assert servers.sockets.stat().st_mode & 0o777 == 0o700


def test_two_homes_have_separate_data(servers: Settings, other: Settings) -> None:
    with running_servers(other, durable=False):
        with redis.from_url(other.broker_url) as client:
            client.set("mine", "1")
        with redis.from_url(servers.broker_url) as client:
            assert client.get("mine") is None
        assert not set(pids(other)) & set(pids(servers))

    assert not servers_are_ready(other)
    assert servers_are_ready(servers)


def test_stored_data_survives_sigkill(other: Settings) -> None:
    """Stale pid files are ignored, also when another process has the number by now."""
    with running_servers(other):
        with psycopg.connect(other.database_dsn) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS x")
        with redis.from_url(other.broker_url) as client:
            client.set("kept", "7")
        killed = pids(other)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        wait_until_dead(killed)
    data = next(other.home.glob("postgres-*"))
    for stale in (data / "postmaster.pid", other.sockets / ".s.PGSQL.5432.lock"):
        _, rest = stale.read_text().split("\n", 1)
        stale.write_text(f"{os.getpid()}\n{rest}")

    with running_servers(other):
        assert fetch_value(other, "SELECT x FROM kept") == 7
        with redis.from_url(other.broker_url) as client:
            assert client.get("kept") == b"7"


def test_shared_buffers_are_a_quarter_of_memory(other: Settings) -> None:
    """At most 8 GB; a container's limit counts."""
    with running_servers(other):
        pages = fetch_value(
            other, "SELECT setting::bigint FROM pg_settings WHERE name = 'shared_buffers'"
        )
    quarter = min(available_memory() // 4, 8 << 30)
    assert isinstance(pages, int)
    assert pages * 8192 == pytest.approx(quarter, abs=1 << 20)


@pytest.mark.parametrize(
    ("bounds", "found"),
    [
        (["max\n"], None),
        (["67108864\n"], 67108864),
        (["max\n", "67108864\n"], 67108864),
        (["9223372036854771712\n"], None),
    ],
)
def test_available_memory_respects_container_limits(
    tmp_path: Path, bounds: list[str], found: int | None
) -> None:
    """In both versions of control groups; "max" and the largest number are no limit."""
    files = [tmp_path / str(number) for number in range(len(bounds))]
    for file, text in zip(files, bounds, strict=True):
        file.write_text(text)

    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert available_memory([*files, tmp_path / "missing"]) == (found or whole)


def test_available_memory_respects_ulimit() -> None:
    """With `ulimit -v`, PostgreSQL cannot map a quarter of the machine's memory."""
    command = ["prlimit", f"--as={1 << 30}", sys.executable, "-c"]
    script = "from tracker.embedded.servers import available_memory; print(available_memory())"

    done = subprocess.run([*command, script], check=True, cwd=CHECKOUT, capture_output=True)

    assert int(done.stdout) == 1 << 30


def test_incomplete_cluster_is_rebuilt(other: Settings) -> None:
    """A killed initdb leaves one behind."""
    with running_servers(other, durable=False):
        pass
    data = next(other.home.glob("postgres-*"))
    draft = data.rename(data.with_name(f"{data.name}.new"))
    (draft / "PG_VERSION").unlink()

    with running_servers(other, durable=False):
        assert fetch_value(other) == 42


def test_other_major_version_is_refused(other: Settings) -> None:
    """The message names the next step, unlike PostgreSQL's own."""
    with running_servers(other, durable=False):
        pass
    data = next(other.home.glob("postgres-*"))
    (data / "PG_VERSION").write_text("9\n")

    wrong_version = r"contains PostgreSQL 9.*TRACKER_HOME"
    with pytest.raises(EmbeddedError, match=wrong_version), running_servers(other):
        pass


def test_failed_start_shows_log_and_stops_the_rest(other: Settings) -> None:
    with running_servers(other, durable=False):
        pass
    data = next(other.home.glob("postgres-*"))
    with (data / "postgresql.conf").open("a") as stream:
        stream.write("no_such_setting = 1\n")

    log_line = r"(?s)postgres.*no_such_setting"
    with pytest.raises(EmbeddedError, match=log_line), running_servers(other):
        pass

    assert not pids(other)


def test_background_start_and_stop_are_idempotent(other: Settings) -> None:
    """The processes have ended when stop returns."""
    start_background(other)
    first = pids(other)
    start_background(other)

    assert servers_are_ready(other)
    assert pids(other) == first
    assert fetch_value(other) == 42

    stop_background(other)
    stop_background(other)
    assert not servers_are_ready(other)
    assert not [pid for pid in first if is_alive(pid)]


@pytest.mark.skipif(os.getuid() != 0, reason="only root runs the servers as another user")
def test_unreadable_processes_count_as_running(other: Settings) -> None:
    """Without CAP_SYS_PTRACE root cannot read what another user's process works in.

    A second start leaves running servers as they are, a stop ends them; files that killed servers
    leave behind are stale nevertheless, also when their numbers belong to others by now.
    """
    unprivileged = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"]

    def tracker(command: str) -> subprocess.CompletedProcess[str]:
        return run_as_program(other, command, before=unprivileged)

    for _ in range(2):
        assert tracker("infra").returncode == 0
        numbers = pids(other)
        assert len(numbers) == 2
    data = next(other.home.glob("postgres-*"))
    assert (data / "postmaster.pid").exists()
    for number in numbers:
        os.kill(number, signal.SIGSTOP)
    hung = tracker("infra")
    for number in numbers:
        os.kill(number, signal.SIGCONT)
    assert (hung.returncode, pids(other)) == (1, numbers)
    assert "runs but does not respond" in hung.stderr
    assert (data / "postmaster.pid").exists()

    for number in numbers:
        os.kill(number, signal.SIGKILL)
    wait_until_dead(numbers)
    with subprocess.Popen(["sleep", "600"], user=NOBODY, group=NOBODY, extra_groups=[]) as stranger:
        for stale in (data / "postmaster.pid", other.sockets / ".s.PGSQL.5432.lock"):
            _, rest = stale.read_text().split("\n", 1)
            stale.write_text(f"{stranger.pid}\n{rest}")
        (other.sockets / "redis.pid").write_text(f"{stranger.pid}\n")
        assert tracker("infra").returncode == 0
        numbers = pids(other)
        assert len(numbers) == 2
        assert tracker("down-infra").returncode == 0
        assert stranger.poll() is None
        stranger.kill()
    wait_until_dead(numbers)


def test_loopback_tcp_needs_a_password(other: Settings) -> None:
    """The socket's folder is closed to others, the loopback is not.

    A cluster made by version 0.1 trusts the loopback: the next start corrects that, and leaves
    other lines of pg_hba.conf as they are.
    """
    address = f"127.{os.getpid() % 200 + 10}.{os.getpid() % 250}.1"  # nobody else's 5432
    tcp = other.changed(postgres_host=address)
    with running_servers(other, durable=False):
        assert fetch_value(other) == 42
    data = next(other.home.glob("postgres-*"))
    with (data / "postgresql.conf").open("a") as conf:
        conf.write(f"listen_addresses = '{address}'\n")
    own = "hostssl all all 192.0.2.0/24 trust\n"
    wide = ("0.0.0.0/0", "::/0", "0.0.0.0 0.0.0.0", "all", "samenet")
    hba, lines = data / "pg_hba.conf", "".join(f"host all all {each} trust\n" for each in wide)
    for old in (False, True):
        if old:
            hba.write_text(hba.read_text().replace("scram-sha-256", "trust") + own + lines)
        before = [hba.stat()[n] for n in (ST_MODE, ST_UID, ST_GID)]
        with running_servers(other, durable=False):
            assert fetch_value(other) == 42
            assert fetch_value(other, "SHOW listen_addresses") == address
            with pytest.raises(psycopg.OperationalError, match="password"):
                fetch_value(tcp)
            query = (
                "SELECT string_agg(type || coalesce(' ' || address, ''), ', ' ORDER BY rule_number)"
                " FROM pg_hba_file_rules WHERE auth_method = 'trust'"
            )
            trusted = "local, local, hostssl 192.0.2.0" if old else "local, local"
            assert fetch_value(other, query) == trusted
            with psycopg.connect(other.database_dsn) as connection:
                connection.execute("ALTER ROLE postgres PASSWORD 'secret'")
            assert fetch_value(tcp.changed(postgres_password="secret")) == 42
        assert [hba.stat()[n] for n in (ST_MODE, ST_UID, ST_GID)] == before


def test_servers_of_running_tracker_are_not_stopped(other: Settings) -> None:
    with lock_home(other), pytest.raises(EmbeddedError, match=f"pid {os.getpid()}"):
        stop_background(other)


def test_renamed_role_and_database_are_created(servers: Settings) -> None:
    changed = servers.changed(postgres_user="o'neil", postgres_db='odd "name"')

    assert all(server.is_ready() for server in home_servers(changed))
    assert fetch_value(changed, "SELECT current_user || ', ' || current_database()") == (
        'o\'neil, odd "name"'
    )


def test_long_home_path_moves_sockets(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket's path is limited to 107 bytes; every command finds it, whatever its TMPDIR is."""
    deep = settings.home.parent / ("long, 'odd' \"path\"" + "x" * 100) / ("y" * 100)
    own = settings.changed(tracker_home=deep)
    assert not own.sockets.is_relative_to(deep)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("t" * 100)))
    assert settings.changed(tracker_home=deep).sockets == own.sockets

    try:
        with running_servers(own, durable=False):
            assert fetch_value(own) == 42
    finally:
        own.sockets.rmdir()


def test_umask_does_not_matter(other: Settings) -> None:
    """Root's may forbid the servers' account to read what root writes, and anyone's its own."""
    for umask in (0o777, 0o077):
        done = run_as_program(other, "infra", umask=umask)
        assert done.returncode == 0, done.stderr
        assert fetch_value(other) == 42
        assert run_as_program(other, "down-infra", umask=umask).returncode == 0


def test_shared_memory_may_be_unavailable(
    other: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some containers have a /dev/shm that only root may write."""
    monkeypatch.setattr(servers_module, "SHARED_MEMORY", tmp_path / "missing")
    with running_servers(other, durable=False):
        assert fetch_value(other, "SHOW dynamic_shared_memory_type") == "mmap"


@pytest.mark.skipif(os.getuid() != 0, reason="only root runs the servers as another user")
def test_user_without_a_name_is_refused(other: Settings) -> None:
    """OpenShift runs containers as such a user; initdb's own message names no way out."""
    other.home.mkdir()
    os.chown(other.home, 1_000_620_000, 0)

    message = r"uid 1000620000 has no entry in /etc/passwd"
    with pytest.raises(EmbeddedError, match=message), running_servers(other):
        pass


def test_socket_folder_of_another_user_is_refused(settings: Settings, tmp_path: Path) -> None:
    """In /tmp any user may have made it first."""
    own = settings.changed(tracker_home=settings.home.parent / ("z" * 120))
    own.sockets.symlink_to(tmp_path)

    try:
        with pytest.raises(EmbeddedError, match="belongs to"), running_servers(own):
            pass
    finally:
        own.sockets.unlink()


def test_sigkill_of_parent_ends_servers(other: Settings) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from tests.support.database import make_settings\n"
        "from tracker.embedded.home import running_servers\n"
        "with running_servers(make_settings(Path(sys.argv[1])), durable=False):\n"
        "    print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(other.home)], cwd=CHECKOUT, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"up\n"
        numbers = pids(other)
        parent.kill()

    assert len(numbers) == 2
    wait_until_dead(numbers)


def test_servers_need_no_root(settings: Settings, open_tmp: Path) -> None:
    """As root this runs as `nobody`."""
    own = settings.changed(tracker_home=open_tmp / "user/home")
    own.home.parent.mkdir()
    script = (
        "import os, sys; from pathlib import Path\n"
        "from tests.support.database import make_settings\n"
        "from tracker.embedded.home import home_servers, running_servers\n"
        "own = make_settings(Path(sys.argv[1]), tracker_cache=Path(sys.argv[2]))\n"
        "with running_servers(own, durable=False):\n"
        "    print(os.getuid(), all(s.is_ready() for s in home_servers(own)))"
    )
    command = [sys.executable, "-c", script, str(own.home), str(own.cache)]
    if os.getuid() == 0:
        os.chown(own.home.parent, NOBODY, NOBODY)
        command = [*as_nobody(), *command]

    done = subprocess.run(command, cwd=CHECKOUT, check=False, capture_output=True, text=True)

    uid = NOBODY if os.getuid() == 0 else os.getuid()
    assert done.stdout == f"{uid} True\n", done.stderr


def test_psql_command_has_no_password(servers: Settings) -> None:
    secret = servers.changed(postgres_password="hunter2")
    words = psql_command(secret, ["-Atc", "SELECT 6 * 7"])

    done = subprocess.run(
        words, check=True, capture_output=True, text=True, env=psql_environment(secret)
    )

    assert done.stdout == "42\n"
    assert "hunter2" not in " ".join(words)
