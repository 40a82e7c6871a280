"""The simulated exchange: its faults, its call counts, and the prices that it reports."""

from datetime import datetime
from decimal import Decimal

import httpx
import psycopg

from tracker.recorder.deribit import DeribitClient
from tracker.simulator import Simulator
from tracker.times import minute_of

SEED = 1  # of the prices of every simulated exchange


def inject_fault(exchange: Simulator, kind: str, **fields: object) -> None:
    """Put a fault in force."""
    url = f"{exchange.admin_url}/faults"
    httpx.post(url, json={"kind": kind, **fields}).raise_for_status()


def clear_faults(exchange: Simulator) -> None:
    """End every fault."""
    httpx.delete(f"{exchange.admin_url}/faults").raise_for_status()


def count_calls(exchange: Simulator, method: str = "get_index_price") -> int:
    """Calls of *method* until now, for all indexes."""
    counts = httpx.get(f"{exchange.admin_url}/counts").json()["asked"]
    return sum(counts.get(method, {}).values())


def fetch_true_price(exchange: Simulator, ticker: str, at: datetime) -> str:
    """The simulator's price of *ticker* at that moment."""
    params = {"index": ticker, "at": at.isoformat()}
    return str(httpx.get(f"{exchange.admin_url}/truth", params=params).json()["price"])


def fetch_btc(client: DeribitClient, within: float = 60) -> Decimal:
    """The price of btc_usd that *client* gets within that many seconds."""
    return client.fetch_price("btc_usd", within).price


def assert_true_polls(conn: psycopg.Connection, exchange: Simulator) -> None:
    """Every polled row has the exchange's price, observed in the row's own minute."""
    query = "SELECT ticker, price, created_at, observed_at FROM prices WHERE source = 'poll'"
    for ticker, price, minute, observed_at in conn.execute(query):
        assert minute_of(observed_at) == minute
        assert f"{price:f}" == fetch_true_price(exchange, ticker, observed_at)
