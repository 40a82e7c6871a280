"""One poll: under which minute a price is stored, and what happens without a database."""

import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest

from tests.support.clock import NOON, ManualClock
from tests.support.exchange import SEED, count_calls
from tests.support.worker import open_recorder
from tracker.database import Database, Timeouts
from tracker.errors import DatabaseDown, WrongMinute
from tracker.models import Quote
from tracker.recorder.deribit import DeribitClient
from tracker.recorder.poll import Poller, check_minute
from tracker.settings import Settings
from tracker.simulator import Options, Simulator, price_at, running_simulator
from tracker.times import MINUTE, Clock


@pytest.fixture
def poller(database: Settings, clock: ManualClock) -> Iterator[Poller]:
    """A poller on the test's database."""
    with open_recorder(database, clock) as (poller, _):
        yield poller


def quote(observed_at: datetime = NOON, price: str = "68241.50") -> Quote:
    """A price of btc_usd."""
    return Quote(ticker="btc_usd", price=Decimal(price), observed_at=observed_at)


@pytest.mark.parametrize("after", [-30, -1, 0, 59.999999])
def test_price_of_minute_passes_check(after: float) -> None:
    """The exchange's clock may be half a minute behind the tick's."""
    check_minute(quote(NOON + timedelta(seconds=after)), NOON)


@pytest.mark.parametrize("after", [-30.000001, 60, 86_400])
def test_price_of_other_minute_fails_check(after: float) -> None:
    """A price of the next minute too, by a microsecond."""
    with pytest.raises(WrongMinute) as caught:
        check_minute(quote(NOON + timedelta(seconds=after)), NOON)

    assert caught.value.reason == "too_late"


def test_poll_fetches_price_of_its_minute(poller: Poller, clock: ManualClock) -> None:
    """It is the exchange's price of that second."""
    fetched = poller.fetch("eth_usd", NOON)

    assert fetched.observed_at == clock.moment
    assert fetched.price == price_at(SEED, "eth_usd", int(clock.moment.timestamp()))


def test_poll_of_past_minute_makes_no_request(database: Settings, exchange: Simulator) -> None:
    """Its price is no longer available: the exchange is not called, and no attempt counted."""
    clock = ManualClock(NOON + MINUTE)
    with (
        DeribitClient(exchange.url) as client,
        Database(database.database_dsn, 1) as connections,
        pytest.raises(WrongMinute, match="after its minute") as caught,
    ):
        Poller(client, connections, clock).fetch("btc_usd", NOON)

    assert (caught.value.reason, caught.value.attempts) == ("too_late", 0)
    assert count_calls(exchange) == 0


def test_early_tick_waits_for_its_minute(database: Settings) -> None:
    """By less than a second: the price is of that minute, not of the one before."""
    with (
        running_simulator(Options(seed=SEED)) as exchange,
        DeribitClient(exchange.url) as client,
        Database(database.database_dsn, 1) as connections,
    ):
        minute = datetime.now(UTC) + timedelta(seconds=0.6)
        fetched = Poller(client, connections, Clock()).fetch("btc_usd", minute)

    assert fetched.observed_at >= minute


@pytest.mark.parametrize(("ahead", "difference"), [(5, "5.0 s ahead of"), (-5, "5.0 s behind")])
def test_clock_skew_is_logged(
    database: Settings, clock: ManualClock, log: list[str], ahead: float, difference: str
) -> None:
    """The poll succeeds: the tick decides the minute."""
    with open_recorder(database, clock, ahead) as (poller, _):
        poller.fetch("btc_usd", NOON)

    cause = f"the exchange's clock is {difference} ours: is this machine's clock synchronized?"
    assert log == [f"WARNING {cause}\n"]


def test_equal_clocks_are_not_logged(poller: Poller, log: list[str]) -> None:
    """A poll that succeeds logs no skew."""
    poller.fetch("btc_usd", NOON)

    assert log == []


def test_exchange_far_ahead_has_no_price_of_the_minute(
    database: Settings, clock: ManualClock
) -> None:
    """By its clock the price belongs to a later minute."""
    with open_recorder(database, clock, 90) as (poller, _), pytest.raises(WrongMinute):
        poller.fetch("btc_usd", NOON)


def test_price_is_not_stored_under_other_minute(poller: Poller, conn: psycopg.Connection) -> None:
    """Even if a message demands it."""
    with pytest.raises(WrongMinute):
        poller.store(quote(NOON + MINUTE), NOON)

    assert conn.execute("SELECT count(*) FROM prices").fetchone() == (0,)


def test_invalid_row_is_not_an_outage(poller: Poller) -> None:
    """A retry would fail again: the error is not DatabaseDown."""
    with pytest.raises(psycopg.IntegrityError):
        poller.store(quote(NOON), NOON - timedelta(seconds=1))


def test_unavailable_database_is_reported_without_password(
    database: Settings, clock: ManualClock
) -> None:
    """In one line, with the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    away = database.changed(
        postgres_host="127.0.0.1", postgres_port=port, postgres_password="s3cret"
    )

    with open_recorder(away, clock) as (poller, _), pytest.raises(DatabaseDown) as caught:
        poller.store(quote(), NOON)

    assert "\n" not in str(caught.value)
    assert str(port) in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_database_without_tables_is_unavailable(database: Settings, clock: ManualClock) -> None:
    """A later attempt may succeed, after the migrations."""
    other = database.changed(postgres_db="postgres")
    with open_recorder(other, clock) as (poller, _), pytest.raises(DatabaseDown):
        poller.store(quote(), NOON)


def test_connect_timeout_bounds_silent_server(database: Settings, clock: ManualClock) -> None:
    """A stopped server accepts connections and does not respond."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        silent = database.changed(postgres_host="127.0.0.1", postgres_port=port)
        before = time.monotonic()

        with (
            open_recorder(silent, clock, timeouts=Timeouts(connect=2)) as (poller, _),
            pytest.raises(DatabaseDown),
        ):
            poller.store(quote(), NOON)

    assert time.monotonic() - before < 4


def test_response_timeout_bounds_hanging_statement(
    database: Settings, clock: ManualClock, conn: psycopg.Connection
) -> None:
    """The client closes the connection, because a stopped server could not cancel.

    The server may execute the statement later: a repetition changes nothing.
    """
    before = time.monotonic()
    impatient = open_recorder(database, clock, timeouts=Timeouts(response=0.5))
    with impatient as (poller, _), conn.transaction():
        conn.execute("LOCK TABLE prices")

        with pytest.raises(DatabaseDown):
            poller.store(quote(), NOON)

    assert time.monotonic() - before < 4.5
    with open_recorder(database, clock) as (poller, _):
        poller.store(quote(), NOON)
    assert conn.execute("SELECT count(*) FROM prices").fetchone() == (1,)
