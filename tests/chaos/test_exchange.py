"""Chaos, the long version (`just chaos`): every fault of the exchange, each for one index."""

import time
from datetime import UTC, datetime

import httpx
import pytest

from tests.support.chaos.demo import ChaosDemo
from tests.support.chaos.faults import CHARTS, POLLS
from tests.support.chaos.gaps import reasons_by_minute
from tests.support.exchange import count_calls
from tracker.times import MINUTE, minute_of

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

SEED = 20261122

# An index for each kind of fault: the kind, its fields, and the reason on record if it stays.
FAULTS: dict[str, tuple[str, dict[str, object], str | None]] = {
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
MISSED = {ticker: reason for ticker, (*_, reason) in FAULTS.items() if reason}
TICKERS = ",".join(FAULTS)
REJECTED = {ticker: reason for ticker, reason in MISSED.items() if reason == "bad_answer"}
SOURCES = {ticker: "chart" if ticker in MISSED else "poll" for ticker in FAULTS}


def inject_all(demo: ChaosDemo, *, charts: bool = False) -> None:
    """Inject each index's own fault; with *charts*, into its charts too if its polls fail."""
    for ticker, (kind, fields, reason) in FAULTS.items():
        method = None if charts and reason else POLLS
        demo.inject_fault(kind, index=ticker, method=method, **fields)


def test_faults_of_one_minute_are_retried_or_repaired(demo: ChaosDemo) -> None:
    with demo.chaos(SEED):
        with demo.paused_scheduler(50) as minute:
            inject_all(demo)
            demo.send_tick(minute)
            demo.wait_until(lambda: len(demo.miss_reasons(minute)) >= len(MISSED))
        time.sleep(60.1 - time.time() % 60)  # past it, only a chart can fill it

    assert demo.miss_reasons(minute) == MISSED
    assert demo.sources(minute) == SOURCES


def test_faults_of_several_minutes_are_reported_as_gaps_and_repaired(demo: ChaosDemo) -> None:
    with demo.chaos(SEED):
        with demo.paused_scheduler(10) as minute:
            inject_all(demo, charts=True)
        minutes = [minute + n * MINUTE for n in (1, 2, 3)]
        end = minutes[-1] + MINUTE
        time.sleep((end - datetime.now(UTC)).total_seconds())
        for each in minutes:
            demo.wait_until(lambda each=each: demo.miss_reasons(each) == MISSED)
        for ticker in FAULTS:
            reasons = reasons_by_minute(demo.fetch_gaps(ticker, end))
            assert [reasons.get(each) for each in minutes] == [MISSED.get(ticker)] * len(minutes)
        demo.assert_gaps_match()

    assert [demo.miss_reasons(each) for each in minutes] == [MISSED] * len(minutes)
    assert [demo.sources(each) for each in minutes] == [SOURCES] * len(minutes)


def test_faults_at_a_minute_boundary_are_retried_after_it(demo: ChaosDemo) -> None:
    with demo.chaos(SEED):
        demo.wait_until(demo.is_idle)
        time.sleep(max(0, 57 - time.time() % 60))
        before = calls_by_ticker(demo)
        inject_all(demo)
        time.sleep(60.1 - time.time() % 60)
        minute = minute_of(datetime.now(UTC))
        demo.wait_until(lambda: all(n > before.get(t, 0) for t, n in calls_by_ticker(demo).items()))
        demo.wait_until(lambda: demo.miss_reasons(minute) == REJECTED)
        demo.clear_faults()
        passing = dict.fromkeys(FAULTS.keys() - REJECTED, "poll")
        demo.wait_until(lambda: passing.items() <= demo.sources(minute).items())

    assert demo.miss_reasons(minute) == REJECTED


def calls_by_ticker(demo: ChaosDemo) -> dict[str, int]:
    """The number of price requests for each index."""
    counts = httpx.get(f"{demo.exchange.admin_url}/counts").json()["asked"][POLLS]
    return {ticker: counts[ticker] for ticker in demo.tickers}


def test_invalid_charts_are_not_stored(demo: ChaosDemo) -> None:
    with demo.chaos(SEED):
        before = demo.missing_minutes()
        for kind in ("truncated", "testnet", "html"):
            demo.inject_fault(kind, method=CHARTS)
            enough = count_calls(demo.exchange, CHARTS) + len(demo.tickers)
            demo.send_tick()
            demo.wait_until(lambda n=enough: count_calls(demo.exchange, CHARTS) >= n)
            demo.clear_faults()
        assert len(before) > len(demo.missing_minutes()) > 0  # the present minute was polled
