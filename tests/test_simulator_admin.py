"""The admin endpoints: counts, served prices, truth, and what they refuse."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from tracker.simulator import Options, price_at, serve
from tracker.simulator.ledger import KEPT, Ledger

NOON = 1_790_683_200


@pytest.fixture(scope="module")
def shared() -> Iterator[str]:
    """The address of one stand-in for the tests that leave no trace."""
    with serve(Options(seed=5)) as exchange:
        yield exchange.root


@pytest.fixture(scope="module")
def http(shared: str) -> Iterator[httpx.Client]:
    """A client of it."""
    with httpx.Client(base_url=shared) as client:
        yield client


def culprits(answer: httpx.Response) -> list[str]:
    """Which names a 422 complains about; each with a reason."""
    assert answer.status_code == 422, answer.text
    errors: list[dict[str, str]] = answer.json()["errors"]
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
def test_a_wrong_fault_names_its_culprits(
    http: httpx.Client, fields: object, names: list[str]
) -> None:
    """422, and nothing is in force afterwards."""
    answer = http.post("/admin/faults", json=fields)

    assert culprits(answer) == names
    assert http.get("/admin/faults").json() == []


def test_a_fault_that_is_no_json(http: httpx.Client) -> None:
    """The body is the culprit."""
    assert culprits(http.post("/admin/faults", content=b"{kind")) == ["body"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("second=5", ["index"]),
        ("index=nope_usd&second=5", ["index"]),
        ("index=btc_usd", ["second"]),
        ("index=btc_usd&second=5&at=1970-01-01T00:00:05Z", ["second"]),
        ("index=btc_usd&second=5.5", ["second"]),
        ("index=btc_usd&second=1e400", ["second"]),
        (f"index=btc_usd&second={10**30}", ["second"]),
        ("index=btc_usd&at=noon", ["at"]),
        ("index=btc_usd&at=2026-09-29T12:00:00", ["at"]),
        ("index=btc_usd&second=5&when=now", ["when"]),
    ],
)
def test_a_wrong_question_for_the_truth(http: httpx.Client, query: str, names: list[str]) -> None:
    """422 naming the parameter."""
    assert culprits(http.get(f"/admin/truth?{query}")) == names


def test_a_wrong_question_for_served_prices(http: httpx.Client) -> None:
    """An index is needed, a known one, and nothing else."""
    assert culprits(http.get("/admin/served")) == ["index"]
    assert culprits(http.get("/admin/served?index=nope_usd")) == ["index"]
    assert culprits(http.get("/admin/served?index=btc_usd&limit=5")) == ["limit"]


@pytest.mark.parametrize(
    "when",
    [
        {"second": str(NOON)},
        {"at": "2026-09-29T12:00:00Z"},
        {"at": "2026-09-29T14:00:00.999+02:00"},
    ],
)
def test_the_truth_at_any_second(http: httpx.Client, when: dict[str, str]) -> None:
    """By UNIX seconds or RFC 3339, the price that the pure function gives."""
    answer = http.get("/admin/truth", params={"index": "shib_usd", **when}).json()

    price = f"{price_at(5, 'shib_usd', NOON):f}"
    assert answer == {"index": "shib_usd", "second": NOON, "price": price}


def test_the_truth_before_there_was_a_clock(http: httpx.Client) -> None:
    """Seconds before 1970 have a price too."""
    answer = http.get("/admin/truth?index=btc_usd&second=-86400").json()

    assert Decimal(answer["price"]) == price_at(5, "btc_usd", -86_400)


def test_no_such_fault(http: httpx.Client) -> None:
    """404 for an id that was never given."""
    answer = http.delete("/admin/faults/12345")

    assert answer.status_code == 404
    assert answer.json() == {"errors": [{"name": "id", "reason": "no such fault: 12345"}]}
    assert http.delete("/admin/faults/0").status_code == 404


@pytest.fixture
def fresh() -> Iterator[httpx.Client]:
    """A client of a stand-in of its own."""
    with (
        serve(Options(clock=lambda: NOON * 1_000_000)) as exchange,
        httpx.Client(base_url=exchange.root) as client,
    ):
        yield client


def price(http: httpx.Client, index: str) -> Any:
    """A plain call."""
    return http.get(f"/api/v2/public/get_index_price?index_name={index}")


def test_counts(fresh: httpx.Client) -> None:
    """Calls by method and index as they arrive, answers by what became of them."""
    for index in ("btc_usd", "btc_usd", "eth_usd", "nope_usd"):
        price(fresh, index)
    fresh.post("/admin/faults", json={"kind": "maintenance", "calls": 1})
    fresh.get("/api/v2/public/get_time")
    fresh.get("/api/v2/public/no_such_method")

    assert fresh.get("/admin/counts").json() == {
        "total": 6,
        "asked": {
            "get_index_price": {"btc_usd": 2, "eth_usd": 1, "unknown": 1},
            "get_time": {"-": 1},
            "unknown": {"-": 1},
        },
        "answers": {"ok": 3, "refused": 2, "maintenance": 1},
    }


def test_served_prices(fresh: httpx.Client) -> None:
    """Those a client could believe, oldest first, each with its moment."""
    price(fresh, "btc_usd")
    for kind in ("testnet", "missing", "truncated", "error", "wrong_status"):
        fresh.post("/admin/faults", json={"kind": kind, "calls": 1})
        price(fresh, "btc_usd")

    entry = {"usOut": NOON * 1_000_000, "price": f"{price_at(1, 'btc_usd', NOON):f}"}
    assert fresh.get("/admin/served?index=btc_usd").json() == [entry, entry]
    assert fresh.get("/admin/served?index=eth_usd").json() == []


def test_served_prices_are_bounded() -> None:
    """The newest ten thousand of an index are kept."""
    ledger = Ledger()
    for at in range(KEPT + 5):
        ledger.serve("btc_usd", at, Decimal(at))

    kept = ledger.served("btc_usd")

    assert (len(kept), kept[0]["usOut"], kept[-1]["usOut"]) == (KEPT, 5, KEPT + 4)


def test_faults_are_listed(fresh: httpx.Client) -> None:
    """Those in force, in the order they came, with the calls that are left."""
    fresh.post("/admin/faults", json={"kind": "rate_limit", "calls": 2, "index": "btc_usd"})
    fresh.post("/admin/faults", json={"kind": "latency", "delay": 0.5, "seconds": 3})
    price(fresh, "btc_usd")

    began = NOON * 1_000_000
    assert fresh.get("/admin/faults").json() == [
        {"id": 1, "kind": "rate_limit", "index": "btc_usd", "calls": 2, "began": began, "left": 1},
        {"id": 2, "kind": "latency", "seconds": 3, "delay": 0.5, "began": began, "left": None},
    ]
    assert fresh.delete("/admin/faults").status_code == 204
    assert fresh.get("/admin/faults").json() == []
