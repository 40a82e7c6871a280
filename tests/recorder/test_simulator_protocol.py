"""The simulator's protocol over HTTP: every method, by GET and POST, and its errors."""

import json
import time
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.simulator import Options, price_at, running_simulator
from tracker.simulator.calls import parse_message
from tracker.simulator.prices import INDEX_NAMES

SEED = 7
SECOND = 1_000_000


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    """A client of one simulator for all tests; none of them changes its state."""
    with (
        running_simulator(Options(seed=SEED, indexes=("my-coin_usd",))) as exchange,
        httpx.Client(base_url=exchange.url) as client,
    ):
        yield client


def exact(response: httpx.Response) -> Any:
    """The body with exact numbers."""
    return json.loads(response.content, parse_float=Decimal)


def get(http: httpx.Client, method: str, **params: str) -> Any:
    """The result of a plain GET."""
    response = http.get(f"/public/{method}", params=params)
    assert response.status_code == 200, response.text
    return exact(response)["result"]


@pytest.mark.parametrize("index", ["btc_usd", "shib_usd", "sol_usdc", "my-coin_usd"])
def test_price_belongs_to_second_of_us_out(http: httpx.Client, index: str) -> None:
    """In the envelope of recorded responses."""
    before = time.time_ns() // 1_000
    response = http.get("/public/get_index_price", params={"index_name": index})
    after = time.time_ns() // 1_000

    body = exact(response)
    us_in, us_out = body["usIn"], body["usOut"]
    price = price_at(SEED, index, us_out // SECOND)
    assert body == {
        "jsonrpc": "2.0",
        "result": {"estimated_delivery_price": price, "index_price": price},
        "usIn": us_in,
        "usOut": us_out,
        "usDiff": us_out - us_in,
        "testnet": False,
    }
    assert before <= us_in <= us_out <= after
    assert response.headers["content-type"] == "application/json"


def test_names_are_strings_or_objects(http: httpx.Client) -> None:
    plain = get(http, "get_index_price_names")
    extended = get(http, "get_index_price_names", extended="true")

    assert plain == [*INDEX_NAMES, "my-coin_usd"]
    assert extended == [{"name": name} for name in plain]
    assert get(http, "get_index_price_names", extended="false") == plain


def test_supported_names_depend_on_type(http: httpx.Client) -> None:
    every = get(http, "get_supported_index_names")
    spot = get(http, "get_supported_index_names", type="spot")
    derivative = get(http, "get_supported_index_names", type="derivative")

    assert every == get(http, "get_supported_index_names", type="all")
    assert set(spot) | set(derivative) == set(every)
    assert "btc_usdc" in spot
    assert "btc_usd" in derivative
    assert "btc_usd" not in spot


def test_time_status_and_version_match_documentation(http: httpx.Client) -> None:
    body = exact(http.get("/public/get_time"))

    assert body["result"] == body["usOut"] // 1_000
    assert get(http, "status") == {"locked": "false"}
    assert get(http, "test") == {"version": "1.2.26"}


def test_test_method_raises_requested_exception(http: httpx.Client) -> None:
    response = http.get("/public/test", params={"expected_result": "exception"})

    assert response.status_code == 500
    assert response.json()["error"] == {"code": 11094, "message": "internal_server_error"}


def mean(index: str, end: int, apart: int, digits: int = 6) -> Decimal:
    """The expected chart point: the exact mean of six samples, rounded once."""
    samples = [Fraction(price_at(SEED, index, end - apart * k)) for k in range(6)]
    return Decimal(round(sum(samples) / 6 * 10**digits)).scaleb(-digits)


@pytest.mark.parametrize(
    ("name", "step", "points"),
    [("1h", 6, 600), ("1d", 300, 288), ("2d", 300, 576), ("1m", 3_600, 720), ("1y", 86_400, 365)],
)
def test_chart_points_are_means_of_prices(
    http: httpx.Client, name: str, step: int, points: int
) -> None:
    """At multiples of the step, oldest first, up to now."""
    body = exact(
        http.get("/public/get_index_chart_data", params={"index_name": "btc_usd", "range": name})
    )

    last = body["usOut"] // SECOND // step * step
    moments = [last - step * back for back in reversed(range(points))]
    assert body["result"] == [[at * 1_000, mean("btc_usd", at, step // 6)] for at in moments]


def test_chart_of_1h_has_every_minute(http: httpx.Client) -> None:
    """1h is the default range."""
    chart = get(http, "get_index_chart_data", index_name="eth_usd")

    assert len([at for at, _ in chart if at % 60_000 == 0]) == 60


def test_chart_of_tiny_prices_has_more_decimals(http: httpx.Client) -> None:
    """Two more than the prices, because six would round to nothing."""
    chart = get(http, "get_index_chart_data", index_name="shib_usd")

    assert chart == [[at, mean("shib_usd", at // 1_000, 1, digits=10)] for at, _ in chart]


def test_chart_of_all_has_daily_points_of_years(http: httpx.Client) -> None:
    chart = get(http, "get_index_chart_data", index_name="btc_usd", range="all")

    assert len(chart) > 365
    assert {later - at for (at, _), (later, _) in pairwise(chart)} == {86_400_000}


@pytest.mark.parametrize("path", ["", "/public/get_index_price", "/public/get_time"])
@pytest.mark.parametrize("ident", [1, "a", None, -5])
def test_post_echoes_id(http: httpx.Client, path: str, ident: object) -> None:
    """The method in the body takes precedence over that in the path."""
    params = {"index_name": "btc_usd"}
    message = {"jsonrpc": "2.0", "id": ident, "method": "public/get_index_price", "params": params}

    body = exact(http.post(path, json=message))

    price = price_at(SEED, "btc_usd", body["usOut"] // SECOND)
    assert body["id"] == ident
    assert body["result"] == {"estimated_delivery_price": price, "index_price": price}


def test_body_without_method_uses_path(http: httpx.Client) -> None:
    """By POST, and by GET with a body."""
    message = {"jsonrpc": "2.0", "id": 3}

    posted = http.post("/public/status", json=message).json()
    got = http.request("GET", "/public/status", json=message).json()

    assert (posted["id"], posted["result"]) == (3, {"locked": "false"})
    assert (got["id"], got["result"]) == (3, {"locked": "false"})


@pytest.mark.parametrize(
    ("method", "params", "reason", "param"),
    [
        ("get_index_price", {"index_name": "BTC_USD"}, "invalid index", "index_name"),
        ("get_index_price", {}, "value required", "index_name"),
        ("get_index_price", {"index_name": 5}, "must be a string", "index_name"),
        ("get_index_chart_data", {"index_name": "nope_usd"}, "invalid index", "index_name"),
        ("get_index_chart_data", {"index_name": "btc_usd", "range": "3d"},
         "must be one of 1h, 1d, 2d, 1m, 1y, all", "range"),
        ("get_supported_index_names", {"type": "x"},
         "must be one of all, spot, derivative", "type"),
        ("get_index_price_names", {"extended": "yes"}, "must be a boolean", "extended"),
        ("get_index_price_names", {"extended": 1}, "must be a boolean", "extended"),
        ("get_index_price", ["btc_usd"], "must be an object", "params"),
    ],
)  # fmt: skip
def test_invalid_parameter_is_named(
    http: httpx.Client, method: str, params: object, reason: str, param: str
) -> None:
    """HTTP 400 and the recorded error, with envelope and id."""
    message = {"jsonrpc": "2.0", "id": 8, "method": f"public/{method}", "params": params}

    response = http.post("", json=message)

    body = response.json()
    data = {"reason": reason, "param": param}
    assert response.status_code == 400
    assert body["error"] == {"code": -32602, "message": "Invalid params", "data": data}
    assert set(body) == {"jsonrpc", "id", "error", "usIn", "usOut", "usDiff", "testnet"}


def test_unknown_index_has_recorded_error(http: httpx.Client) -> None:
    response = http.get("/public/get_index_price", params={"index_name": "foo_bar"})

    data = {"reason": "invalid index", "param": "index_name"}
    body = response.json()
    assert response.status_code == 400
    assert body["error"] == {"code": -32602, "message": "Invalid params", "data": data}
    assert set(body) == {"jsonrpc", "error", "usIn", "usOut", "usDiff", "testnet"}


@pytest.mark.parametrize("path", ["/public/get_nothing", "/private/get_time", "/get_time", "", "/"])
def test_unknown_method_has_error_in_envelope(http: httpx.Client, path: str) -> None:
    response = http.get(path)

    assert response.status_code == 400
    assert response.json()["error"] == {"code": -32601, "message": "Method not found"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"{", -32700),
        (b"", -32700),
        (b"\xff", -32700),
        (b"[]", -32600),
        (b'[{"jsonrpc":"2.0","id":1,"method":"public/test"}]', -32600),
        (b'{"id":1,"method":"public/test"}', -32600),
        (b'{"jsonrpc":"2.0","method":"public/test"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"test"}', -32601),
        (b'{"jsonrpc":"2.0","id":1}', -32601),
    ],
)
def test_malformed_message_has_error(http: httpx.Client, text: bytes, code: int) -> None:
    response = http.post("", content=text)

    assert response.status_code == 400
    assert response.json()["error"]["code"] == code


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5
)
messages = st.dictionaries(
    st.sampled_from(["jsonrpc", "id", "method", "params", "x"]),
    json_values | st.sampled_from(["2.0", "public/test"]),
)


@settings(deadline=None)
@given(path=st.text(max_size=30), post=st.booleans(),
       body=st.binary() | messages.map(lambda m: json.dumps(m).encode()))  # fmt: skip
def test_parser_accepts_any_bytes(path: str, body: bytes, post: bool) -> None:  # noqa: FBT001 -- drawn
    """The message has a method, an error, or an unknown method."""
    message = parse_message(path, {}, body, post=post)

    assert message.error is None or set(message.error.error) >= {"code", "message"}


def test_options_set_clock_and_testnet_flag() -> None:
    options = Options(seed=SEED, clock=lambda: 1_000_000_500_000, clock_offset=-2.25, testnet=True)

    with running_simulator(options) as exchange:
        body = exact(httpx.get(f"{exchange.url}/public/get_index_price?index_name=btc_usd"))

    assert (body["usOut"], body["testnet"]) == (999_998_250_000, True)
    assert body["result"]["index_price"] == price_at(SEED, "btc_usd", 999_998)
