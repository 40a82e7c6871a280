"""The protocol over real HTTP: every method, both ways of asking, and the error bodies."""

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

from tracker.simulator import Options, price_at, serve
from tracker.simulator.names import NAMES
from tracker.simulator.questions import read

SEED = 7
SECOND = 1_000_000


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    """A client of one stand-in for all tests here; none of them changes it."""
    with (
        serve(Options(seed=SEED, indexes=("my-coin_usd",))) as exchange,
        httpx.Client(base_url=exchange.url) as client,
    ):
        yield client


def exact(response: httpx.Response) -> Any:
    """The body with every number exact."""
    return json.loads(response.content, parse_float=Decimal)


def get(http: httpx.Client, method: str, **params: str) -> Any:
    """The result of a plain GET."""
    response = http.get(f"/public/{method}", params=params)
    assert response.status_code == 200, response.text
    return exact(response)["result"]


@pytest.mark.parametrize("index", ["btc_usd", "shib_usd", "sol_usdc", "my-coin_usd"])
def test_the_price_is_that_of_the_second_of_usout(http: httpx.Client, index: str) -> None:
    """The envelope holds what a recorded one holds, and the price is the walk's."""
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


def test_names(http: httpx.Client) -> None:
    """All names as strings, or as objects when extended; configured ones among them."""
    plain = get(http, "get_index_price_names")
    extended = get(http, "get_index_price_names", extended="true")

    assert plain == [*NAMES, "my-coin_usd"]
    assert extended == [{"name": name} for name in plain]
    assert get(http, "get_index_price_names", extended="false") == plain


def test_supported_names(http: httpx.Client) -> None:
    """All names, or those of one type; together the types hold all."""
    every = get(http, "get_supported_index_names")
    spot = get(http, "get_supported_index_names", type="spot")
    derivative = get(http, "get_supported_index_names", type="derivative")

    assert every == get(http, "get_supported_index_names", type="all")
    assert set(spot) | set(derivative) == set(every)
    assert "btc_usdc" in spot
    assert "btc_usd" in derivative
    assert "btc_usd" not in spot


def test_time_status_and_version(http: httpx.Client) -> None:
    """Milliseconds, a string that says false, and a version."""
    body = exact(http.get("/public/get_time"))

    assert body["result"] == body["usOut"] // 1_000
    assert get(http, "status") == {"locked": "false"}
    assert get(http, "test") == {"version": "1.2.26"}


def test_an_exception_may_be_wished_for(http: httpx.Client) -> None:
    """expected_result=exception answers with an error."""
    response = http.get("/public/test", params={"expected_result": "exception"})

    assert response.status_code == 500
    assert response.json()["error"] == {"code": 11094, "message": "internal_server_error"}


def mean(index: str, end: int, apart: int, digits: int = 6) -> Decimal:
    """What a point of chart data must be: six samples, exactly averaged, then rounded."""
    samples = [Fraction(price_at(SEED, index, end - apart * k)) for k in range(6)]
    return Decimal(round(sum(samples) / 6 * 10**digits)).scaleb(-digits)


