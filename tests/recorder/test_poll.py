"""One poll: which price may stand under which minute, and what the database is told."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import psycopg
import pytest
from loguru import logger

from tracker.database import DEFAULT_TIMEOUTS, Database, Timeouts
from tracker.errors import DatabaseDown, WrongMinute
from tracker.models import Quote
from tracker.recorder.deribit import DeribitClient
from tracker.recorder.poll import Poller, check_minute, check_tickers
from tracker.settings import Settings
from tracker.simulator import Options, price_at, serve
from tracker.times import MINUTE, Clock, minute_of

NOON = datetime(2026, 2, 28, 12, 0, tzinfo=UTC)
SEED = 7

PollerOf = Callable[..., AbstractContextManager[tuple[Poller, str]]]


@pytest.fixture
def poller_of(database: Settings) -> PollerOf:
    """A poller of a simulator with those options and settings, and the simulator's root."""

    @contextmanager
    def make(
        options: Options | None = None, timeouts: Timeouts = DEFAULT_TIMEOUTS, **changes: object
    ) -> Iterator[tuple[Poller, str]]:
        dsn = database.changed(**changes).database_dsn
        with (
            serve(options or Options(seed=SEED)) as exchange,
            DeribitClient(exchange.url) as client,
            Database(dsn, 4, timeouts) as connections,
        ):
            yield Poller(client, connections, Clock()), exchange.root

    return make


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged meanwhile."""
    written: list[str] = []
    number = logger.add(written.append, format="{level} {message}")
    yield written
    logger.remove(number)


def quote(observed_at: datetime = NOON, price: str = "68241.50") -> Quote:
    """A price of btc_usd."""
    return Quote(ticker="btc_usd", price=Decimal(price), observed_at=observed_at)


def this_minute() -> datetime:
    """The present minute, or the next one if little is left of it."""
    now = datetime.now(UTC)
    if now.second >= 57:
        time.sleep(60.1 - now.second)
    return minute_of(datetime.now(UTC))


def misses(conn: psycopg.Connection) -> list[tuple[object, ...]]:
    """All misses."""
    query = "SELECT ticker, minute, reason, code, attempts FROM misses"
    return list(conn.execute(query).fetchall())


@pytest.mark.parametrize("after", [-30, -1, 0, 59.999999])
def test_a_price_observed_in_its_minute_may_stand_there(after: float) -> None:
    """The exchange's clock may be half a minute behind the tick's."""
    check_minute(quote(NOON + timedelta(seconds=after)), NOON)


@pytest.mark.parametrize("after", [-30.000001, 60, 86_400])
def test_a_price_of_another_minute_may_not(after: float) -> None:
    """Never one of the next minute, by a microsecond."""
    with pytest.raises(WrongMinute) as caught:
        check_minute(quote(NOON + timedelta(seconds=after)), NOON)

    assert caught.value.reason == "too_late"


def test_a_poll_gives_the_price_of_its_minute(poller_of: PollerOf) -> None:
    """Equal to the stand-in's truth."""
    minute = this_minute()
    with poller_of() as (poller, _):
        got = poller.fetch("eth_usd", minute)

    assert minute <= got.observed_at < minute + MINUTE
    assert got.price == price_at(SEED, "eth_usd", int(got.observed_at.timestamp()))


def test_a_minute_that_is_over_is_not_asked_for(poller_of: PollerOf) -> None:
    """Its price can no longer be had: no attempt is made, and none is counted."""
    with poller_of() as (poller, root):
        with pytest.raises(WrongMinute, match="after its minute") as caught:
            poller.fetch("btc_usd", this_minute() - MINUTE)

        assert httpx.get(f"{root}/admin/counts").json()["total"] == 0
    assert (caught.value.reason, caught.value.attempts) == ("too_late", 0)


def test_an_early_tick_waits_for_its_minute(poller_of: PollerOf) -> None:
    """By less than a second; the price is then of that minute, not of the one before."""
    with poller_of() as (poller, _):
        minute = datetime.now(UTC) + timedelta(seconds=0.6)

        assert poller.fetch("btc_usd", minute).observed_at >= minute


@pytest.mark.parametrize(("offset", "side"), [(5, "ahead of"), (-5, "behind")])
def test_a_skewed_clock_is_warned_about(
    poller_of: PollerOf, lines: list[str], offset: float, side: str
) -> None:
    """By how much, and to which side; the tick's minute stands all the same."""
    with poller_of(Options(clock_offset=offset)) as (poller, _):
        poller.fetch("btc_usd", datetime.now(UTC))

    assert len(lines) == 1
    words = lines[0].split()
    assert " ".join(words[:4]) == "WARNING the exchange's clock"
    assert 4 < float(words[5]) < 6
    assert lines[0].strip().endswith(f"s {side} ours")


def test_clocks_that_agree_are_not_worth_a_line(poller_of: PollerOf, lines: list[str]) -> None:
    """Nothing is said."""
    with poller_of() as (poller, _):
        poller.fetch("btc_usd", this_minute())

    assert lines == []


