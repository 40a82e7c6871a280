"""Settings of private servers, a server over TCP, and a database for one test file."""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from tracker.embedded.home import home_servers, prepare_servers, started
from tracker.embedded.packages import find_programs
from tracker.settings import Settings

Run = Callable[[Coroutine[Any, Any, Any]], Any]


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
