"""Every fault over real HTTP: what a client meets, whom it hits, and when it ends."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from typing import Any, Self

import httpx
import pytest

from tracker.simulator import Fault, Options, Served, price_at, serve

SEED = 3
SECOND = 1_000_000
NOON = 1_790_683_200
PRICE = "/api/v2/public/get_index_price?index_name=btc_usd"
MAINTENANCE = b'{"jsonrpc":"2.0","error":{"message":"system_maintenance","code":11051}}'


@dataclass
class Clock:
    """A clock that stands until a test moves it; microseconds."""

    now: int = NOON * SECOND

    def __call__(self) -> int:
        """Tell the time."""
        return self.now

    def go(self, seconds: float) -> None:
        """Move on."""
        self.now += round(seconds * SECOND)


@pytest.fixture(scope="module")
def clock() -> Clock:
    """The clock of the stand-in."""
    return Clock()


@pytest.fixture(scope="module")
def served(clock: Clock) -> Iterator[Served]:
    """One stand-in for all tests here."""
    with serve(Options(seed=SEED, clock=clock)) as exchange:
        yield exchange


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[httpx.Client]:
    """One client of it."""
    with httpx.Client(base_url=served.root, timeout=20) as client:
        yield client


@pytest.fixture
def http(client: httpx.Client, clock: Clock) -> httpx.Client:
    """The client, the stand-in without faults, each test a day after the one before."""
    client.delete("/admin/faults").raise_for_status()
    clock.go(86_400)
    return client


Order = Callable[..., int]


@pytest.fixture
def order(http: httpx.Client) -> Order:
    """Orders a fault and gives its id."""

    def ask(kind: str, **fields: object) -> int:
        answer = http.post("/admin/faults", json={"kind": kind, **fields})
        assert answer.status_code == 201, answer.text
        return int(answer.json()["id"])

    return ask


def price(response: httpx.Response) -> Decimal:
    """The price of an answer, exact."""
    return Decimal(json.loads(response.content, parse_float=Decimal)["result"]["index_price"])


def truth(clock: Clock, index: str = "btc_usd") -> Decimal:
    """The price of now."""
    return price_at(SEED, index, clock.now // SECOND)


def answers(http: httpx.Client) -> dict[str, int]:
    """Answers by outcome so far."""
    counts: dict[str, int] = http.get("/admin/counts").json()["answers"]
    return counts


def total(http: httpx.Client) -> int:
    """Calls so far."""
    return int(http.get("/admin/counts").json()["total"])


def wait_until(true: Callable[[], bool]) -> None:
    """Look again and again for at most ten seconds."""
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_latency_delays_the_true_answer(http: httpx.Client, order: Order, clock: Clock) -> None:
    """The answer is right, but it takes as long as asked."""
    order("latency", delay=0.15)
    before = time.monotonic()

    answer = http.get(PRICE)

    assert time.monotonic() - before >= 0.15
    assert price(answer) == truth(clock)


def test_a_late_answer_is_of_its_own_second(http: httpx.Client, order: Order, clock: Clock) -> None:
    """usOut and price belong to the moment of the answer, usIn to that of the question."""
    fault = order("timeout")
    with Hanging(http) as hanging:
        clock.go(5)
        http.delete(f"/admin/faults/{fault}").raise_for_status()
        answer = hanging.answer()

    assert answer.json()["usDiff"] == 5 * SECOND
    assert price(answer) == truth(clock)


def test_timeout_never_answers(http: httpx.Client, order: Order) -> None:
    """The client leaves first; the simulator notices and counts it."""
    order("timeout", calls=1)
    before = answers(http).get("timeout", 0)

    with pytest.raises(httpx.ReadTimeout):
        http.get(PRICE, timeout=0.2)

    wait_until(lambda: answers(http).get("timeout", 0) == before + 1)
    assert http.get(PRICE).status_code == 200


def test_timeout_ends_with_its_seconds(http: httpx.Client, order: Order, clock: Clock) -> None:
    """A patient client gets its answer when the fault is over."""
    order("timeout", seconds=0.2)

    assert price(http.get(PRICE)) == truth(clock)


class Hanging:
    """A call on a thread of its own that waits for its answer."""

    def __init__(self, http: httpx.Client) -> None:
        self._url = http.base_url.join(PRICE)
        self._http = http
        self._answer: httpx.Response | None = None
        self._thread = threading.Thread(target=self._get)

    def __enter__(self) -> Self:
        before = total(self._http)
        self._thread.start()
        wait_until(lambda: total(self._http) > before)
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def answer(self) -> httpx.Response:
        """Wait for it."""
        self._thread.join()
        assert self._answer is not None
        return self._answer

    def _get(self) -> None:
        self._answer = httpx.get(self._url, timeout=20)


def test_reset_tears_the_connection_down(served: Served, order: Order) -> None:
    """A TCP RST, not an orderly end, and no byte before it."""
    order("reset", calls=1)

    with socket.create_connection((served.host, served.port), timeout=10) as client:
        client.sendall(f"GET {PRICE} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_reset_is_a_network_error_to_a_client(http: httpx.Client, order: Order) -> None:
    """What httpx sees; the next call on a fresh connection succeeds."""
    order("reset", calls=1)

    with pytest.raises(httpx.ReadError):
        http.get(PRICE)

    assert http.get(PRICE).status_code == 200


def test_rate_limit_is_an_empty_429(http: httpx.Client, order: Order) -> None:
    """No body, no header, unless asked for."""
    order("rate_limit")

    answer = http.get(PRICE)

    assert (answer.status_code, answer.content) == (429, b"")
    assert "retry-after" not in answer.headers


def test_rate_limit_may_say_more(http: httpx.Client, order: Order) -> None:
    """Retry-After in seconds, and the exchange's own code."""
    order("rate_limit", retry_after=7, code=10028)

    answer = http.get(PRICE)

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.json()["error"] == {"code": 10028, "message": "too_many_requests"}


