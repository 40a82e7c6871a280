"""Fixtures of all tests: private TimescaleDB and Redis servers, databases and clients."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import hypothesis
import psycopg
import pytest
from psycopg import AsyncConnection

from tests.support.api import serve_api
from tests.support.database import (
    Run,
    create_database,
    create_migrated_database,
    make_settings,
)
from tests.support.logs import capture_log
from tracker import migrations
from tracker.embedded.home import running_servers
from tracker.settings import Settings

# Everything here is on the loopback; a proxy is for downloads.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost,::1"

# Half of Hypothesis' usual number; just test --hypothesis-profile=long looks longer.
hypothesis.settings.register_profile("short", max_examples=50, deadline=None)
hypothesis.settings.register_profile("long", max_examples=1000, deadline=None)
# For another Python: the logic is the same, and one example shows what differs.
hypothesis.settings.register_profile("brief", max_examples=10, deadline=None)
hypothesis.settings.load_profile("short")

_EMPTY = "TRUNCATE tickers, prices, misses, internal.heartbeats RESTART IDENTITY"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option --without-servers, for a result within seconds."""
    parser.addoption(
        "--without-servers", action="store_true", help="skip tests that need a database or a queue"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Apply that option; run slow files first, which balances the workers."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    if config.getoption("--without-servers"):
        left = [item for item in items if _needs_servers(item)]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


def _needs_servers(item: pytest.Item) -> bool:
    assert isinstance(item, pytest.Function)
    return "settings" in item.fixturenames or item.get_closest_marker("slow") is not None


@pytest.fixture
def log() -> Iterator[list[str]]:
    """The lines that this process logs: level and message."""
    with capture_log() as lines:
        yield lines


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the environment names a proxy, or excludes a server from one."""
    for name in [*os.environ]:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A temporary folder that other users may enter: root runs the servers as another user."""
    folder = Path(tempfile.mkdtemp(prefix="tracker-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def open_tmp() -> Iterator[Path]:
    """Such a folder for each test file, so that files may use the same names."""
    with open_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def settings() -> Iterator[Settings]:
    """The settings of this session's private servers."""
    with open_folder() as folder:
        yield make_settings(folder / "home")


@pytest.fixture(scope="session")
def servers(settings: Settings) -> Iterator[Settings]:
    """Settings of running PostgreSQL and Redis servers."""
    with running_servers(settings, durable=False):
        yield settings


@pytest.fixture(scope="session")
def migrated(servers: Settings) -> Settings:
    """The same servers, with the schema."""
    migrations.apply(servers.database_dsn)
    return servers


@pytest.fixture
def database(migrated: Settings) -> Settings:
    """Settings of a migrated database without a row."""
    with psycopg.connect(migrated.database_dsn, autocommit=True) as conn:
        conn.execute(_EMPTY)
    return migrated


@pytest.fixture
def fresh(servers: Settings) -> Iterator[Settings]:
    """Settings of a database without the schema."""
    with create_database(servers) as settings:
        yield settings


@pytest.fixture
def conn(database: Settings) -> Iterator[psycopg.Connection]:
    """A connection to that empty database, each statement committed."""
    with psycopg.connect(database.database_dsn, autocommit=True) as conn:
        yield conn


@pytest.fixture(scope="module")
def base(servers: Settings) -> Iterator[Settings]:
    """A migrated database for one test file alone."""
    with create_migrated_database(servers) as settings:
        yield settings


@pytest.fixture(scope="module")
def base_conn(base: Settings) -> Iterator[psycopg.Connection]:
    """A connection to that database, each statement committed; rows remain between tests."""
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        yield conn


@pytest.fixture
def writer(base: Settings) -> Iterator[psycopg.Connection]:
    """A connection to that database, each statement committed; it is empty at first."""
    with psycopg.connect(base.database_dsn, autocommit=True) as conn:
        conn.execute(_EMPTY)
        yield conn


@pytest.fixture(scope="module")
def stopped(open_tmp: Path) -> Settings:
    """Settings of a PostgreSQL for one test file alone, with the schema; it is stopped."""
    settings = make_settings(open_tmp / f"stopped-{uuid4().hex[:8]}", redis_host="127.0.0.1")
    with running_servers(settings, durable=False):
        migrations.apply(settings.database_dsn)
    return settings


@pytest.fixture(scope="module")
def client(base: Settings) -> Iterator[httpx.Client]:
    """A client of the API on that database; btc_usd and eth_usd are configured."""
    with serve_api(base) as client:
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
