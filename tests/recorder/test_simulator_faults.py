"""Every fault over HTTP: its response, the calls that it affects, and its end."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from email.utils import parsedate_to_datetime
from itertools import count
from typing import Any, Self

import httpx
import pytest

from tests.support.waiting import wait_until
from tracker.simulator import Fault, Options, Simulator, price_at, running_simulator

SEED = 3
SECOND = 1_000_000
NOON = 1_790_683_200
PRICE = "/api/v2/public/get_index_price?index_name=btc_usd"
MAINTENANCE = b'{"jsonrpc":"2.0","error":{"message":"system_maintenance","code":11051}}'


@dataclass
class Clock:
    """A clock that tests advance; microseconds."""

    now: int = NOON * SECOND

    def __call__(self) -> int:
        """The time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Add *seconds*."""
        self.now += round(seconds * SECOND)


@pytest.fixture(scope="module")
def clock() -> Clock:
    """The simulator's clock."""
    return Clock()


@pytest.fixture(scope="module")
def simulator(clock: Clock) -> Iterator[Simulator]:
    """One simulator for all tests."""
    with running_simulator(Options(seed=SEED, clock=clock)) as exchange:
        yield exchange


@pytest.fixture(scope="module")
def client(simulator: Simulator) -> Iterator[httpx.Client]:
    """Its client."""
    with httpx.Client(base_url=simulator.root, timeout=20) as client:
        yield client


@pytest.fixture
def http(client: httpx.Client, clock: Clock) -> httpx.Client:
    """The client of a simulator without faults; each test begins a day after the previous one."""
    client.delete("/admin/faults").raise_for_status()
    clock.advance(86_400)
    return client


Inject = Callable[..., int]


@pytest.fixture
def inject(http: httpx.Client) -> Inject:
    """Injects a fault and returns its id."""

    def post(kind: str, **fields: object) -> int:
        response = http.post("/admin/faults", json={"kind": kind, **fields})
        assert response.status_code == 201, response.text
        return int(response.json()["id"])

    return post


def price_in(response: httpx.Response) -> Decimal:
    """The exact price in a response."""
    return Decimal(json.loads(response.content, parse_float=Decimal)["result"]["index_price"])


