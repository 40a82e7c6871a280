"""TimescaleDB's Community edition 2.23 in WebAssembly: it has features that the embedded one lacks.

Data are in memory. It serves one connection at a time: a second one waits for the end of the first.
"""

import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import playwright
import psycopg
from psycopg.conninfo import make_conninfo

from tracker import migrations
from tracker.embedded.account import bind_to_parent
from tracker.settings import CHECKOUT

TIMEOUT = 60.0  # seconds

_NODE = Path(playwright.__file__).with_name("driver") / "node"  # a machine may have none
_MODULES = Path(sys.prefix) / "npm/node_modules"

# What yoyo keeps there; yoyo itself wants two connections at a time.
_MIGRATION_TABLE = "CREATE TABLE _yoyo_migration (migration_id text)"


@contextmanager
def run_community_edition() -> Iterator[str]:
    """Run a server with an empty database; yields its connection string.

    It ends with its standard input, and therefore with the process that started it.
    """
    command = [str(_NODE), str(CHECKOUT / "tests/support/community.mjs"), str(_MODULES)]
    with subprocess.Popen(
        bind_to_parent(command, signal.SIGKILL),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            yield make_conninfo(
                host="127.0.0.1", port=_wait_for_port(server), user="postgres", password="x",
                dbname="template1", sslmode="disable", gssencmode="disable",
            )  # fmt: skip
        finally:
            server.kill()


def apply_migrations(conn: psycopg.Connection, *names: str) -> None:
    """Apply these migrations, or all of them."""
    if not names:
        conn.execute(_MIGRATION_TABLE)
    for name in names or migrations.names():
        conn.execute((migrations.FOLDER / f"{name}.sql").read_bytes())
    if not names:
        migrations.ensure_roles(conn)


def _wait_for_port(server: subprocess.Popen[str]) -> int:
    """The port that it listens on."""
    assert server.stdout
    ready, _, _ = select.select([server.stdout], [], [], TIMEOUT)
    assert ready, f"no Community edition within {TIMEOUT} s"
    line = server.stdout.readline()
    assert line, "the Community edition ended at once: see its standard error"
    return int(line)
