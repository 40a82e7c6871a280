"""Which indexes are polled: names and patterns in TICKERS, as the exchange's list changes."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from prometheus_client import REGISTRY

from tests.support.clock import NOON, ManualClock
from tests.support.database import read_polls
from tests.support.exchange import SEED, clear_faults, inject_fault
from tests.support.waiting import wait_until
from tests.support.worker import is_idle, running_worker, send_tick
from tracker.database import Database
from tracker.recorder.deribit import DeribitClient
from tracker.recorder.indexes import READ_INTERVAL, RETRY_INTERVAL, PolledIndexes
from tracker.settings import Settings
from tracker.simulator import Options, Simulator, running_simulator
from tracker.simulator.prices import INDEX_NAMES

PATTERN = "coin*_usd"


@contextmanager
def polled_indexes(settings: Settings, url: str) -> Iterator[PolledIndexes]:
    """Those that a worker polls at the exchange at *url*."""
    with DeribitClient(url) as client, Database(settings.database_dsn, 2) as database:
        yield PolledIndexes(settings.tickers, client, database)


@contextmanager
def listing(*names: str, clock: ManualClock | None = None) -> Iterator[str]:
    """The URL of an exchange that lists *names* too."""
    microseconds = {"clock": clock.microseconds} if clock else {}
    with running_simulator(Options(seed=SEED, indexes=names, **microseconds)) as exchange:
        yield exchange.url


def read_names(conn: psycopg.Connection, part: str) -> list[str]:
    """The names that are stored for web."""
    query = "SELECT unnest(names) FROM internal.heartbeats WHERE part = %s"
    return [name for (name,) in conn.execute(query, [part]).fetchall()]


@pytest.mark.parametrize(
    ("tickers", "selected"),
    [
        ("all", set(INDEX_NAMES)),
        ("*_usdc,eth_*", {n for n in INDEX_NAMES if n.endswith("_usdc") or n.startswith("eth_")}),
        ("nope_usd", {"nope_usd"}),
    ],
)
def test_names_are_selected_and_stored(
    database: Settings,
    exchange: Simulator,
    conn: psycopg.Connection,
    tickers: str,
    selected: set[str],
) -> None:
    """An index that is named is polled in any case."""
    with polled_indexes(database.changed(tickers=tickers), exchange.url) as indexes:
        assert indexes.refresh() == READ_INTERVAL

        assert set(indexes) == selected
        assert len(indexes) == len(selected)
    assert read_names(conn, "listed") == sorted(INDEX_NAMES)


def test_new_index_is_polled_from_the_next_tick_on(
    tracked: Settings, conn: psycopg.Connection, clock: ManualClock, log: list[str]
) -> None:
    own = tracked.changed(tickers=PATTERN)
    with listing("coina_usd") as url, polled_indexes(own, url) as indexes:
        indexes.refresh()
    with listing("coina_usd", "coinb_usd", clock=clock) as url:
        own = own.changed(client_base_url=url)
        with polled_indexes(own, url) as indexes, running_worker(own, clock, indexes=indexes):
            assert list(indexes) == ["coina_usd"]
            log.clear()
            indexes.refresh()
            send_tick(own, NOON)
            wait_until(lambda: len(read_polls(conn)) == 2 and is_idle(own))

    assert read_polls(conn) == [("coina_usd", NOON), ("coinb_usd", NOON)]
    assert "INFO also polling coinb_usd\n" in log


def test_vanished_index_is_reported_and_polled_no_more(
    database: Settings, exchange: Simulator, conn: psycopg.Connection, log: list[str]
) -> None:
    """If two lists lack it: one may be incomplete. One that is named is polled all the same."""
    own = database.changed(tickers=f"{PATTERN},coinb_usd")
    with listing("coina_usd", "coinb_usd") as url, polled_indexes(own, url) as indexes:
        indexes.refresh()
    log.clear()
    with polled_indexes(own, exchange.url) as indexes:
        sample = {"ticker": "coina_usd", "outcome": "stored"}
        assert indexes.refresh() == RETRY_INTERVAL
        assert list(indexes) == ["coina_usd", "coinb_usd"]
        assert REGISTRY.get_sample_value("tracker_polls_total", sample) is not None
        assert log == []
        assert indexes.refresh() == READ_INTERVAL
        assert list(indexes) == ["coinb_usd"]
        assert REGISTRY.get_sample_value("tracker_polls_total", sample) is None
        indexes.refresh()

    assert read_names(conn, "vanished") == ["coina_usd", "coinb_usd"]
    assert log == [
        "WARNING TICKERS: the exchange lists no index that coin*_usd selects\n",
        "WARNING the exchange does not list coina_usd any more; it is not polled\n",
        "WARNING the exchange does not list coinb_usd any more; it is polled all the same\n",
    ]
    with listing("coina_usd") as url, polled_indexes(own, url) as indexes:
        assert list(indexes) == ["coinb_usd"]
        indexes.refresh()
        assert list(indexes) == ["coina_usd", "coinb_usd"]
    assert read_names(conn, "vanished") == ["coinb_usd"]


def test_stored_names_serve_while_the_exchange_is_unavailable(
    database: Settings, exchange: Simulator, log: list[str]
) -> None:
    own = database.changed(tickers="*_usdc")
    with polled_indexes(own, exchange.url) as indexes:
        indexes.refresh()
        names = list(indexes)
    inject_fault(exchange, "maintenance")
    with polled_indexes(own, exchange.url) as indexes:
        assert list(indexes) == names
        log.clear()
        for _ in range(2):
            assert indexes.refresh() == RETRY_INTERVAL
        assert list(indexes) == names

    [line] = log
    assert line.startswith("WARNING the names in TICKERS could not be checked: ")
    assert line.endswith("; until then those known from the last time are polled\n")


def test_stored_names_are_read_once_the_database_responds(
    database: Settings, exchange: Simulator
) -> None:
    """If neither it nor the exchange did at the start."""
    own = database.changed(tickers="btc_*")
    with polled_indexes(own, exchange.url) as indexes:
        indexes.refresh()
        names = list(indexes)
    inject_fault(exchange, "maintenance")
    with DeribitClient(exchange.url) as client, Database(own.database_dsn, 2) as connections:
        with psycopg.connect(own.database_dsn) as conn:
            conn.execute("ALTER TABLE internal.heartbeats RENAME TO absent")
            conn.commit()
            try:
                indexes = PolledIndexes(own.tickers, client, connections)
            finally:
                conn.execute("ALTER TABLE internal.absent RENAME TO heartbeats")
        assert not list(indexes)
        indexes.refresh()
        assert list(indexes) == names


def test_first_start_without_the_exchange_is_reported_once(
    database: Settings, exchange: Simulator, log: list[str]
) -> None:
    inject_fault(exchange, "reset")
    with polled_indexes(database.changed(tickers="all"), exchange.url) as indexes:
        for _ in range(2):
            assert indexes.refresh() == RETRY_INTERVAL
        assert not list(indexes)
        [line] = log
        assert line.startswith("WARNING the names in TICKERS could not be checked: ")
        assert line.endswith("; until then none is polled\n")
        clear_faults(exchange)
        assert indexes.refresh() == READ_INTERVAL
        assert set(indexes) == set(INDEX_NAMES)


def test_unlisted_names_and_idle_patterns_are_logged_once(
    database: Settings, exchange: Simulator, log: list[str]
) -> None:
    """Each in a line of its own."""
    own = database.changed(tickers="btc_usd,nope_usd,no-pe_usd,zz*_usd")
    with polled_indexes(own, exchange.url) as indexes:
        for _ in range(2):
            indexes.refresh()

    line = "WARNING TICKERS: the exchange does not list {}; it is polled all the same\n"
    assert log == [
        line.format("no-pe_usd"),
        line.format("nope_usd"),
        "WARNING TICKERS: the exchange lists no index that zz*_usd selects\n",
    ]


@pytest.mark.parametrize("kind", ["maintenance", "html", "missing", "reset"])
def test_failed_check_of_names_is_logged(
    database: Settings, exchange: Simulator, log: list[str], kind: str
) -> None:
    """In one line, and the worker polls what is named."""
    inject_fault(exchange, kind)
    with polled_indexes(database, exchange.url) as indexes:
        indexes.refresh()
        assert tuple(indexes) == database.tickers

    assert [line.partition(":")[0] for line in log] == [
        "WARNING the names in TICKERS could not be checked"
    ]