@pytest.mark.parametrize(
    "path", ["public/get_index_price", "public/get_time", "public/nothing", ""]
)
def test_maintenance_hits_every_endpoint(http: httpx.Client, order: Order, path: str) -> None:
    """503 with the recorded body, to a GET and to a POST, even to a malformed one."""
    order("maintenance")

    for answer in (http.get(f"/api/v2/{path}"), http.post(f"/api/v2/{path}", content=b"{")):
        assert (answer.status_code, answer.content) == (503, MAINTENANCE)


@pytest.mark.parametrize(("fields", "code"), [({}, 11094), ({"code": 13025}, 13025)])
def test_error_comes_with_http_200(
    http: httpx.Client, order: Order, fields: dict[str, int], code: int
) -> None:
    """A JSON-RPC error of any code, envelope and id included, no result."""
    order("error", **fields)
    message = {"jsonrpc": "2.0", "id": 4, "method": "public/get_time"}

    answer = http.post("/api/v2", json=message)

    body = answer.json()
    assert (answer.status_code, body["error"]["code"], body["id"]) == (200, code, 4)
    assert set(body) == {"jsonrpc", "id", "error", "usIn", "usOut", "usDiff", "testnet"}


@pytest.mark.parametrize(("fields", "status"), [({}, 502), ({"code": 200}, 200)])
def test_html_is_a_page(
    http: httpx.Client, order: Order, fields: dict[str, int], status: int
) -> None:
    """HTML under a status of choice."""
    order("html", **fields)

    answer = http.get(PRICE)

    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.text.startswith("<!DOCTYPE html>")


def test_truncated_is_cut_json(http: httpx.Client, order: Order) -> None:
    """HTTP 200, a good beginning, and no end."""
    order("truncated")

    answer = http.get(PRICE)

    assert answer.status_code == 200
    assert answer.text.startswith('{"jsonrpc":"2.0"')
    with pytest.raises(json.JSONDecodeError):
        answer.json()


def test_testnet_flies_the_wrong_flag(http: httpx.Client, order: Order) -> None:
    """Everything else is as ever."""
    order("testnet")

    answer = http.get(PRICE).json()

    assert answer["testnet"] is True
    assert "index_price" in answer["result"]


def test_missing_lacks_the_price(http: httpx.Client, order: Order, clock: Clock) -> None:
    """The result has no index_price; another method has no result."""
    order("missing")

    body = json.loads(http.get(PRICE).content, parse_float=Decimal)

    assert body["result"] == {"estimated_delivery_price": truth(clock)}
    assert "result" not in http.get("/api/v2/public/get_time").json()


@pytest.mark.parametrize(("fields", "status"), [({}, 500), ({"code": 418}, 418)])
def test_wrong_status_belies_the_body(
    http: httpx.Client, order: Order, clock: Clock, fields: dict[str, int], status: int
) -> None:
    """The true answer under HTTP 500, or another status."""
    order("wrong_status", **fields)

    answer = http.get(PRICE)

    assert (answer.status_code, price(answer)) == (status, truth(clock))


def test_a_frozen_price_stands_while_time_goes_on(
    http: httpx.Client, order: Order, clock: Clock
) -> None:
    """For its seconds the price is that of the beginning; then it is the walk's again."""
    start = truth(clock)
    order("frozen", index="btc_usd", seconds=10)

    shown = []
    for _ in range(12):
        answer = http.get(PRICE)
        assert answer.json()["usOut"] == clock.now
        shown.append(price(answer))
        clock.go(1)

    began = clock.now // SECOND - 12
    assert shown == [start] * 10 + [price_at(SEED, "btc_usd", began + k) for k in (10, 11)]


def asked(http: httpx.Client, second: int, index: str = "btc_usd") -> Decimal:
    """The truth about *second*."""
    params = {"index": index, "second": str(second)}
    return Decimal(http.get("/admin/truth", params=params).json()["price"])


