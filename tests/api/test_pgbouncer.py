"""The API and the worker through a real PgBouncer that pools transactions."""

import re
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

from tests.support.api import error_reasons, serve_api
from tests.support.database import insert_minutes, read_polls
from tests.support.debian import linked_command
from tests.support.stream import open_stream
from tests.support.waiting import current_minute, wait_until
from tests.support.worker import running_worker, send_tick
from tracker.embedded.account import MINIMAL_ENVIRONMENT, Account
from tracker.settings import CHECKOUT, Settings
from tracker.simulator import Options, running_simulator
from tracker.times import MINUTE, minute_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("writer")]

PORT = 6432
REQUESTS = 40  # requests of each kind, on a few connections of the server
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
{ignored}
"""


@dataclass(frozen=True)
class Bouncer:
    """A PgBouncer for the server of *settings*, with its socket in *folder*."""

    folder: Path
    account: Account
    settings: Settings

    @property
    def pooled(self) -> Settings:
        """Settings that connect through it, except where they must not."""
        return self.settings.changed(
            postgres_host=str(self.folder),
            postgres_port=PORT,
            direct_postgres_host=str(self.settings.sockets),
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it in the block."""
        command = [*linked_command("pgbouncer"), "--quiet", str(self.folder / "ini")]
        with subprocess.Popen(
            command,
            env=MINIMAL_ENVIRONMENT,
            stderr=subprocess.DEVNULL,
            **self.account.popen_options,
        ) as process:
            try:
                wait_until((self.folder / f".s.PGSQL.{PORT}").exists)
                yield
            finally:
                process.kill()
        (self.folder / f".s.PGSQL.{PORT}").unlink()

    def show(self, what: str) -> list[dict[str, Any]]:
        """The rows of a SHOW command of its console."""
        dsn = f"host={self.folder} port={PORT} dbname=pgbouncer user=postgres"
        with psycopg.connect(
            dsn, autocommit=True, cursor_factory=psycopg.ClientCursor, row_factory=dict_row
        ) as conn:
            return conn.execute(f"SHOW {what}".encode()).fetchall()


@pytest.fixture(scope="module")
def bouncer(base: Settings, open_tmp: Path) -> Bouncer:
    """A configured PgBouncer that is not running."""
    folder, account = open_tmp / "bouncer", Account.of(base.home)
    account.make_private(folder)
    documented = (CHECKOUT / "ops" / "README.md").read_text()
    [ignored] = re.findall(r"^    (ignore_startup_parameters = .*)$", documented, re.MULTILINE)
    values = {"server": base.sockets, "port": PORT, "folder": folder, "ignored": ignored}
    (folder / "ini").write_text(CONFIGURATION.format_map(values))
    (folder / "users").write_text('"postgres" ""\n')
    return Bouncer(folder, account, base)


def test_reads_are_prepared_and_the_feed_bypasses_it(
    bouncer: Bouncer, writer: psycopg.Connection
) -> None:
    minute = minute_of(datetime.now(UTC))
    insert_minutes(writer, [minute - MINUTE])
    with bouncer.running(), serve_api(bouncer.pooled, cache=False) as client:
        paths = ["/prices", "/prices/last", "/prices/candles", "/prices/gaps"]

        def fetch_path(number: int) -> None:
            path = paths[number % len(paths)]
            wait_until(lambda: client.get(path, params={"ticker": "btc_usd"}).is_success)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(fetch_path, range(REQUESTS * len(paths))))
        assert "1.50" in client.get("/prices/export", params={"ticker": "btc_usd"}).text
        servers = [row for row in bouncer.show("SERVERS") if row["database"] != "pgbouncer"]
        assert 0 < len(servers) <= 3
        with psycopg.connect(bouncer.pooled.database_dsn, autocommit=True) as conn:
            found = conn.execute("SELECT statement FROM pg_prepared_statements").fetchall()
        assert any("prices" in statement for (statement,) in found)
        with open_stream(client.base_url) as stream:
            insert_minutes(writer, [minute], price="2.50")
            assert stream.take(1)[0].data["price"] == "2.50"
        names = {row["application_name"] for row in bouncer.show("CLIENTS")}
        assert "tracker-web" in names
        assert "tracker-feed" not in names


def test_worker_stores_prices_through_it(bouncer: Bouncer, writer: psycopg.Connection) -> None:
    with running_simulator(Options(seed=5)) as exchange, bouncer.running():
        settings = bouncer.pooled.changed(client_base_url=exchange.url)
        with running_worker(settings):
            minute = current_minute()
            send_tick(settings, minute)
            wait_until(lambda: len(read_polls(writer)) == 2)

    assert read_polls(writer) == [("btc_usd", minute), ("eth_usd", minute)]


def test_api_recovers_from_a_killed_pgbouncer(bouncer: Bouncer, writer: psycopg.Connection) -> None:
    insert_minutes(writer, [minute_of(datetime.now(UTC))])
    params = {"ticker": "btc_usd"}
    with serve_api(bouncer.pooled) as client:
        with bouncer.running():
            assert client.get("/prices/last", params=params).status_code == 200
        assert error_reasons(client.get("/prices/last", params=params), 503)
        with bouncer.running():
            wait_until(lambda: client.get("/prices/last", params=params).status_code == 200)