def current_price(clock: Clock) -> Decimal:
    """The price of btc_usd now."""
    return price_at(SEED, "btc_usd", clock.now // SECOND)


def count_responses(http: httpx.Client) -> dict[str, int]:
    """Responses by outcome."""
    counts: dict[str, int] = http.get("/admin/counts").json()["answers"]
    return counts


def count_calls(http: httpx.Client) -> int:
    """All calls."""
    return int(http.get("/admin/counts").json()["total"])


def test_latency_delays_correct_response(http: httpx.Client, inject: Inject, clock: Clock) -> None:
    inject("latency", delay=0.15)
    before = time.monotonic()

    response = http.get(PRICE)

    assert time.monotonic() - before >= 0.15
    assert price_in(response) == current_price(clock)


def test_late_response_has_price_of_its_own_second(
    http: httpx.Client, inject: Inject, clock: Clock
) -> None:
    """usOut and price belong to the response, usIn to the request."""
    fault = inject("timeout")
    with PendingCall(http) as call:
        clock.advance(5)
        http.delete(f"/admin/faults/{fault}").raise_for_status()
        response = call.response()

    assert response.json()["usDiff"] == 5 * SECOND
    assert price_in(response) == current_price(clock)


def test_timeout_sends_no_response(http: httpx.Client, inject: Inject) -> None:
    """The simulator notices that the client disconnects, and counts the call."""
    inject("timeout", calls=1)
    before = count_responses(http).get("timeout", 0)

    with pytest.raises(httpx.ReadTimeout):
        http.get(PRICE, timeout=0.2)

    wait_until(lambda: count_responses(http).get("timeout", 0) == before + 1)
    assert http.get(PRICE).status_code == 200


def test_timeout_responds_at_end_of_fault(http: httpx.Client, inject: Inject, clock: Clock) -> None:
    inject("timeout", seconds=0.2)

    assert price_in(http.get(PRICE)) == current_price(clock)


class PendingCall:
    """A call that waits for its response on its own thread."""

    def __init__(self, http: httpx.Client) -> None:
        self._url = http.base_url.join(PRICE)
        self._http = http
        self._response: httpx.Response | None = None
        self._thread = threading.Thread(target=self._get)

    def __enter__(self) -> Self:
        before = count_calls(self._http)
        self._thread.start()
        wait_until(lambda: count_calls(self._http) > before)
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def response(self) -> httpx.Response:
        """Wait for the response."""
        self._thread.join()
        assert self._response is not None
        return self._response

    def _get(self) -> None:
        self._response = httpx.get(self._url, timeout=20)


def test_reset_sends_tcp_rst(simulator: Simulator, inject: Inject) -> None:
    """Without a byte before it."""
    inject("reset", calls=1)

    with socket.create_connection((simulator.host, simulator.port), timeout=10) as client:
        client.sendall(f"GET {PRICE} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_reset_is_network_error_of_one_call(http: httpx.Client, inject: Inject) -> None:
    """The next call succeeds on a new connection."""
    inject("reset", calls=1)

    with pytest.raises(httpx.ReadError):
        http.get(PRICE)

    assert http.get(PRICE).status_code == 200


def test_rate_limit_is_empty_429(http: httpx.Client, inject: Inject) -> None:
    inject("rate_limit")

    response = http.get(PRICE)

    assert (response.status_code, response.content) == (429, b"")
    assert "retry-after" not in response.headers


def test_rate_limit_has_requested_header_and_code(http: httpx.Client, inject: Inject) -> None:
    inject("rate_limit", retry_after=7, code=10028)

    response = http.get(PRICE)

    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert response.json()["error"] == {"code": 10028, "message": "too_many_requests"}


@pytest.mark.parametrize(
    "path", ["public/get_index_price", "public/get_time", "public/nothing", ""]
)
def test_maintenance_affects_every_endpoint(http: httpx.Client, inject: Inject, path: str) -> None:
    """GET and POST, also malformed ones, have the recorded body."""
    inject("maintenance")

    for response in (http.get(f"/api/v2/{path}"), http.post(f"/api/v2/{path}", content=b"{")):
        assert (response.status_code, response.content) == (503, MAINTENANCE)


@pytest.mark.parametrize(("fields", "code"), [({}, 11094), ({"code": 13025}, 13025)])
def test_error_has_http_200(
    http: httpx.Client, inject: Inject, fields: dict[str, int], code: int
) -> None:
    """With envelope and id, without a result."""
    inject("error", **fields)
    message = {"jsonrpc": "2.0", "id": 4, "method": "public/get_time"}

    response = http.post("/api/v2", json=message)

    body = response.json()
    assert (response.status_code, body["error"]["code"], body["id"]) == (200, code, 4)
    assert set(body) == {"jsonrpc", "id", "error", "usIn", "usOut", "usDiff", "testnet"}


@pytest.mark.parametrize(("fields", "status"), [({}, 502), ({"code": 200}, 200)])
def test_html_is_page_with_status(
    http: httpx.Client, inject: Inject, fields: dict[str, int], status: int
) -> None:
    inject("html", **fields)

    response = http.get(PRICE)

    assert response.status_code == status
    assert response.headers["content-type"].startswith("text/html")
    assert response.text.startswith("<!DOCTYPE html>")


def test_truncated_is_invalid_json(http: httpx.Client, inject: Inject) -> None:
    inject("truncated")

    response = http.get(PRICE)

    assert response.status_code == 200
    assert response.text.startswith('{"jsonrpc":"2.0"')
    with pytest.raises(json.JSONDecodeError):
        response.json()


def test_testnet_inverts_flag(http: httpx.Client, inject: Inject) -> None:
    inject("testnet")

    response = http.get(PRICE).json()

    assert response["testnet"] is True
    assert "index_price" in response["result"]


def test_missing_lacks_price(http: httpx.Client, inject: Inject, clock: Clock) -> None:
    """The response to another method lacks its result."""
    inject("missing")

    body = json.loads(http.get(PRICE).content, parse_float=Decimal)

    assert body["result"] == {"estimated_delivery_price": current_price(clock)}
    assert "result" not in http.get("/api/v2/public/get_time").json()


@pytest.mark.parametrize(("fields", "status"), [({}, 500), ({"code": 418}, 418)])
def test_wrong_status_has_correct_body(
    http: httpx.Client, inject: Inject, clock: Clock, fields: dict[str, int], status: int
) -> None:
    inject("wrong_status", **fields)

    response = http.get(PRICE)

    assert (response.status_code, price_in(response)) == (status, current_price(clock))


def test_frozen_price_is_constant_for_its_seconds(
    http: httpx.Client, inject: Inject, clock: Clock
) -> None:
    """usOut advances, and the price changes afterwards."""
    start = current_price(clock)
    inject("frozen", index="btc_usd", seconds=10)

    prices = []
    for _ in range(12):
        response = http.get(PRICE)
        assert response.json()["usOut"] == clock.now
        prices.append(price_in(response))
        clock.advance(1)

    began = clock.now // SECOND - 12
    assert prices == [start] * 10 + [price_at(SEED, "btc_usd", began + k) for k in (10, 11)]


def true_price(http: httpx.Client, second: int, index: str = "btc_usd") -> Decimal:
    """The price of *second* according to /admin/truth."""
    params = {"index": index, "second": str(second)}
    return Decimal(http.get("/admin/truth", params=params).json()["price"])


def test_locked_index_is_frozen_and_named_by_status(
    http: httpx.Client, inject: Inject, clock: Clock
) -> None:
    """Without an index every one is locked; afterwards none is."""
    before = price_in(http.get(PRICE))
    inject("locked", index="btc_usd")
    clock.advance(60)
    status = http.get("/api/v2/public/status").json()["result"]
    assert status == {"locked": "partial", "locked_indices": ["btc_usd"]}
    assert price_in(http.get(PRICE)) == before

    inject("locked")
    assert http.get("/api/v2/public/status").json()["result"] == {"locked": "true"}
    http.delete("/admin/faults").raise_for_status()
    assert http.get("/api/v2/public/status").json()["result"] == {"locked": "false"}


def test_date_header_is_that_of_the_exchange(http: httpx.Client, clock: Clock) -> None:
    """As a fault's response has it."""
    [date] = http.get("/admin/counts").headers.get_list("date")
    assert parsedate_to_datetime(date).timestamp() == clock.now // SECOND


def test_frozen_price_is_true_price_of_its_seconds(
    http: httpx.Client, inject: Inject, clock: Clock
) -> None:
    """Also after the fault, and in charts."""
    began = clock.now // SECOND
    fault = inject("frozen", index="btc_usd")
    clock.advance(60)
    http.delete(f"/admin/faults/{fault}").raise_for_status()
    clock.advance(60)

    expected = [price_at(SEED, "btc_usd", began + (0 if 0 <= k <= 60 else k))
                for k in range(-30, 90)]  # fmt: skip
    assert [true_price(http, began + k) for k in range(-30, 90)] == expected
    assert true_price(http, began + 30, "eth_usd") == price_at(SEED, "eth_usd", began + 30)
    chart = http.get("/api/v2/public/get_index_chart_data?index_name=btc_usd").content
    points = dict(json.loads(chart, parse_float=Decimal)["result"])
    assert points[(began + 30) // 6 * 6_000] == price_at(SEED, "btc_usd", began)


def test_freeze_within_freeze_has_same_price(
    http: httpx.Client, inject: Inject, clock: Clock
) -> None:
    start = current_price(clock)
    inject("frozen", seconds=10)
    clock.advance(5)
    inject("frozen", seconds=10)
    clock.advance(8)

    assert price_in(http.get(PRICE)) == start


def test_freeze_of_calls_ends_with_last_call(
    http: httpx.Client, inject: Inject, clock: Clock
) -> None:
    start = current_price(clock)
    inject("frozen", calls=2)

    prices = []
    for _ in range(3):
        clock.advance(10)
        prices.append(price_in(http.get(PRICE)))

    assert prices == [start, start, current_price(clock)]


def test_fault_ends_after_its_calls(http: httpx.Client, inject: Inject) -> None:
    """Only calls that it affects count."""
    inject("rate_limit", calls=2, index="btc_usd")
    other = PRICE.replace("btc", "eth")

    statuses = [http.get(path).status_code for path in (other, PRICE, other, PRICE, PRICE)]

    assert statuses == [200, 429, 200, 429, 200]
    assert http.get("/admin/faults").json() == []


def test_fault_ends_after_its_seconds(http: httpx.Client, inject: Inject, clock: Clock) -> None:
    """It is active in the last microsecond before its end, but not at its end."""
    inject("error", seconds=30)

    clock.now += 30 * SECOND - 1
    assert "error" in http.get(PRICE).json()
    clock.now += 1
    assert "result" in http.get(PRICE).json()


def test_unlimited_fault_lasts_until_removed(
    http: httpx.Client, inject: Inject, clock: Clock
) -> None:
    fault = inject("rate_limit")
    clock.advance(10**6)

    assert http.get(PRICE).status_code == 429
    assert http.delete(f"/admin/faults/{fault}").status_code == 204
    assert http.get(PRICE).status_code == 200


@pytest.mark.parametrize("name", ["get_index_chart_data", "public/get_index_chart_data"])
def test_fault_of_method_spares_other_methods(
    http: httpx.Client, inject: Inject, name: str
) -> None:
    inject("rate_limit", method=name)

    assert http.get(PRICE).status_code == 200
    chart = http.get("/api/v2/public/get_index_chart_data?index_name=btc_usd")
    assert chart.status_code == 429


def test_fault_of_index_spares_calls_without_index(http: httpx.Client, inject: Inject) -> None:
    """It affects GET and POST."""
    inject("rate_limit", index="btc_usd")
    params = {"index_name": "btc_usd"}
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "public/get_index_price"}

    assert http.get("/api/v2/public/get_time").status_code == 200
    assert http.post("/api/v2", json={**message, "params": params}).status_code == 429


def test_oldest_active_fault_applies(http: httpx.Client, inject: Inject) -> None:
    inject("rate_limit", calls=1)
    inject("maintenance")

    assert [http.get(PRICE).status_code for _ in range(2)] == [429, 503]


def test_options_inject_faults_at_start() -> None:
    with running_simulator(Options(faults=(Fault(kind="html", code=404, calls=1),))) as exchange:
        statuses = [httpx.get(exchange.root + PRICE).status_code for _ in range(2)]

    assert statuses == [404, 200]


def test_clock_set_back_does_not_reactivate_fault(
    http: httpx.Client, inject: Inject, clock: Clock
) -> None:
    inject("maintenance")
    http.delete("/admin/faults").raise_for_status()

    clock.advance(-60)

    assert http.get(PRICE).status_code == 200


def test_last_frozen_call_has_frozen_price() -> None:
    """Even if the second ends between request and response."""
    ticks = count(NOON * SECOND, SECOND)
    options = Options(seed=SEED, faults=(Fault(kind="frozen", calls=1),), clock=lambda: next(ticks))

    with running_simulator(options) as exchange:
        began = httpx.get(f"{exchange.admin_url}/faults").json()[0]["began"]
        response = httpx.get(exchange.root + PRICE)

    assert response.json()["usOut"] > began
    assert price_in(response) == price_at(SEED, "btc_usd", began // SECOND)
