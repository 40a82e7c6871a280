"""What every test may ask for: a real TimescaleDB and a real Redis of its own."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import hypothesis
import psycopg
import pytest
from psycopg import AsyncConnection

from tests.serving import served
from tracker import migrations
from tracker.embedded.home import home_servers, prepare_servers, started
from tracker.embedded.packages import find_programs
from tracker.settings import Settings

# Half of Hypothesis' usual number; just test --hypothesis-profile=long looks longer.
hypothesis.settings.register_profile("short", max_examples=50)
hypothesis.settings.register_profile("long", max_examples=1000)
# For another Python: the logic is the same, and one example shows what differs.
hypothesis.settings.register_profile("brief", max_examples=10)
hypothesis.settings.load_profile("short")

Run = Callable[[Coroutine[Any, Any, Any]], Any]

_EMPTY = "TRUNCATE tickers, prices, misses, internal.heartbeats RESTART IDENTITY"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add an option for whoever wants an answer in seconds."""
    parser.addoption(
        "--without-servers", action="store_true", help="leave out what needs a database or a queue"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what that option says; files that wait come first: nobody waits for them."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    if config.getoption("--without-servers"):
        left = [item for item in items if _needs_servers(item)]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


def _needs_servers(item: pytest.Item) -> bool:
    assert isinstance(item, pytest.Function)
    return "settings" in item.fixturenames or item.get_closest_marker("slow") is not None


def make_settings(home: Path, **changes: object) -> Settings:
    """Settings of the embedded servers in *home*, whatever the environment or `.env` says."""
    fixed: dict[str, object] = {
        "postgres_host": "",
        "read_postgres_host": "",
        "direct_postgres_host": "",
        "postgres_db": "tracker",
        "postgres_user": "postgres",
        "redis_host": "",
        "redis_sentinels": (),
        "tracker_home": home,
        "tracker_cache": Settings.load().cache,
    }
    return Settings.model_validate(fixed | changes)


@contextmanager
def started_over_tcp(home: Path) -> Iterator[Settings]:
    """PostgreSQL of its own in *home*, running; yields settings that lead to it over TCP."""
    settings = make_settings(home, redis_host="none")
    address = f"127.{uuid4().int % 200 + 10}.{uuid4().int % 250}.1"  # nobody else's 5432
    prepare_servers(settings, home_servers(settings), durable=False)
    data = settings.home / find_programs(settings).folder
    with (data / "postgresql.auto.conf").open("a") as conf:
        conf.write(f"listen_addresses = '{address}'\n")
    with started(settings, durable=False):
        with psycopg.connect(settings.database_dsn, autocommit=True) as conn:
            conn.execute("ALTER ROLE postgres PASSWORD 'se''cret \\2'")
        yield settings.changed(postgres_host=address, postgres_password="se'cret \\2")


@contextmanager
def fresh_database(servers: Settings) -> Iterator[Settings]:
    """A database of its own on these *servers*, without the schema; dropped afterwards."""
    settings = servers.changed(postgres_db=f"fresh_{uuid4().hex}")
    with psycopg.connect(servers.database_dsn, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {settings.postgres_db}")
        try:
            yield settings
        finally:
            conn.execute(f"DROP DATABASE {settings.postgres_db} WITH (FORCE)")


@pytest.fixture(scope="session")
def open_tmp() -> Iterator[Path]:
    """A temporary folder that other users may enter: as root the servers run as one of them."""
    folder = Path(tempfile.mkdtemp(prefix="tracker-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def settings(open_tmp: Path) -> Settings:
    """The settings of this session's private servers."""
    return make_settings(open_tmp / "home")


@pytest.fixture(scope="session")
def servers(settings: Settings) -> Iterator[Settings]:
    """PostgreSQL and Redis, running; yields the settings that lead to them."""
    with started(settings, durable=False):
        yield settings


@pytest.fixture(scope="session")
def migrated(servers: Settings) -> Settings:
    """The same servers, with the schema in place."""
    migrations.apply(servers.database_dsn)
    return servers


@pytest.fixture
def database(migrated: Settings) -> Settings:
    """A migrated database without a row; yields the settings that lead to it."""
    with psycopg.connect(migrated.database_dsn, autocommit=True) as conn:
        conn.execute(_EMPTY)
    return migrated


@pytest.fixture
def conn(database: Settings) -> Iterator[psycopg.Connection]:
    """A connection to that empty database, each statement committed."""
    with psycopg.connect(database.database_dsn, autocommit=True) as conn:
        yield conn


@pytest.fixture(scope="module")
def base(servers: Settings) -> Iterator[Settings]:
    """A migrated database for one test file alone."""
    with fresh_database(servers) as settings:
        migrations.apply(settings.database_dsn)
        yield settings


@pytest.fixture
def writer(base: Settings) -> Iterator[psycopg.Connection]:
    """A connection to that database, each statement committed; it is empty at first."""
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        conn.execute(_EMPTY)
        yield conn


@pytest.fixture(scope="module")
def client(base: Settings) -> Iterator[httpx.Client]:
    """A client of the API on that database; btc_usd and eth_usd are configured."""
    with served(base) as client:
        yield client


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Runs coroutines, all on one event loop."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="module")
def reader(base: Settings, run: Run) -> Iterator[AsyncConnection]:
    """An asynchronous connection to that database, as the API has it."""
    conn = run(AsyncConnection.connect(base.database_dsn, autocommit=True))
    yield conn
    run(conn.close())
