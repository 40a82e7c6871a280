"""The database goes away, stands still, comes back: the API says so in time, and recovers."""

import gc
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.support.processes import paused
from tests.support.servers import make_settings
from tests.support.serving import problem, served
from tracker import migrations
from tracker.embedded.home import started
from tracker.embedded.servers import Postgres
from tracker.settings import Settings
from tracker.times import minute_of

pytestmark = pytest.mark.slow

PAGE = "/prices?ticker=btc_usd"
CLIENTS = 60  # six for each pooled connection
IN_TIME = 4.0  # seconds; two are promised, and machines of tests are busy
BACK = 10.0  # seconds to recover; one is usual


@pytest.fixture(scope="module")
def own(open_tmp: Path) -> Settings:
    """A PostgreSQL of this file's own; it is stopped, and has a schema and a price."""
    settings = make_settings(open_tmp / "web-outage", redis_host="127.0.0.1")
    with started(settings, durable=False):
        migrations.apply(settings.database_dsn)
        with psycopg.connect(settings.database_dsn) as conn:
            insert = "INSERT INTO prices (ticker, price, created_at) VALUES ('btc_usd', 1.50, %s)"
            conn.execute(insert, [minute_of(datetime.now(UTC))])
    return settings


def postmaster(settings: Settings) -> int | None:
    """PostgreSQL's first process."""
    return Postgres(settings).pid()


def refused_in_time(client: httpx.Client) -> None:
    """Many at once are told, each in time and in the same words."""
    with ThreadPoolExecutor(CLIENTS) as threads:
        answers = list(threads.map(client.get, [PAGE] * CLIENTS))
    for answer in answers:
        assert problem(answer, 503) == {"database": "does not respond"}
        assert int(answer.headers["retry-after"]) > 0
        assert answer.elapsed.total_seconds() < IN_TIME


def recovered(client: httpx.Client, settings: Settings) -> float:
    """Seconds until prices are served again; then to many at once, over the pool's connections."""
    begun = time.monotonic()
    while client.get(PAGE).status_code != 200:
        assert time.monotonic() - begun < 3 * BACK
        time.sleep(0.05)
    seconds = time.monotonic() - begun

    with ThreadPoolExecutor(CLIENTS) as threads:
        answers = list(threads.map(client.get, [PAGE] * CLIENTS * 3))
    assert {answer.status_code for answer in answers} == {200}
    with psycopg.connect(settings.database_dsn, autocommit=True) as conn:
        while connections(conn) > 10:  # the server may still have to notice who is gone
            assert time.monotonic() - begun < 3 * BACK
            time.sleep(0.05)
    return seconds


def connections(conn: psycopg.Connection) -> int:
    """How many the API has."""
    ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tracker-web'"
    found = conn.execute(ours).fetchone()
    assert found
    return int(found[0])


@pytest.fixture
def uncollected() -> Iterator[None]:
    """The garbage collector does not come by."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
def test_connection_that_takes_too_long_is_closed(open_tmp: Path) -> None:
    """At once: the server, when it goes on, finds the line dead and forgets it."""
    folder = open_tmp / "silent"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(folder / ".s.PGSQL.5432"))
        silent.listen()
        silent.settimeout(5)
        with (
            served(make_settings(folder, postgres_host=str(folder), redis_host="none")) as client,
            silent.accept()[0] as line,
        ):
            assert problem(client.get(PAGE), 503) == {"database": "does not respond"}
            line.settimeout(5)
            while line.recv(1000):
                pass
    shutil.rmtree(folder)


def test_the_server_is_killed_and_comes_back(own: Settings) -> None:
    """After more than ten seconds too, when the pool has given up every connection."""
    with served(own, cache=False) as client:
        with started(own, durable=False):
            recovered(client, own)
            begun = time.monotonic()
            os.kill(postmaster(own) or 0, signal.SIGKILL)
            while client.get(PAGE).status_code == 200:  # its children take a moment to notice
                assert time.monotonic() - begun < BACK
            refused_in_time(client)
        while time.monotonic() - begun < 10:
            refused_in_time(client)
        with started(own, durable=False):
            assert recovered(client, own) < BACK


def test_the_server_restarts_between_two_requests(own: Settings) -> None:
    """Every pooled connection is dead, and no client learns of it."""
    with served(own, cache=False) as client:
        with started(own, durable=False):
            recovered(client, own)
        with started(own, durable=False):
            assert client.get(PAGE).status_code == 200


def test_the_server_stands_still_and_goes_on(own: Settings) -> None:
    """Who waits on an open connection is told in time; afterwards none of them is lost."""
    with started(own, durable=False), served(own, cache=False) as client:
        recovered(client, own)
        with paused(postmaster(own)):
            refused_in_time(client)
            with ThreadPoolExecutor(4) as threads:
                paths = ("/health/ready", "/health/live", "/metrics", "/openapi.json")
                ready, *others = threads.map(client.get, paths)
            assert problem(ready, 503) == {"database": "does not respond"}
            assert [answer.status_code for answer in others] == [200, 200, 200]
            assert "tracker_database_up 0.0" in others[1].text
        assert recovered(client, own) < BACK


def test_the_api_starts_and_stops_without_the_server(own: Settings) -> None:
    """It is away at the start, comes, and stands still at the end: nothing waits for it."""
    with served(own, cache=False) as client:
        refused_in_time(client)
        with started(own, durable=False):
            assert recovered(client, own) < BACK
            with paused(postmaster(own)):
                with served(own, cache=False) as other:
                    refused_in_time(other)
                    begun = time.monotonic()
                assert time.monotonic() - begun < 10