def test_a_freeze_is_part_of_the_truth_of_its_seconds(
    http: httpx.Client, order: Order, clock: Clock
) -> None:
    """Before and after it the walk, within it the first price; afterwards too, and in charts."""
    began = clock.now // SECOND
    fault = order("frozen", index="btc_usd")
    clock.go(60)
    http.delete(f"/admin/faults/{fault}").raise_for_status()
    clock.go(60)

    expected = [price_at(SEED, "btc_usd", began + (0 if 0 <= k <= 60 else k))
                for k in range(-30, 90)]  # fmt: skip
    assert [asked(http, began + k) for k in range(-30, 90)] == expected
    assert asked(http, began + 30, "eth_usd") == price_at(SEED, "eth_usd", began + 30)
    chart = http.get("/api/v2/public/get_index_chart_data?index_name=btc_usd").content
    points = dict(json.loads(chart, parse_float=Decimal)["result"])
    assert points[(began + 30) // 6 * 6_000] == price_at(SEED, "btc_usd", began)


def test_a_freeze_within_a_freeze_shows_the_same_price(
    http: httpx.Client, order: Order, clock: Clock
) -> None:
    """The later one begins with the price that stood then."""
    start = truth(clock)
    order("frozen", seconds=10)
    clock.go(5)
    order("frozen", seconds=10)
    clock.go(8)

    assert price(http.get(PRICE)) == start


def test_a_freeze_for_calls_ends_with_the_last_of_them(
    http: httpx.Client, order: Order, clock: Clock
) -> None:
    """Two calls see the first price, the third sees its own."""
    start = truth(clock)
    order("frozen", calls=2)

    shown = []
    for _ in range(3):
        clock.go(10)
        shown.append(price(http.get(PRICE)))

    assert shown == [start, start, truth(clock)]


def test_calls_are_spent(http: httpx.Client, order: Order) -> None:
    """Twice, and no third time; only calls it concerns count."""
    order("rate_limit", calls=2, index="btc_usd")
    other = PRICE.replace("btc", "eth")

    statuses = [http.get(path).status_code for path in (other, PRICE, other, PRICE, PRICE)]

    assert statuses == [200, 429, 200, 429, 200]
    assert http.get("/admin/faults").json() == []


def test_seconds_pass(http: httpx.Client, order: Order, clock: Clock) -> None:
    """In force to the last microsecond before its end, and not at it."""
    order("error", seconds=30)

    clock.now += 30 * SECOND - 1
    assert "error" in http.get(PRICE).json()
    clock.now += 1
    assert "result" in http.get(PRICE).json()


def test_until_removed(http: httpx.Client, order: Order, clock: Clock) -> None:
    """Without a limit a fault lasts until it is taken away."""
    fault = order("rate_limit")
    clock.go(10**6)

    assert http.get(PRICE).status_code == 429
    assert http.delete(f"/admin/faults/{fault}").status_code == 204
    assert http.get(PRICE).status_code == 200


@pytest.mark.parametrize("name", ["get_index_chart_data", "public/get_index_chart_data"])
def test_a_fault_may_concern_one_method(http: httpx.Client, order: Order, name: str) -> None:
    """Calls of other methods do not meet it."""
    order("rate_limit", method=name)

    assert http.get(PRICE).status_code == 200
    chart = http.get("/api/v2/public/get_index_chart_data?index_name=btc_usd")
    assert chart.status_code == 429


def test_a_fault_of_an_index_spares_calls_that_name_none(http: httpx.Client, order: Order) -> None:
    """Only calls that name the index meet it, by GET or by POST."""
    order("rate_limit", index="btc_usd")
    params = {"index_name": "btc_usd"}
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "public/get_index_price"}

    assert http.get("/api/v2/public/get_time").status_code == 200
    assert http.post("/api/v2", json={**message, "params": params}).status_code == 429


def test_the_first_that_fits_wins(http: httpx.Client, order: Order) -> None:
    """Of two faults the earlier strikes, then the later."""
    order("rate_limit", calls=1)
    order("maintenance")

    assert [http.get(PRICE).status_code for _ in range(2)] == [429, 503]


def test_faults_may_be_there_from_the_start() -> None:
    """Options carry faults."""
    with serve(Options(faults=(Fault(kind="html", code=404, calls=1),))) as exchange:
        statuses = [httpx.get(exchange.root + PRICE).status_code for _ in range(2)]

    assert statuses == [404, 200]


def test_a_clock_set_back_revives_no_fault(http: httpx.Client, order: Order, clock: Clock) -> None:
    """What was removed stays removed, whatever the time says."""
    order("maintenance")
    http.delete("/admin/faults").raise_for_status()

    clock.go(-60)

    assert http.get(PRICE).status_code == 200


def test_the_last_frozen_call_answers_for_a_frozen_second() -> None:
    """Even if the second ends between the question and the answer."""
    ticks = count(NOON * SECOND, SECOND)
    options = Options(seed=SEED, faults=(Fault(kind="frozen", calls=1),), clock=lambda: next(ticks))

    with serve(options) as exchange:
        began = httpx.get(f"{exchange.admin_url}/faults").json()[0]["began"]
        answer = httpx.get(exchange.root + PRICE)

    assert answer.json()["usOut"] > began
    assert price(answer) == price_at(SEED, "btc_usd", began // SECOND)
