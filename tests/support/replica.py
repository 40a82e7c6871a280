"""A standby of an embedded TimescaleDB: a copy by pg_basebackup, in its own home."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests.support.waiting import wait_until
from tracker.embedded.account import Account, run_command
from tracker.embedded.home import running_servers
from tracker.embedded.packages import find_programs
from tracker.settings import Settings


@contextmanager
def run_standby(primary: Settings, standby: Settings) -> Iterator[None]:
    """Run *standby*, a copy of the running *primary*."""
    account, programs = Account.of(standby.home), find_programs(standby)
    account.make_home(standby.home)
    words = [
        *(str(programs.postgres / "pg_basebackup"), "--no-sync", "--checkpoint=fast"),
        *("--write-recovery-conf", "--dbname", primary.database_dsn),
        *("--pgdata", str(standby.home / programs.folder)),
    ]
    run_command(words, account)
    with running_servers(standby, durable=False):
        yield


def wait_for_replay(primary: Settings, standby: Settings) -> None:
    """Wait until *standby* has replayed everything that *primary* has committed by now."""
    with psycopg.connect(primary.database_dsn, autocommit=True) as conn:
        (written,) = conn.execute("SELECT pg_current_wal_insert_lsn()").fetchone() or ()
    with psycopg.connect(standby.database_dsn, autocommit=True) as conn:
        query = "SELECT FROM pg_last_wal_replay_lsn() AS at WHERE at >= %s::pg_lsn"
        wait_until(lambda: conn.execute(query, [written]).rowcount)
