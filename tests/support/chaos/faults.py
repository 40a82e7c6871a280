"""Faults of a running demo's queue, exchange and tables.

Ticks are sent by hand where a test would wait for the scheduler's next minute.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import psycopg
import redis
from dramatiq.errors import BrokerConnectionError

from tests.support.chaos.processes import ProcessControl
from tests.support.exchange import clear_faults, count_calls, inject_fault
from tests.support.recipes import RunningRecipe
from tests.support.worker import is_idle, send_tick
from tracker.settings import Settings
from tracker.simulator import Simulator
from tracker.times import MINUTE, minute_of

POLLS, CHARTS = "get_index_price", "get_index_chart_data"


class FaultInjector(ProcessControl):
    """A demo whose queue, exchange and tables can fail too."""

    def __init__(self, recipe: RunningRecipe, settings: Settings) -> None:
        """Control the tracker that *recipe* runs."""
        super().__init__(recipe, settings)
        self.exchange = Simulator("127.0.0.1", settings.simulator_port)
        self.tickers = settings.tickers

    def send_tick(self, at: datetime | None = None) -> None:
        """Send a tick for *at*; the default is the current minute."""
        send_tick(self.settings, at or minute_of(datetime.now(UTC)))

    def try_tick(self) -> bool:
        """Send a tick; False if the queue is unavailable."""
        try:
            self.send_tick()
        except (redis.RedisError, BrokerConnectionError):
            return False
        return True

    def start_slow_polls(self, delay: float = 2.0) -> None:
        """Return while polls are in progress: the exchange delays each by *delay* seconds."""
        self.inject_fault("latency", delay=delay, calls=len(self.tickers))
        before = count_calls(self.exchange)
        self.wait_until(self.try_tick)
        self.wait_until(lambda: count_calls(self.exchange) > before)

    def is_idle(self) -> bool:
        """Whether the queue is available and has no queued, delayed or unacknowledged message."""
        with suppress(redis.RedisError):
            return is_idle(self.settings)
        return False

    def inject_fault(self, kind: str, **fields: object) -> None:
        """Put a fault of the exchange in force; the default *method* is that of polls."""
        inject_fault(self.exchange, kind, **{"method": POLLS, **fields})

    def clear_faults(self) -> None:
        """End every fault of the exchange."""
        clear_faults(self.exchange)

    def sources(self, minute: datetime) -> dict[str, str]:
        """The source of each index's price of *minute*."""
        query = "SELECT ticker, source FROM prices WHERE created_at = %s"
        return dict(self.fetch_rows(query, minute))

    def is_polled(self, minute: datetime) -> bool:
        """Whether every index has a polled price of *minute*."""
        return self.sources(minute) == dict.fromkeys(self.tickers, "poll")

    def miss_reasons(self, minute: datetime) -> dict[str, str]:
        """The reason of each index's miss of *minute*."""
        query = "SELECT ticker, reason FROM misses WHERE minute = %s"
        return dict(self.fetch_rows(query, minute))

    def delete_minutes(self, minutes_ago: Sequence[int]) -> None:
        """Delete the prices of those minutes."""
        now = minute_of(datetime.now(UTC))
        minutes = [now - ago * MINUTE for ago in minutes_ago]
        with self.connect() as conn:
            conn.execute("DELETE FROM prices WHERE created_at = ANY(%s)", [minutes])

    def connect(self) -> psycopg.Connection:
        """A connection to the database."""
        return psycopg.connect(self.settings.database_dsn, autocommit=True, connect_timeout=5)

    def fetch_rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """The rows of *query*."""
        with self.connect() as conn:
            return conn.execute(query, parameters).fetchall()
