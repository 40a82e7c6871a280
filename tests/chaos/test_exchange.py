"""Chaos, the long version (`just chaos`): every fault of the exchange, each for one index."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from tests.support.chaos import Tracked, tracking
from tests.support.chaos_gaps import why_missing
from tests.support.chaos_hands import CHARTS, POLLS
from tests.support.working import asked
from tracker.times import MINUTE, minute_of

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

SEED = 20261122

# An index for each kind of fault: the kind, its fields, and the reason on record if it stays.
TROUBLES: dict[str, tuple[str, dict[str, object], str | None]] = {
    "btc_usd": ("latency", {"delay": 3.0}, None),
    "eth_usd": ("timeout", {}, "exchange_unavailable"),
    "sol_usd": ("reset", {}, "exchange_unavailable"),
    "bnb_usd": ("rate_limit", {}, "rate_limited"),
    "ltc_usd": ("maintenance", {}, "exchange_unavailable"),
    "bch_usd": ("error", {}, "exchange_unavailable"),
    "link_usd": ("html", {}, "exchange_unavailable"),
    "avax_usd": ("truncated", {}, "bad_answer"),
    "dot_usd": ("testnet", {}, "bad_answer"),
    "uni_usd": ("frozen", {}, None),
    "near_usd": ("missing", {}, "bad_answer"),
    "paxg_usd": ("wrong_status", {}, "exchange_unavailable"),
}
STAY = {ticker: reason for ticker, (*_, reason) in TROUBLES.items() if reason}
HOPELESS = {ticker: reason for ticker, reason in STAY.items() if reason == "bad_answer"}
SOURCES = {ticker: "chart" if ticker in STAY else "poll" for ticker in TROUBLES}


@pytest.fixture(scope="module")
def tracked(open_tmp: Path) -> Iterator[Tracked]:
    """A demo of twelve indexes that has recorded its first hour."""
    with tracking(open_tmp / "chaos-exchange", TICKERS=",".join(TROUBLES)) as tracked:
        yield tracked


def order_all(tracked: Tracked, *, charts: bool = False) -> None:
    """Every index has its own trouble; those that miss polls by it, with their *charts* too."""
    for ticker, (kind, fields, reason) in TROUBLES.items():
        method = None if charts and reason else POLLS
        tracked.trouble(kind, index=ticker, method=method, **fields)


def test_for_a_minute(tracked: Tracked) -> None:
    """Polled all the same, or on record with the right reason, and repaired."""
    with tracked.chaos(SEED):
        with tracked.calm(50) as minute:
            order_all(tracked)
            tracked.tick(minute)
            tracked.wait_for(lambda: len(tracked.reasons(minute)) >= len(STAY))
        time.sleep(60.1 - time.time() % 60)  # past it, only a chart can fill it

    assert tracked.reasons(minute) == STAY
    assert tracked.sources(minute) == SOURCES


def test_for_several_minutes_and_charts_too(tracked: Tracked) -> None:
    """They are missing as long as it lasts, and the API says why; then they are repaired."""
    with tracked.chaos(SEED):
        with tracked.calm(10) as minute:
            order_all(tracked, charts=True)
        minutes = [minute + n * MINUTE for n in (1, 2, 3)]
        over = minutes[-1] + MINUTE
        time.sleep((over - datetime.now(UTC)).total_seconds())
        for each in minutes:
            tracked.wait_for(lambda each=each: tracked.reasons(each) == STAY)
        for ticker in TROUBLES:
            why = why_missing(tracked.told(ticker, over))
            assert [why.get(each) for each in minutes] == [STAY.get(ticker)] * len(minutes)
        tracked.assert_explained()

    assert [tracked.reasons(each) for each in minutes] == [STAY] * len(minutes)
    assert [tracked.sources(each) for each in minutes] == [SOURCES] * len(minutes)


def test_at_the_minutes_edge(tracked: Tracked) -> None:
    """The scheduler's own tick falls into it; what can pass is polled when it is over."""
    with tracked.chaos(SEED):
        tracked.wait_for(tracked.idle)
        time.sleep(max(0, 57 - time.time() % 60))
        before = each_asked(tracked)
        order_all(tracked)
        time.sleep(60.1 - time.time() % 60)
        minute = minute_of(datetime.now(UTC))
        tracked.wait_for(lambda: all(n > before.get(t, 0) for t, n in each_asked(tracked).items()))
        tracked.wait_for(lambda: tracked.reasons(minute) == HOPELESS)
        tracked.forgive()
        passing = dict.fromkeys(TROUBLES.keys() - HOPELESS, "poll")
        tracked.wait_for(lambda: passing.items() <= tracked.sources(minute).items())

    assert tracked.reasons(minute) == HOPELESS


def each_asked(tracked: Tracked) -> dict[str, int]:
    """How often the price of each index was asked for."""
    counts = httpx.get(f"{tracked.exchange.admin_url}/counts").json()["asked"][POLLS]
    return {ticker: counts[ticker] for ticker in tracked.tickers}


def test_a_chart_in_trouble(tracked: Tracked) -> None:
    """Nothing of it is stored, and the holes are filled when it is over."""
    with tracked.chaos(SEED):
        before = tracked.missing()
        for kind in ("truncated", "testnet", "html"):
            tracked.trouble(kind, method=CHARTS)
            enough = asked(tracked.exchange, CHARTS) + len(tracked.tickers)
            tracked.tick()
            tracked.wait_for(lambda n=enough: asked(tracked.exchange, CHARTS) >= n)
            tracked.forgive()
        assert len(before) > len(tracked.missing()) > 0  # the present minute was polled
