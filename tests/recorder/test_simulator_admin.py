"""The admin endpoints: counts, served prices, true prices, and their errors."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from tracker.simulator import Options, price_at, running_simulator
from tracker.simulator.exchange import MAX_SERVED_PRICES, Exchange

NOON = 1_790_683_200


@pytest.fixture(scope="module")
def shared() -> Iterator[str]:
    """The URL of one simulator for the tests that do not change its state."""
    with running_simulator(Options(seed=5)) as exchange:
        yield exchange.root


@pytest.fixture(scope="module")
def http(shared: str) -> Iterator[httpx.Client]:
    """Its client."""
    with httpx.Client(base_url=shared) as client:
        yield client


def invalid_names(response: httpx.Response) -> list[str]:
    """The names in a 422 response; each has a reason."""
    assert response.status_code == 422, response.text
    errors: list[dict[str, str]] = response.json()["errors"]
    assert all(each["reason"] for each in errors)
    return [each["name"] for each in errors]


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, ["kind"]),
        ({"kind": "flood"}, ["kind"]),
        ({"kind": 5}, ["kind"]),
        ({"kind": "latency"}, ["delay"]),
        ({"kind": "latency", "delay": 0}, ["delay"]),
        ({"kind": "latency", "delay": "2"}, ["delay"]),
        ({"kind": "reset", "delay": 2}, ["delay"]),
        ({"kind": "reset", "index": "nope_usd", "method": "nope"}, ["index", "method"]),
        ({"kind": "reset", "index": ["btc_usd"]}, ["index"]),
        ({"kind": "reset", "seconds": -1}, ["seconds"]),
        ({"kind": "reset", "seconds": True}, ["seconds"]),
        ({"kind": "reset", "calls": 0}, ["calls"]),
        ({"kind": "reset", "calls": 1.5}, ["calls"]),
        ({"kind": "rate_limit", "retry_after": 0.5}, ["retry_after"]),
        ({"kind": "error", "code": "10028"}, ["code"]),
        ({"kind": "html", "code": 204}, ["code"]),
        ({"kind": "wrong_status", "code": 700}, ["code"]),
        ({"kind": "frozen", "colour": "blue"}, ["colour"]),
        ([], ["body"]),
        ("kind", ["body"]),
    ],
)
def test_invalid_fault_names_its_fields(
    http: httpx.Client, fields: object, names: list[str]
) -> None:
    """No fault is injected."""
    response = http.post("/admin/faults", json=fields)

    assert invalid_names(response) == names
    assert http.get("/admin/faults").json() == []


def test_fault_that_is_not_json_is_rejected(http: httpx.Client) -> None:
    assert invalid_names(http.post("/admin/faults", content=b"{kind")) == ["body"]


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("truth?second=5", ["index"]),
        ("truth?index=nope_usd&second=5", ["index"]),
        ("truth?index=btc_usd", ["second"]),
        ("truth?index=btc_usd&second=5&at=1970-01-01T00:00:05Z", ["second"]),
        ("truth?index=btc_usd&second=5.5", ["second"]),
        ("truth?index=btc_usd&second=1e400", ["second"]),
        (f"truth?index=btc_usd&second={10**30}", ["second"]),
        ("truth?index=btc_usd&at=noon", ["at"]),
        ("truth?index=btc_usd&at=2026-09-29T12:00:00", ["at"]),
        ("truth?index=btc_usd&second=5&when=now", ["when"]),
        ("served", ["index"]),
        ("served?index=nope_usd", ["index"]),
        ("served?index=btc_usd&limit=5", ["limit"]),
    ],
)
def test_invalid_parameters_are_named(http: httpx.Client, path: str, names: list[str]) -> None:
    assert invalid_names(http.get(f"/admin/{path}")) == names


@pytest.mark.parametrize(
    "when",
    [
        {"second": str(NOON)},
        {"at": "2026-09-29T12:00:00Z"},
        {"at": "2026-09-29T14:00:00.999+02:00"},
    ],
)
def test_truth_accepts_unix_seconds_and_rfc_3339(http: httpx.Client, when: dict[str, str]) -> None:
    response = http.get("/admin/truth", params={"index": "shib_usd", **when}).json()

    price = f"{price_at(5, 'shib_usd', NOON):f}"
    assert response == {"index": "shib_usd", "second": NOON, "price": price}


def test_truth_before_1970(http: httpx.Client) -> None:
    response = http.get("/admin/truth?index=btc_usd&second=-86400").json()

    assert Decimal(response["price"]) == price_at(5, "btc_usd", -86_400)


def test_unknown_fault_id_is_not_found(http: httpx.Client) -> None:
    response = http.delete("/admin/faults/12345")

    assert response.status_code == 404
    assert response.json() == {"errors": [{"name": "id", "reason": "no such fault: 12345"}]}
    assert http.delete("/admin/faults/0").status_code == 404


@pytest.fixture
def own() -> Iterator[httpx.Client]:
    """A client of its own simulator."""
    with (
        running_simulator(Options(clock=lambda: NOON * 1_000_000)) as exchange,
        httpx.Client(base_url=exchange.root) as client,
    ):
        yield client


def price(http: httpx.Client, index: str) -> Any:
    """The response to a plain call."""
    return http.get(f"/api/v2/public/get_index_price?index_name={index}")


def test_counts_have_method_index_and_outcome(own: httpx.Client) -> None:
    for index in ("btc_usd", "btc_usd", "eth_usd", "nope_usd"):
        price(own, index)
    own.post("/admin/faults", json={"kind": "maintenance", "calls": 1})
    own.get("/api/v2/public/get_time")
    own.get("/api/v2/public/no_such_method")

    assert own.get("/admin/counts").json() == {
        "total": 6,
        "asked": {
            "get_index_price": {"btc_usd": 2, "eth_usd": 1, "unknown": 1},
            "get_time": {"-": 1},
            "unknown": {"-": 1},
        },
        "answers": {"ok": 3, "refused": 2, "maintenance": 1},
    }


def test_served_prices_are_from_valid_responses(own: httpx.Client) -> None:
    """Oldest first, with usOut."""
    price(own, "btc_usd")
    for kind in ("testnet", "missing", "truncated", "error", "wrong_status"):
        own.post("/admin/faults", json={"kind": kind, "calls": 1})
        price(own, "btc_usd")

    entry = {"usOut": NOON * 1_000_000, "price": f"{price_at(1, 'btc_usd', NOON):f}"}
    assert own.get("/admin/served?index=btc_usd").json() == [entry, entry]
    assert own.get("/admin/served?index=eth_usd").json() == []


def test_served_prices_are_bounded() -> None:
    prices = Exchange(Options()).served_prices["btc_usd"]
    prices.extend((at, Decimal(at)) for at in range(MAX_SERVED_PRICES + 5))

    assert (len(prices), prices[0][0]) == (MAX_SERVED_PRICES, 5)


def test_active_faults_are_listed(own: httpx.Client) -> None:
    """In order of injection, with the calls that are left."""
    own.post("/admin/faults", json={"kind": "rate_limit", "calls": 2, "index": "btc_usd"})
    own.post("/admin/faults", json={"kind": "latency", "delay": 0.5, "seconds": 3})
    price(own, "btc_usd")

    began = NOON * 1_000_000
    assert own.get("/admin/faults").json() == [
        {"id": 1, "kind": "rate_limit", "index": "btc_usd", "calls": 2, "began": began, "left": 1},
        {"id": 2, "kind": "latency", "seconds": 3, "delay": 0.5, "began": began, "left": None},
    ]
    assert own.delete("/admin/faults").status_code == 204
    assert own.get("/admin/faults").json() == []
