"""The exchange's client against the simulator: which responses it accepts, and when it retries."""

import socket
import time
from collections.abc import Iterator

import pytest
import stamina

from tests.support.exchange import SEED, count_calls, fetch_btc, inject_fault
from tracker.errors import (
    ExchangeError,
    InvalidResponse,
    RateLimited,
    Refused,
    Unavailable,
    Unreachable,
)
from tracker.recorder.deribit import DeribitClient
from tracker.simulator import Options, Simulator, price_at, running_simulator


@pytest.fixture
def client(live_exchange: Simulator) -> Iterator[DeribitClient]:
    """A client of that exchange."""
    with DeribitClient(live_exchange.url) as client:
        yield client


def test_price_is_that_of_its_second(client: DeribitClient) -> None:
    """The second in which the exchange responded."""
    quote = client.fetch_price("btc_usd", 60)

    second = int(quote.observed_at.timestamp())
    assert (quote.ticker, quote.price) == ("btc_usd", price_at(SEED, "btc_usd", second))
    assert abs(time.time() - quote.observed_at.timestamp()) < 5


def test_index_names_are_fetched(client: DeribitClient) -> None:
    """The names of the indexes that have a price."""
    assert {"btc_usd", "eth_usd", "drbfix-btc_usdc"} <= client.fetch_index_names()


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "reset"},
        {"kind": "maintenance"},
        {"kind": "rate_limit"},
        {"kind": "rate_limit", "code": 10028},
        {"kind": "error", "code": 10040},
        {"kind": "html"},
        {"kind": "wrong_status", "code": 504},
    ],
    ids=str,
)
@pytest.mark.usefixtures("no_pauses")
def test_transient_errors_are_retried(
    live_exchange: Simulator, client: DeribitClient, fault: dict[str, str]
) -> None:
    """Three times: the fourth attempt succeeds, or its error has the number of attempts."""
    inject_fault(live_exchange, calls=3, **fault)
    assert fetch_btc(client) > 0
    assert count_calls(live_exchange) == 4

    inject_fault(live_exchange, **fault)
    with pytest.raises((Unreachable, Unavailable, RateLimited)) as caught:
        fetch_btc(client)
    assert (caught.value.attempts, count_calls(live_exchange)) == (4, 8)


def test_error_without_text_is_named_by_its_type(
    live_exchange: Simulator, client: DeribitClient
) -> None:
    """An exchange that accepts the request and never responds leaves an error without a text."""
    inject_fault(live_exchange, "timeout")

    with pytest.raises(Unreachable) as caught:
        client.fetch_index_names()

    assert str(caught.value) == "127.0.0.1: ReadTimeout"


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"kind": "error", "code": -32602}, Refused),
        ({"kind": "error", "code": 13020}, Refused),
        ({"kind": "wrong_status", "code": 404}, Refused),
        ({"kind": "html", "code": 200}, InvalidResponse),
        ({"kind": "truncated"}, InvalidResponse),
        ({"kind": "testnet"}, InvalidResponse),
        ({"kind": "missing"}, InvalidResponse),
    ],
    ids=str,
)
def test_permanent_errors_are_not_retried(
    live_exchange: Simulator,
    client: DeribitClient,
    fault: dict[str, str],
    kind: type[ExchangeError],
) -> None:
    """The exchange may ban a client for many invalid requests."""
    inject_fault(live_exchange, **fault)

    with pytest.raises(kind) as caught:
        fetch_btc(client)

    assert (caught.value.attempts, count_calls(live_exchange)) == (1, 1)


def test_unknown_index_is_refused(live_exchange: Simulator, client: DeribitClient) -> None:
    """Without a retry; the error has the exchange's message."""
    with pytest.raises(Refused, match=r"Invalid params.*invalid index") as caught:
        client.fetch_price("nope_usd", 60)

    assert (caught.value.code, count_calls(live_exchange)) == (-32602, 1)


def test_price_of_other_net_is_refused() -> None:
    """Testnet and production have different prices."""
    with running_simulator(Options(testnet=True)) as exchange:
        with DeribitClient(exchange.url, testnet=True) as client:
            assert client.fetch_price("btc_usd", 60).price > 0
        with (
            DeribitClient(exchange.url) as client,
            pytest.raises(InvalidResponse, match=r"^testnet: "),
        ):
            client.fetch_price("btc_usd", 60)


def test_retry_after_is_respected(live_exchange: Simulator, client: DeribitClient) -> None:
    """The next attempt comes no earlier, and soon afterwards."""
    inject_fault(live_exchange, "rate_limit", calls=1, retry_after=1)
    before = time.monotonic()

    assert fetch_btc(client) > 0

    assert 1 <= time.monotonic() - before < 2


def test_retry_after_beyond_deadline_ends_attempts(
    live_exchange: Simulator, client: DeribitClient
) -> None:
    """An earlier attempt would be refused again."""
    inject_fault(live_exchange, "rate_limit", retry_after=3_600)

    with pytest.raises(RateLimited):
        fetch_btc(client)

    assert count_calls(live_exchange) == 1


def test_first_pause_takes_two_seconds(live_exchange: Simulator, client: DeribitClient) -> None:
    """Without the fixture that removes pauses."""
    inject_fault(live_exchange, "maintenance", calls=1)
    before = time.monotonic()

    fetch_btc(client)

    assert 2 <= time.monotonic() - before < 10


def test_deadline_bounds_missing_response(client: DeribitClient, live_exchange: Simulator) -> None:
    """The only attempt is cancelled."""
    inject_fault(live_exchange, "timeout")
    before = time.monotonic()

    with pytest.raises(Unreachable, match="no complete response in time") as caught:
        fetch_btc(client, within=0.5)

    assert 0.5 <= time.monotonic() - before < 5
    assert (caught.value.attempts, count_calls(live_exchange)) == (1, 1)


def test_refused_connection_is_unreachable() -> None:
    """The error names the host."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (
        stamina.set_testing(True),
        DeribitClient(f"http://127.0.0.1:{port}") as client,
        pytest.raises(Unreachable, match=r"^127\.0\.0\.1: ."),
    ):
        fetch_btc(client)
