"""Databases full of prices, filled without the triggers; rebuild() does their work."""

from collections.abc import Sequence
from pathlib import Path

import psycopg

from tracker import migrations
from tracker.settings import Settings

_HERE = Path(__file__).parent
_FILL, _TRACK, _PLAIN = (
    (_HERE / name).read_bytes() for name in ("fill.sql", "track.sql", "plain.sql")
)


def create(settings: Settings) -> None:
    """The database of *settings* with its schema; its server has one named `postgres`."""
    server = settings.changed(postgres_db="postgres")
    with psycopg.connect(server.database_dsn, autocommit=True) as conn:
        conn.execute(f'CREATE DATABASE "{settings.postgres_db}"'.encode())
    migrations.apply(settings.database_dsn)


def fill(settings: Settings, names: Sequence[str], minutes: int) -> None:
    """Give each of *names* a price for each of the last *minutes*, the present one included.

    The database has none yet. All that follows from prices is as if they had been polled.
    """
    with psycopg.connect(settings.database_dsn, autocommit=True) as conn:
        with conn.transaction():
            conn.execute("SET LOCAL session_replication_role = replica")  # no trigger fires
            conn.execute("SET LOCAL work_mem = '512MB'")  # a million candles at a time
            conn.execute(_FILL, {"names": list(names), "minutes": minutes})
            conn.execute(_TRACK)
            conn.execute("SELECT rebuild(ticker) FROM tickers ORDER BY ticker")
        settle(conn)


def copy_plainly(settings: Settings) -> None:
    """Make the table `plain`, with the rows of `prices`."""
    with psycopg.connect(settings.database_dsn, autocommit=True) as conn:
        conn.execute(_PLAIN)
        settle(conn)


def settle(conn: psycopg.Connection) -> None:
    """Do now what the server would do while it is measured."""
    conn.execute("VACUUM (ANALYZE)")
    conn.execute("CHECKPOINT")