def test_an_exchange_far_ahead_gives_no_price(poller_of: PollerOf) -> None:
    """Its price belongs to a later minute by the only clock it has."""
    with poller_of(Options(clock_offset=90)) as (poller, _), pytest.raises(WrongMinute):
        poller.fetch("btc_usd", this_minute())


def test_a_price_is_stored_once(poller_of: PollerOf, conn: psycopg.Connection) -> None:
    """The first one stands; what comes again changes nothing, not even the next id."""
    with poller_of() as (poller, _):
        assert poller.store(quote(), NOON) is True
        assert [poller.store(quote(price="1.00"), NOON) for _ in range(3)] == [False] * 3
        assert poller.store(quote(NOON + MINUTE), NOON + MINUTE) is True

    query = "SELECT id, ticker, price::text, created_at, observed_at, source FROM prices"
    assert conn.execute(f"{query} ORDER BY id").fetchall() == [
        (1, "btc_usd", "68241.50", NOON, NOON, "poll"),
        (2, "btc_usd", "68241.50", NOON + MINUTE, NOON + MINUTE, "poll"),
    ]


def test_a_price_is_never_stored_under_another_minute(
    poller_of: PollerOf, conn: psycopg.Connection
) -> None:
    """Whatever a message says."""
    with poller_of() as (poller, _), pytest.raises(WrongMinute):
        poller.store(quote(NOON + MINUTE), NOON)

    assert conn.execute("SELECT count(*) FROM prices").fetchone() == (0,)


def test_a_miss_is_recorded_once(poller_of: PollerOf, conn: psycopg.Connection) -> None:
    """The first reason stands, and a minute that has a price has no miss."""
    with poller_of() as (poller, _):
        poller.store(quote(NOON + MINUTE), NOON + MINUTE)
        given = [
            poller.record_miss("btc_usd", minute, reason, code=429, attempts=4)
            for minute in (NOON, NOON + MINUTE)
            for reason in ("rate_limited", "too_late")
        ]

    assert given == [True, False, False, False]
    assert misses(conn) == [("btc_usd", NOON, "rate_limited", 429, 4)]


def test_a_row_the_schema_refuses_is_no_outage(poller_of: PollerOf) -> None:
    """Trying again would be in vain: it is not DatabaseDown."""
    with poller_of() as (poller, _), pytest.raises(psycopg.IntegrityError):
        poller.store(quote(NOON), NOON - timedelta(seconds=1))


def test_a_database_that_is_away_is_said_in_one_line(poller_of: PollerOf) -> None:
    """Without the password."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    away = {"postgres_host": "127.0.0.1", "postgres_port": port, "postgres_password": "s3cret"}

    with poller_of(**away) as (poller, _), pytest.raises(DatabaseDown) as caught:
        poller.store(quote(), NOON)

    assert "\n" not in str(caught.value)
    assert str(port) in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_database_without_tables_is_waited_for(poller_of: PollerOf) -> None:
    """The migrations may come yet."""
    with poller_of(postgres_db="postgres") as (poller, _), pytest.raises(DatabaseDown):
        poller.store(quote(), NOON)


def test_a_database_that_accepts_and_says_nothing_is_given_up(poller_of: PollerOf) -> None:
    """As a stopped server does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        silent = {"postgres_host": "127.0.0.1", "postgres_port": listener.getsockname()[1]}
        before = time.monotonic()

        with (
            poller_of(timeouts=Timeouts(connect=2), **silent) as (poller, _),
            pytest.raises(DatabaseDown),
        ):
            poller.store(quote(), NOON)

    assert time.monotonic() - before < 4


def test_a_statement_that_hangs_is_cut_off(poller_of: PollerOf, conn: psycopg.Connection) -> None:
    """By ourselves, without asking a server that may be stopped.

    The server may yet do what it was told: what is done again later changes nothing.
    """
    before = time.monotonic()
    with poller_of(timeouts=Timeouts(response=0.5)) as (poller, _), conn.transaction():
        conn.execute("LOCK TABLE prices")

        with pytest.raises(DatabaseDown):
            poller.store(quote(), NOON)

    assert time.monotonic() - before < 4.5
    with poller_of() as (poller, _):
        poller.store(quote(), NOON)
    assert conn.execute("SELECT count(*) FROM prices").fetchone() == (1,)


def test_unknown_tickers_are_warned_about(lines: list[str]) -> None:
    """A line for each."""
    with serve(Options(seed=SEED)) as exchange, DeribitClient(exchange.url) as client:
        check_tickers(client, ["btc_usd", "nope_usd", "no-pe_usd"])

    said = "WARNING TICKERS: the exchange does not list {}; it is polled all the same\n"
    assert lines == [said.format("no-pe_usd"), said.format("nope_usd")]


@pytest.mark.parametrize("kind", ["maintenance", "html", "missing", "reset"])
def test_tickers_that_cannot_be_checked_are_no_crash(lines: list[str], kind: str) -> None:
    """One line says so."""
    with serve(Options(seed=SEED)) as exchange, DeribitClient(exchange.url) as client:
        httpx.post(f"{exchange.root}/admin/faults", json={"kind": kind}).raise_for_status()
        check_tickers(client, ["btc_usd"])

    assert [line.partition(":")[0] for line in lines] == [
        "WARNING the names in TICKERS could not be checked"
    ]
