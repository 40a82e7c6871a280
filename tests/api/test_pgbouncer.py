"""Through a real PgBouncer that pools transactions: statements prepared, and the feed past it."""

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.support.debian import linked
from tests.support.serving import problem, served
from tests.support.streaming import following
from tests.support.working import rows, this_minute, tick, wait_for, working
from tracker.embedded.account import MINIMAL_ENVIRONMENT, Account
from tracker.settings import Settings
from tracker.simulator import Options, serve
from tracker.times import MINUTE, minute_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("writer")]

PORT = 6432
MANY = 40  # requests of each kind, on a few connections of the server
CONFIGURATION = """\
[databases]
* = host={server} port=5432
[pgbouncer]
listen_addr =
listen_port = {port}
unix_socket_dir = {folder}
auth_type = trust
auth_file = {folder}/users
admin_users = postgres
pool_mode = transaction
default_pool_size = 3
max_prepared_statements = 100
ignore_startup_parameters = statement_timeout, jit, timescaledb.enable_runtime_exclusion
"""
INSERT = "INSERT INTO prices (ticker, price, created_at) VALUES ('btc_usd', %s, %s)"


@dataclass(frozen=True)
class Bouncer:
    """A PgBouncer before the server of *settings*, with its socket in *folder*."""

    folder: Path
    account: Account
    settings: Settings

    @property
    def pooled(self) -> Settings:
        """Settings that lead through it, but for what must not."""
        return self.settings.changed(
            postgres_host=str(self.folder),
            postgres_port=PORT,
            direct_postgres_host=str(self.settings.sockets),
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it as long as the block."""
        command = [*linked("pgbouncer"), "--quiet", str(self.folder / "ini")]
        with subprocess.Popen(
            command,
            env=MINIMAL_ENVIRONMENT,
            stderr=subprocess.DEVNULL,
            **self.account.popen_options,
        ) as process:
            try:
                wait_for((self.folder / f".s.PGSQL.{PORT}").exists)
                yield
            finally:
                process.kill()
        (self.folder / f".s.PGSQL.{PORT}").unlink()

    def show(self, what: str) -> list[dict[str, Any]]:
        """What its console says."""
        dsn = f"host={self.folder} port={PORT} dbname=pgbouncer user=postgres"
        with psycopg.connect(
            dsn, autocommit=True, cursor_factory=psycopg.ClientCursor, row_factory=dict_row
        ) as conn:
            return conn.execute(f"SHOW {what}".encode()).fetchall()


@pytest.fixture(scope="module")
def bouncer(base: Settings, open_tmp: Path) -> Bouncer:
    """One to be run."""
    folder, account = open_tmp / "bouncer", Account.of(base.home)
    account.make_private(folder)
    facts = {"server": base.sockets, "port": PORT, "folder": folder}
    (folder / "ini").write_text(CONFIGURATION.format_map(facts))
    (folder / "users").write_text('"postgres" ""\n')
    return Bouncer(folder, account, base)


def test_reads_are_prepared_and_the_feed_goes_past_it(
    bouncer: Bouncer, writer: psycopg.Connection
) -> None:
    """Many at once share a few connections; an event comes by the server itself."""
    minute = minute_of(datetime.now(UTC))
    writer.execute(INSERT, ["1.50", minute - MINUTE])
    with bouncer.running(), served(bouncer.pooled, cache=False) as client:
        paths = ["/prices", "/prices/last", "/prices/candles", "/prices/gaps"]

        def ask(number: int) -> None:
            path = paths[number % len(paths)]
            wait_for(lambda: client.get(path, params={"ticker": "btc_usd"}).is_success)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(ask, range(MANY * len(paths))))
        assert "1.50" in client.get("/prices/export", params={"ticker": "btc_usd"}).text
        servers = [row for row in bouncer.show("SERVERS") if row["database"] != "pgbouncer"]
        assert 0 < len(servers) <= 3
        with psycopg.connect(bouncer.pooled.database_dsn, autocommit=True) as conn:
            found = conn.execute("SELECT statement FROM pg_prepared_statements").fetchall()
        assert any("prices" in statement for (statement,) in found)
        with following(client.base_url) as stream:
            writer.execute(INSERT, ["2.50", minute])
            assert stream.take(1)[0].data["price"] == "2.50"
        names = {row["application_name"] for row in bouncer.show("CLIENTS")}
        assert "tracker-web" in names
        assert "tracker-feed" not in names


def test_the_worker_stores_through_it(bouncer: Bouncer, writer: psycopg.Connection) -> None:
    """A tick ends as a row of each index."""
    with serve(Options(seed=5)) as exchange, bouncer.running():
        settings = bouncer.pooled.changed(client_base_url=exchange.url)
        with working(settings):
            minute = this_minute()
            tick(settings, minute)
            wait_for(lambda: len(rows(writer)) == 2)

    assert rows(writer) == [("btc_usd", minute), ("eth_usd", minute)]


def test_it_may_be_killed_and_come_back(bouncer: Bouncer, writer: psycopg.Connection) -> None:
    """Meanwhile requests are told so; the feed does not notice."""
    writer.execute(INSERT, ["1.50", minute_of(datetime.now(UTC))])
    params = {"ticker": "btc_usd"}
    with served(bouncer.pooled) as client:
        with bouncer.running():
            assert client.get("/prices/last", params=params).status_code == 200
        assert problem(client.get("/prices/last", params=params), 503)
        with bouncer.running():
            wait_for(lambda: client.get("/prices/last", params=params).status_code == 200)
