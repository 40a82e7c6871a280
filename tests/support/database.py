"""Databases of private servers, logins as any role, and rows: inserted and read."""

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.errors import LockNotAvailable

from tests.support.waiting import wait_until
from tracker import migrations, queries
from tracker.embedded.home import home_servers, prepare_servers, running_servers
from tracker.embedded.packages import find_programs
from tracker.embedded.servers import Postgres
from tracker.settings import Settings
from tracker.times import MINUTE

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Row = tuple[Any, ...]

_INSERT_PRICES = (
    "INSERT INTO prices (ticker, created_at, price, source)"
    " SELECT %s, minute, price, %s FROM unnest(%s::timestamptz[], %s::numeric[])"
    " AS given (minute, price)"
)
_UPSERT_PRICES = (
    f"{_INSERT_PRICES} ON CONFLICT (ticker, created_at)"
    " DO UPDATE SET price = excluded.price, source = excluded.source"
)


def make_settings(home: Path, **changes: object) -> Settings:
    """Settings of the embedded servers in *home*, whatever the environment or `.env` contains."""
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
def start_over_tcp(home: Path) -> Iterator[Settings]:
    """Start a PostgreSQL in *home*; yields settings that connect to it over TCP."""
    settings = make_settings(home, redis_host="none")
    address = f"127.{uuid4().int % 200 + 10}.{uuid4().int % 250}.1"  # unique: the port is 5432
    prepare_servers(settings, home_servers(settings), durable=False)
    data = settings.home / find_programs(settings).folder
    with (data / "postgresql.auto.conf").open("a") as conf:
        conf.write(f"listen_addresses = '{address}'\n")
    with running_servers(settings, durable=False):
        with psycopg.connect(settings.database_dsn, autocommit=True) as conn:
            conn.execute("ALTER ROLE postgres PASSWORD 'se''cret \\2'")
        yield settings.changed(postgres_host=address, postgres_password="se'cret \\2")


@contextmanager
def create_database(servers: Settings) -> Iterator[Settings]:
    """A new database without the schema on these *servers*; dropped at the end."""
    with _create_database(servers, "template1") as settings:
        yield settings


@contextmanager
def _create_database(servers: Settings, template: str) -> Iterator[Settings]:
    settings = servers.changed(postgres_db=f"fresh_{uuid4().hex}")
    with psycopg.connect(servers.database_dsn, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {settings.postgres_db} TEMPLATE {template}")
        try:
            yield settings
        finally:
            conn.execute(f"DROP DATABASE {settings.postgres_db} WITH (FORCE)")


@contextmanager
def create_migrated_database(servers: Settings) -> Iterator[Settings]:
    """The same with the schema: a copy of one database, which takes a tenth of the time."""
    with _create_database(servers, _migrated_template(servers.database_dsn)) as settings:
        migrations.apply(settings.database_dsn)  # what roles may do in a database is not copied
        yield settings


@cache
def _migrated_template(dsn: str) -> str:
    """The name of a database with the schema, to which nothing connects any more."""
    name = f"migrated_{uuid4().hex}"
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}")
        migrations.apply(make_conninfo(dsn, dbname=name))
        conn.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
    return name


def postmaster_pid(settings: Settings) -> int | None:
    """The process id of the embedded PostgreSQL."""
    return Postgres(settings).pid()


def list_databases(settings: Settings) -> set[str]:
    """The names of all databases on that server."""
    with psycopg.connect(settings.changed(postgres_db="postgres").database_dsn) as conn:
        return {name for (name,) in conn.execute("SELECT datname FROM pg_database")}


def login(settings: Settings, role: str) -> psycopg.Connection:
    """An autocommit connection to that database as *role*."""
    dsn = settings.changed(postgres_user=role).database_dsn
    return psycopg.connect(dsn, autocommit=True)


def insert_prices(
    conn: psycopg.Connection,
    ticker: str,
    series: Mapping[datetime, Decimal | str],
    source: str = "poll",
) -> None:
    """Insert the *series* in one statement."""
    conn.execute(_INSERT_PRICES, [ticker, source, list(series), list(series.values())])


def upsert_prices(
    conn: psycopg.Connection,
    ticker: str,
    series: Mapping[datetime, Decimal | str],
    source: str = "poll",
) -> None:
    """Insert the *series* or replace stored prices and their sources, in one statement."""
    conn.execute(_UPSERT_PRICES, [ticker, source, list(series), list(series.values())])


def minutes_from(first: datetime, count: int) -> list[datetime]:
    """*count* consecutive minutes from *first* on."""
    return [first + n * MINUTE for n in range(count)]


def insert_minutes(
    conn: psycopg.Connection,
    minutes: Iterable[datetime],
    ticker: str = "btc_usd",
    price: str = "1.50",
    source: str = "poll",
) -> None:
    """Insert the same *price* for each of the *minutes*."""
    insert_prices(conn, ticker, dict.fromkeys(minutes, price), source)


def insert_misses(
    conn: psycopg.Connection, ticker: str, minutes: Iterable[datetime], reason: str
) -> None:
    """Record the *minutes* as missed for *reason*."""
    conn.execute(
        "INSERT INTO misses (ticker, minute, reason, attempts)"
        " SELECT %s, minute, %s, 1 FROM unnest(%s::timestamptz[]) AS given (minute)",
        [ticker, reason, list(minutes)],
    )


def drop_prices(conn: psycopg.Connection, retention: timedelta) -> None:
    """Drop all prices older than *retention*; a lock of another session delays it."""

    def is_dropped() -> bool:
        try:
            dropped = queries.drop_prices(conn, retention)
        except LockNotAvailable:  # such as autovacuum's on a chunk
            return False
        return dropped.reached == dropped.horizon

    wait_until(is_dropped)


def read_polls(conn: psycopg.Connection) -> list[tuple[str, datetime]]:
    """Index and minute of each polled price."""
    query = (
        "SELECT ticker, created_at FROM prices WHERE source = 'poll' ORDER BY created_at, ticker"
    )
    return [(ticker, minute) for ticker, minute in conn.execute(query)]


def read_misses(conn: psycopg.Connection) -> list[tuple[str, datetime, str]]:
    """Index, minute and reason of each miss."""
    query = "SELECT ticker, minute, reason FROM misses ORDER BY minute, ticker"
    return [(ticker, minute, reason) for ticker, minute, reason in conn.execute(query)]
