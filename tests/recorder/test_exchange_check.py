"""`tracker check-exchange`: the simulator passes, and every fault and deviation shows."""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.commands import start_tracker
from tests.support.exchange import clear_faults, count_calls, inject_fault
from tracker.recorder.check import CheckedCall, ExchangeCheck
from tracker.recorder.deribit import DeribitClient, HttpResponse
from tracker.simulator import Options, Simulator, running_simulator
from tracker.simulator.faults import KINDS

TICKERS = ("btc_usd", "eth_usd")
CALLS = 12
FIELDS: dict[str, dict[str, object]] = {
    "latency": {"delay": 0.2, "method": "get_time"},
    "rate_limit": {"retry_after": 3},
}


@pytest.fixture(scope="module")
def served() -> Iterator[Simulator]:
    """A simulated exchange on this machine's clock."""
    with running_simulator(Options(seed=5)) as exchange:
        yield exchange


@pytest.fixture
def exchange(served: Simulator) -> Simulator:
    """The same, without faults."""
    clear_faults(served)
    return served


def check(
    client: DeribitClient, *, tickers: tuple[str, ...] = TICKERS, **options: Any
) -> list[CheckedCall]:
    """Every call of a check."""
    with client:
        return list(ExchangeCheck(client, tickers, **options).run())


def differences(calls: list[CheckedCall]) -> dict[str, list[str]]:
    """The differences of each call that has some; but slowness, which may be this machine's."""
    found = {
        call.name: [text for text in call.differences if " took " not in text] for call in calls
    }
    return {name: texts for name, texts in found.items() if texts}


@pytest.mark.parametrize("ticker", ["btc_usd", "eth_usd", "shib_usd", "sol_eth"])
def test_simulator_matches_documentation(exchange: Simulator, ticker: str) -> None:
    calls = check(DeribitClient(exchange.url), tickers=(ticker,))

    assert differences(calls) == {}
    assert len(calls) == CALLS


def test_testnet_matches_as_testnet_only() -> None:
    with running_simulator(Options(seed=5, testnet=True)) as exchange:
        assert not differences(check(DeribitClient(exchange.url, testnet=True), testnet=True))
        assert len(differences(check(DeribitClient(exchange.url)))) == CALLS


@pytest.mark.parametrize("kind", KINDS)
def test_every_fault_shows(exchange: Simulator, kind: str) -> None:
    inject_fault(exchange, kind, **FIELDS.get(kind, {}))

    calls = check(DeribitClient(exchange.url, request_timeout=0.5), patience=1.2)

    found = [text for call in calls for text in call.differences]
    assert found
    assert all(found)


@pytest.mark.parametrize("method", ["get_time", "status", "get_index_price_names",
                                    "get_index_price", "get_index_chart_data"])  # fmt: skip
def test_fault_of_one_method_shows_there(exchange: Simulator, method: str) -> None:
    inject_fault(exchange, "html", method=method)

    found = differences(check(DeribitClient(exchange.url)))

    assert {name.split()[0].rstrip(",") for name in found} == {method}


def test_unreachable_exchange_gets_two_requests(exchange: Simulator) -> None:
    inject_fault(exchange, "timeout")
    before = count_calls(exchange, "get_time") + count_calls(exchange, "status")

    calls = check(DeribitClient(exchange.url, request_timeout=0.3))

    assert [call.name for call in calls] == ["get_time", "status"]
    assert count_calls(exchange, "get_time") + count_calls(exchange, "status") == before + 2


@pytest.mark.parametrize("offset", [-90.0, 90.0])
def test_clock_difference_shows(offset: float) -> None:
    with running_simulator(Options(seed=5, clock_offset=offset)) as exchange:
        found = differences(check(DeribitClient(exchange.url)))

    assert found["get_time"] == ["the clocks differ by more than 2 s"]


def test_unknown_ticker_shows(exchange: Simulator) -> None:
    found = differences(check(DeribitClient(exchange.url), tickers=("btc_usd", "none_usd")))
    assert found == {"get_index_price_names": ["without none_usd of TICKERS"]}
    found = differences(check(DeribitClient(exchange.url), tickers=("*_usdc", "none*")))
    assert found == {"get_index_price_names": ["without none* of TICKERS"]}


class AlteredClient(DeribitClient):
    """A client of an exchange that has changed its responses to *method*."""

    method: str
    alter: Callable[[dict[str, Any]], object]

    def fetch_response(self, method: str, **parameters: str) -> HttpResponse:
        response = super().fetch_response(method, **parameters)
        if method != self.method:
            return response
        document = json.loads(response.content)
        type(self).alter(document)
        content = json.dumps(document).encode()
        return HttpResponse(content, response.status, response.headers)


def set_field(document: dict[str, Any], name: str, value: object) -> None:
    document[name] = value


