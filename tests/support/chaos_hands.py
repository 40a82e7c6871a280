"""Hands to break a running demo with, and to look into its tables.

Faults are real. Time is not waited for where a tick can be sent by hand, as the scheduler sends it
each minute.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

import httpx
import psycopg
import redis
from dramatiq.errors import BrokerConnectionError

from tests.support.chaos_processes import Processes
from tests.support.running import Running
from tests.support.working import asked, idle, order, tick
from tracker.settings import Settings
from tracker.simulator import Served
from tracker.times import MINUTE, minute_of

POLLS, CHARTS = "get_index_price", "get_index_chart_data"


class Hands(Processes):
    """What can be done to a demo's queue, exchange and tables too."""

    def __init__(self, demo: Running, settings: Settings) -> None:
        """Hands for the tracker that *demo* runs."""
        super().__init__(demo, settings)
        self.exchange = Served("127.0.0.1", settings.simulator_port)
        self.tickers = settings.tickers

    def tick(self, at: datetime | None = None) -> None:
        """Send a tick, of the present minute unless another is named."""
        tick(self.settings, at or minute_of(datetime.now(UTC)))

    def ticked(self) -> bool:
        """Send a tick, if the queue takes it."""
        try:
            self.tick()
        except (redis.RedisError, BrokerConnectionError):
            return False
        return True

    def mid_poll(self, delay: float = 2.0) -> None:
        """Return while polls are under way: the exchange takes *delay* seconds for each."""
        self.trouble("latency", delay=delay, calls=len(self.tickers))
        before = asked(self.exchange)
        self.wait_for(self.ticked)
        self.wait_for(lambda: asked(self.exchange) > before)

    def idle(self) -> bool:
        """Whether the queue is there, and holds no message that waits, is delayed or in flight."""
        with suppress(redis.RedisError):
            return idle(self.settings)
        return False

    def trouble(self, kind: str, **fields: object) -> None:
        """Put a fault of the exchange in force, for polls unless another method is named."""
        order(self.exchange, kind, **{"method": POLLS, **fields})

    def forgive(self) -> None:
        """End every fault of the exchange."""
        httpx.delete(f"{self.exchange.admin_url}/faults").raise_for_status()

    def sources(self, minute: datetime) -> dict[str, str]:
        """Where the prices of *minute* came from."""
        query = "SELECT ticker, source FROM prices WHERE created_at = %s"
        return dict(self.ask(query, minute))

    def polled(self, minute: datetime) -> bool:
        """Whether all prices of *minute* were polled."""
        return self.sources(minute) == dict.fromkeys(self.tickers, "poll")

    def reasons(self, minute: datetime) -> dict[str, str]:
        """Why *minute* could not be polled."""
        return dict(self.ask("SELECT ticker, reason FROM misses WHERE minute = %s", minute))

    def forget(self, minutes_ago: Sequence[int]) -> None:
        """Remove the prices of those minutes."""
        now = minute_of(datetime.now(UTC))
        minutes = [now - ago * MINUTE for ago in minutes_ago]
        with self.connected() as conn:
            conn.execute("DELETE FROM prices WHERE created_at = ANY(%s)", [minutes])

    def connected(self) -> psycopg.Connection:
        """A connection to the database."""
        return psycopg.connect(self.settings.database_dsn, autocommit=True, connect_timeout=5)

    def ask(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        """The rows of *query*."""
        with self.connected() as conn:
            return conn.execute(query, parameters).fetchall()
