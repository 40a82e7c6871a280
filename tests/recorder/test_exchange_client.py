"""The exchange's client against the stand-in: what it believes, what it asks again, and when."""

import socket
import time
from collections.abc import Iterator
from decimal import Decimal

import httpx
import pytest
import stamina

from tracker.errors import (
    ExchangeError,
    InvalidResponse,
    RateLimited,
    Refused,
    Unavailable,
    Unreachable,
)
from tracker.recorder.deribit import DeribitClient, retry_delay
from tracker.simulator import Options, Served, price_at, serve

SEED = 5


@pytest.fixture
def exchange() -> Iterator[Served]:
    """A stand-in without faults."""
    with serve(Options(seed=SEED)) as served:
        yield served


@pytest.fixture
def client(exchange: Served) -> Iterator[DeribitClient]:
    """A client of it."""
    with DeribitClient(exchange.url) as client:
        yield client


@pytest.fixture
def at_once() -> Iterator[None]:
    """Retries without their pauses, where waiting is not the point."""
    with stamina.set_testing(True, attempts=4):
        yield


def order(exchange: Served, kind: str, **fields: object) -> None:
    """Put a fault in force."""
    url = f"{exchange.admin_url}/faults"
    httpx.post(url, json={"kind": kind, **fields}).raise_for_status()


def asked(exchange: Served) -> int:
    """Calls so far."""
    return int(httpx.get(f"{exchange.admin_url}/counts").json()["total"])


def fetch(client: DeribitClient, within: float = 60) -> Decimal:
    """The price of btc_usd in production."""
    return client.fetch_price("btc_usd", within).price


def test_the_price_is_the_exchange_s_own(client: DeribitClient) -> None:
    """Equal to the truth of the second in which it was observed."""
    quote = client.fetch_price("btc_usd", 60)

    second = int(quote.observed_at.timestamp())
    assert (quote.ticker, quote.price) == ("btc_usd", price_at(SEED, "btc_usd", second))
    assert abs(time.time() - quote.observed_at.timestamp()) < 5


def test_the_names_are_the_exchange_s_own(client: DeribitClient) -> None:
    """Those that can be asked for."""
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
@pytest.mark.usefixtures("at_once")
def test_what_passes_is_asked_again(
    exchange: Served, client: DeribitClient, fault: dict[str, str]
) -> None:
    """Three retries, no more: the fourth try succeeds, or the error counts four attempts."""
    order(exchange, calls=3, **fault)
    assert fetch(client) > 0
    assert asked(exchange) == 4

    order(exchange, **fault)
    with pytest.raises((Unreachable, Unavailable, RateLimited)) as caught:
        fetch(client)
    assert (caught.value.attempts, asked(exchange)) == (4, 8)


def test_timeout_is_named(exchange: Served, client: DeribitClient) -> None:
    """An exchange that accepts the request and never responds leaves an error without a text."""
    order(exchange, "timeout")

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
def test_what_lasts_is_asked_once(
    exchange: Served, client: DeribitClient, fault: dict[str, str], kind: type[ExchangeError]
) -> None:
    """The exchange bans who repeats a question that is wrong."""
    order(exchange, **fault)

    with pytest.raises(kind) as caught:
        fetch(client)

    assert (caught.value.attempts, asked(exchange)) == (1, 1)


def test_an_unknown_index_is_refused(exchange: Served, client: DeribitClient) -> None:
    """At once, in the exchange's own words."""
    with pytest.raises(Refused, match=r"Invalid params.*invalid index") as caught:
        client.fetch_price("nope_usd", 60)

    assert (caught.value.code, asked(exchange)) == (-32602, 1)


def test_the_testnet_is_believed_only_where_it_is_configured() -> None:
    """Both ways."""
    with serve(Options(testnet=True)) as exchange:
        with DeribitClient(exchange.url, testnet=True) as client:
            assert client.fetch_price("btc_usd", 60).price > 0
        with (
            DeribitClient(exchange.url) as client,
            pytest.raises(InvalidResponse, match=r"^testnet: "),
        ):
            client.fetch_price("btc_usd", 60)


def test_retry_after_is_honoured(exchange: Served, client: DeribitClient) -> None:
    """Not asked again before, and asked again after."""
    order(exchange, "rate_limit", calls=1, retry_after=1)
    before = time.monotonic()

    assert fetch(client) > 0

    assert 1 <= time.monotonic() - before < 2


def test_a_retry_after_beyond_the_minute_ends_it(exchange: Served, client: DeribitClient) -> None:
    """Waiting would be in vain; asking earlier would be rude."""
    order(exchange, "rate_limit", retry_after=3_600)

    with pytest.raises(RateLimited):
        fetch(client)

    assert asked(exchange) == 1


def test_pauses_grow_with_jitter_and_span_the_minute() -> None:
    """2, 8, 32 seconds and a little more, never beyond the time there is."""

    def pauses(left: float) -> list[bool | float]:
        return [retry_delay(Unreachable("x", attempts=n), left) for n in (1, 2, 3)]

    for pause, least in zip(pauses(50), (2, 8, 32), strict=True):
        assert least <= pause <= least + 1
    assert pauses(50) != pauses(50)
    assert pauses(5)[1:] == [5, 5]
    assert pauses(0) == pauses(-1) == [False] * 3
    assert retry_delay(Unreachable("x", retry_after=0), 50) >= 2
    assert retry_delay(ValueError(), 50) is False


def test_the_first_pause_is_kept(exchange: Served, client: DeribitClient) -> None:
    """As it is in production."""
    order(exchange, "maintenance", calls=1)
    before = time.monotonic()

    fetch(client)

    assert 2 <= time.monotonic() - before < 10


def test_no_answer_is_waited_for_beyond_the_time_there_is(
    client: DeribitClient, exchange: Served
) -> None:
    """One try, cut off."""
    order(exchange, "timeout")
    before = time.monotonic()

    with pytest.raises(Unreachable, match="no complete response in time") as caught:
        fetch(client, within=0.5)

    assert 0.5 <= time.monotonic() - before < 5
    assert (caught.value.attempts, asked(exchange)) == (1, 1)


def test_nobody_listening_is_unreachable() -> None:
    """The host is named."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (
        stamina.set_testing(True),
        DeribitClient(f"http://127.0.0.1:{port}") as client,
        pytest.raises(Unreachable, match=r"^127\.0\.0\.1: ."),
    ):
        fetch(client)
