"""The servers under test, their databases, and the comparators; started when a line needs them."""

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import psycopg

from ops.bench.processes import SERVER, free_ports, run_command, running
from tracker.embedded.home import running_servers
from tracker.embedded.packages import find_programs
from tracker.settings import Settings

if TYPE_CHECKING:
    from subprocess import Popen

HERE: Final = Path(__file__).parent
PAIR: Final = ("btc_usd", "eth_usd")
MANY: Final = tuple(f"i{number:04}_usd" for number in range(1000))
BASE_MINUTES: Final = 50_000  # of two indexes: 100,000 rows; of 1,000: 50 million

# The prefix of the paths, and one that responds when the server is ready.
_APPS = {
    "web": ("/v1", "/health/live"),
    "fastapi_app": ("", "/openapi.json"),  # comparator (a)
    "starlette_app": ("", "/bytes"),  # comparators (b) and (c)
}


class Server(NamedTuple):
    """A server that is ready."""

    url: str
    pid: int


class Bench:
    """PostgreSQL and Redis in a temporary home, databases on them, and processes that use those.

    quick: fewer and shorter rounds, and less data, for a first look.
    seconds, turns: of HTTP load and of SQL, on each side: short, because machines are shared.
    rounds: turns of each side at everything else.
    minutes: of each index of the database `deep`.
    """

    def __init__(
        self, settings: Settings, facts: dict[str, str], stack: ExitStack, *, quick: bool
    ) -> None:
        """Use `opened`."""
        self.settings, self.facts, self.quick = settings, facts, quick
        self.seconds, self.turns, self.rounds = (1, 3, 3) if quick else (3, 9, 5)
        self.minutes = 560_000 if quick else 1_050_000
        self.folder = settings.home.parent
        self._stack = stack
        self._databases: dict[str, Settings] = {}
        self._servers: dict[tuple[str, str], Server] = {}

    @classmethod
    @contextmanager
    def opened(cls, facts: dict[str, str], *, quick: bool) -> Iterator[Self]:
        """Start the servers as `tracker up` does, and remove everything in the end.

        *facts* gets the sizes of what is measured.
        """
        folder = Path(tempfile.mkdtemp(prefix="tracker-bench-"))
        folder.chmod(0o755)  # as root, the servers run as another user
        try:
            embedded = embedded_settings(folder / "home")
            with running_servers(embedded), ExitStack() as stack:
                host = str(embedded.sockets)
                settings = embedded.changed(
                    postgres_host=host,
                    read_postgres_host=host,
                    direct_postgres_host=host,
                    redis_host=f"{host}/redis.sock",
                )
                yield cls(settings, facts, stack, quick=quick)
        finally:
            shutil.rmtree(folder)

    def empty(self, name: str) -> Settings:
        """The migrated database *name*, without a row at first."""
        if name not in self._databases:
            with connect(self.settings.changed(postgres_db="postgres")) as conn:
                conn.execute(f'CREATE DATABASE "{name}"'.encode())
            self._databases[name] = settings = self.settings.changed(postgres_db=name)
            run_command(tracker_command("migrate"), settings.environment())
        return self._databases[name]

    def database(self, name: str) -> Settings:
        """The database `base` with 100,000 rows, `deep` with up to 2.1 million, `large` with 50."""
        if name not in self._databases:
            names, minutes = {
                "base": (PAIR, BASE_MINUTES),
                "deep": (PAIR[:1] if self.quick else PAIR, self.minutes),
                "large": (MANY, BASE_MINUTES),
            }[name]
            began = time.monotonic()
            fill_database(self.empty(name), names, minutes)
            spent = time.monotonic() - began
            self.facts[f"filling {name}"] = f"{len(names) * minutes:,} rows in {spent:.0f} s"
        return self._databases[name]

    def server(self, app: str, database: str = "base") -> Server:
        """The API or a comparator on *database*: one of `_APPS`."""
        if (app, database) not in self._servers:
            settings = self.database(database).changed(web_port=free_ports(1)[0])
            prefix, path = _APPS[app]
            url = f"http://127.0.0.1:{settings.web_port}{prefix}"
            env = settings.environment() | {
                "PGHOST": settings.postgres_host,
                "PGUSER": settings.postgres_user,
                "PGDATABASE": settings.postgres_db,
            }
            command = tracker_command("web") if app == "web" else [
                *(sys.executable, "-m", "uvicorn", f"{app}:app", "--app-dir", str(HERE)),
                *("--host", "127.0.0.1", "--port", str(settings.web_port)),
                *("--loop", "uvloop", "--http", "httptools", "--ws", "none"),
                *("--no-access-log", "--no-server-header", "--log-level", "warning"),
            ]  # fmt: skip
            process = running(command, env, self.log(app), ready=f"{url}{path}", core=SERVER)
            self._servers[app, database] = Server(url, self._stack.enter_context(process).pid)
        return self._servers[app, database]

    def process(
        self,
        name: str,
        settings: Settings,
        *options: str,
        ready: str = "",
        core: int | None = None,
    ) -> AbstractContextManager["Popen[bytes]"]:
        """`tracker` *name* for the duration of the block, as `running`."""
        command, env = tracker_command(name, *options), settings.environment()
        return running(command, env, self.log(name), ready=ready, core=core)

    def log(self, name: str) -> Path:
        """The output of the process *name*."""
        return self.folder / f"{name}.log"

    def program(self, name: str) -> str:
        """A program of PostgreSQL."""
        return str(find_programs(self.settings).postgres / name)


def embedded_settings(home: Path, **changes: object) -> Settings:
    """Settings of the embedded servers in *home*, whatever the environment or `.env` says."""
    fixed: dict[str, object] = {
        **dict.fromkeys(("postgres_host", "read_postgres_host", "direct_postgres_host"), ""),
        "postgres_db": "tracker",
        "postgres_user": "postgres",
        "postgres_password": "",
        "redis_host": "",
        "redis_sentinels": (),
        "tickers": PAIR,
        "rate_limit": None,
        "api_version": "v1",
        "log_format": "plain",
        "tracker_home": home,
        "tracker_cache": Settings.load().cache,
    }
    return Settings.model_validate(fixed | changes)


def tracker_command(*words: str) -> list[str]:
    """A command of the product."""
    return [sys.executable, "-m", "tracker", *words]


def connect(settings: Settings) -> psycopg.Connection:
    """A connection that commits each statement."""
    return psycopg.connect(settings.database_dsn, autocommit=True)


def fill_database(settings: Settings, names: Sequence[str], minutes: int) -> None:
    """Insert a price of each of *names* for each of the last *minutes*, the present one included.

    The tables have to be empty. Everything derived from prices is as if they had been polled.
    """
    with connect(settings) as conn:
        with conn.transaction():
            conn.execute("SET LOCAL session_replication_role = replica")  # no trigger fires
            conn.execute("SET LOCAL work_mem = '512MB'")  # a million candles at a time
            parameters = {"names": list(names), "minutes": minutes}
            conn.execute((HERE / "fill.sql").read_bytes(), parameters)
            conn.execute((HERE / "track.sql").read_bytes())
            conn.execute("SELECT rebuild(ticker) FROM tickers ORDER BY ticker")
        settle(conn)


def settle(conn: psycopg.Connection) -> None:
    """Do now what autovacuum and the checkpointer would do during a measurement."""
    conn.execute("VACUUM (ANALYZE)")
    conn.execute("CHECKPOINT")