def set_result(document: dict[str, Any], name: str, value: object) -> None:
    document.get("result", {})[name] = value


def shift_price(document: dict[str, Any], fraction: float) -> None:
    """Set the price to a whole number and *fraction*; json writes 0 without a decimal point."""
    if "result" in document:
        set_result(document, "index_price", int(document["result"]["index_price"]) + fraction)


DEVIATIONS: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "jsonrpc: '3.0'": ("status", lambda d: set_field(d, "jsonrpc", "3.0")),
    "fields are missing: usDiff": ("status", lambda d: d.pop("usDiff")),
    "unknown fields: id": ("status", lambda d: set_field(d, "id", 1)),
    "is not usOut - usIn": ("status", lambda d: set_field(d, "usDiff", -5)),
    "is not an integer": ("get_time", lambda d: set_field(d, "usIn", 1.5)),
    "ms is not usOut": ("get_time", lambda d: set_field(d, "result", d["result"] // 1000)),
    "indexes are locked": ("status", lambda d: set_result(d, "locked", "true")),
    "result: not an object": ("status", lambda d: set_field(d, "result", [])),
    "unusual names: BTC": (
        "get_index_price_names",
        lambda d: d["result"].append("BTC"),
    ),
    "has no decimal point": ("get_index_price", lambda d: shift_price(d, fraction=0)),
    "has 3 decimals": ("get_index_price", lambda d: shift_price(d, 0.125)),
    "fields: estimated_delivery_price, index_price, timestamp": (
        "get_index_price",
        lambda d: set_result(d, "timestamp", 1),
    ),
    "index_price: not a number: '80000.5'": (
        "get_index_price",
        lambda d: set_result(d, "index_price", "80000.5"),
    ),
    "points are missing": ("get_index_chart_data", lambda d: d["result"].pop(100)),
    "points, not about": ("get_index_chart_data", lambda d: d["result"].__delitem__(slice(200))),
    "are not multiples of": (
        "get_index_chart_data",
        lambda d: d["result"].__setitem__(0, [d["result"][0][0] - 1, 1.5]),
    ),
    "the points are not ascending": ("get_index_chart_data", lambda d: d["result"].reverse()),
    "averages have 9 decimals": (
        "get_index_chart_data",
        lambda d: d["result"].__setitem__(0, [d["result"][0][0], 1.123456789]),
    ),
    "the newest point is": (
        "get_index_chart_data",
        lambda d: d["result"].__delitem__(slice(-40, None)),
    ),
    "0 points": ("get_index_chart_data", lambda d: d["result"].clear()),
    "the newest average is 1.5": (
        "get_index_chart_data",
        lambda d: d["result"].__setitem__(-1, [d["result"][-1][0], 1.5]),
    ),
}


@pytest.mark.parametrize("text", DEVIATIONS)
def test_deviation_shows(exchange: Simulator, text: str) -> None:
    method, alter = DEVIATIONS[text]

    class Client(AlteredClient):
        pass

    Client.method, Client.alter = method, staticmethod(alter)

    found = differences(check(Client(exchange.url)))

    shown = "; ".join(each for texts in found.values() for each in texts)
    assert text in shown
    assert {name.split()[0].rstrip(",") for name in found} == {method}


def run_command(exchange: Simulator, *words: str, **env: str) -> tuple[int, str, str]:
    """Exit status, output and errors of the command."""
    variables = {**os.environ, "CLIENT_BASE_URL": exchange.url, **env}
    with start_tracker("check-exchange", *words, env=variables) as process:
        output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


@pytest.mark.slow
def test_command_prints_a_report(exchange: Simulator) -> None:
    status, output, errors = run_command(exchange, "--ticker", "sol_usdc")

    assert (status, errors) == (0, "")
    lines = output.splitlines()
    assert lines[1] == f"{exchange.url} (production), sol_usdc"
    assert [line.split()[0] for line in lines[3:-2]] == ["ok"] * CALLS
    assert lines[-1] == f"all {CALLS} responses are as documented"


@pytest.mark.slow
def test_command_fails_for_a_difference(exchange: Simulator) -> None:
    inject_fault(exchange, "rate_limit", method="status", code=10028)

    status, output, errors = run_command(exchange)

    assert (status, errors) == (1, "")
    assert "differs status" in output
    assert "        - HTTP 429: exchange error 'too_many_requests', code 10028\n" in output
    assert output.endswith(f"\n1 of {CALLS} responses differ from the documentation\n")


@pytest.mark.slow
def test_command_does_not_print_a_login(exchange: Simulator) -> None:
    url = exchange.url.replace("//", "//me:secret@")
    _, output, errors = run_command(exchange, CLIENT_BASE_URL=url)
    assert "secret" not in output + errors