@pytest.mark.parametrize(
    ("name", "step", "points"),
    [("1h", 6, 600), ("1d", 300, 288), ("2d", 300, 576), ("1m", 3_600, 720), ("1y", 86_400, 365)],
)
def test_chart_data_are_means_of_the_prices(
    http: httpx.Client, name: str, step: int, points: int
) -> None:
    """On the grid, oldest first, up to now, each the mean of the prices of its step."""
    body = exact(
        http.get("/public/get_index_chart_data", params={"index_name": "btc_usd", "range": name})
    )

    last = body["usOut"] // SECOND // step * step
    moments = [last - step * back for back in reversed(range(points))]
    assert body["result"] == [[at * 1_000, mean("btc_usd", at, step // 6)] for at in moments]


def test_an_hour_of_chart_data_holds_every_minute_mark(http: httpx.Client) -> None:
    """Sixty marks of whole minutes; an hour is what it is without a range."""
    chart = get(http, "get_index_chart_data", index_name="eth_usd")

    assert len([at for at, _ in chart if at % 60_000 == 0]) == 60


def test_chart_data_of_tiny_prices_keep_digits(http: httpx.Client) -> None:
    """Six decimals would leave nothing of them: two more than the price has."""
    chart = get(http, "get_index_chart_data", index_name="shib_usd")

    assert chart == [[at, mean("shib_usd", at // 1_000, 1, digits=10)] for at, _ in chart]


def test_all_reaches_farthest(http: httpx.Client) -> None:
    """The range without end has daily points and more than a year of them."""
    chart = get(http, "get_index_chart_data", index_name="btc_usd", range="all")

    assert len(chart) > 365
    assert {later - at for (at, _), (later, _) in pairwise(chart)} == {86_400_000}


@pytest.mark.parametrize("path", ["", "/public/get_index_price", "/public/get_time"])
@pytest.mark.parametrize("ident", [1, "a", None, -5])
def test_a_post_echoes_its_id(http: httpx.Client, path: str, ident: object) -> None:
    """A JSON-RPC body may go to any address; its own method counts, its id comes back."""
    params = {"index_name": "btc_usd"}
    message = {"jsonrpc": "2.0", "id": ident, "method": "public/get_index_price", "params": params}

    body = exact(http.post(path, json=message))

    price = price_at(SEED, "btc_usd", body["usOut"] // SECOND)
    assert body["id"] == ident
    assert body["result"] == {"estimated_delivery_price": price, "index_price": price}


def test_a_body_without_a_method_takes_that_of_the_address(http: httpx.Client) -> None:
    """The address names it; a GET may carry a body too."""
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
def test_wrong_parameters_are_named(
    http: httpx.Client, method: str, params: object, reason: str, param: str
) -> None:
    """HTTP 400 and the recorded shape of error, envelope and id around it."""
    message = {"jsonrpc": "2.0", "id": 8, "method": f"public/{method}", "params": params}

    response = http.post("", json=message)

    body = response.json()
    data = {"reason": reason, "param": param}
    assert response.status_code == 400
    assert body["error"] == {"code": -32602, "message": "Invalid params", "data": data}
    assert set(body) == {"jsonrpc", "id", "error", "usIn", "usOut", "usDiff", "testnet"}


def test_an_unknown_index_is_refused_as_recorded(http: httpx.Client) -> None:
    """The body of a plain GET holds exactly the recorded keys."""
    response = http.get("/public/get_index_price", params={"index_name": "foo_bar"})

    data = {"reason": "invalid index", "param": "index_name"}
    body = response.json()
    assert response.status_code == 400
    assert body["error"] == {"code": -32602, "message": "Invalid params", "data": data}
    assert set(body) == {"jsonrpc", "error", "usIn", "usOut", "usDiff", "testnet"}


@pytest.mark.parametrize("path", ["/public/get_nothing", "/private/get_time", "/get_time", "", "/"])
def test_an_unknown_method_is_refused(http: httpx.Client, path: str) -> None:
    """Whatever the address, there is an error body in an envelope."""
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
def test_malformed_messages_are_refused(http: httpx.Client, text: bytes, code: int) -> None:
    """No JSON, no object, a batch, no version, no id, no method: an error, HTTP 400."""
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
def test_any_bytes_are_some_question(path: str, body: bytes, post: bool) -> None:  # noqa: FBT001 -- drawn
    """Reading never fails: there is a method, or a refusal, or an unknown method."""
    question = read(path, {}, body, post=post)

    assert question.refusal is None or set(question.refusal.error) >= {"code", "message"}


def test_the_clock_may_be_off_and_the_net_another() -> None:
    """Time, price and flag follow the options."""
    options = Options(seed=SEED, clock=lambda: 1_000_000_500_000, clock_offset=-2.25, testnet=True)

    with serve(options) as exchange:
        body = exact(httpx.get(f"{exchange.url}/public/get_index_price?index_name=btc_usd"))

    assert (body["usOut"], body["testnet"]) == (999_998_250_000, True)
    assert body["result"]["index_price"] == price_at(SEED, "btc_usd", 999_998)
