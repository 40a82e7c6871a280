"""A whole tracker to break: the demo's processes, the exchange's truth, and what must hold after.

Faults are real: signals, emptied queues, an exchange in trouble. Time is not waited for where a
tick can be sent by hand, as the scheduler sends it each minute.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import httpx
import psycopg
import redis
from dramatiq.errors import BrokerConnectionError

from tests.conftest import make_settings
from tests.running import Running, members, running
from tests.working import asked, order, tick, truth
from tracker.embedded.instances import demo_of
from tracker.embedded.servers import servers
from tracker.models import MINUTE, minute_of
from tracker.settings import Settings
from tracker.simulator import Served, price_at

OURS = ("web", "worker", "scheduler")
ALL = (*OURS, "redis", "postgres")

_SEED = 1  # the demo's exchange's
_PATIENCE = 150.0  # seconds; the longest pause before a restart is 30, and machines are shared
_AGAIN = 10.0  # seconds between two ticks by hand
_SHOWN = 80  # lines of the supervisor's log
_EARLIEST = timedelta(seconds=30)
_SCHEDULERS = 2.5  # seconds of a minute

Row = tuple[str, datetime, Decimal, datetime, str]

_ROWS = "SELECT ticker, created_at, price, observed_at, source FROM prices"
_MISSING = """
    SELECT ticker, minute
      FROM unnest(%(tickers)s::text[]) AS ticker
     CROSS JOIN generate_series(%(first)s::timestamptz, %(last)s, INTERVAL '1 minute') AS minute
     WHERE NOT EXISTS (
        SELECT FROM prices WHERE prices.ticker = ticker.ticker AND created_at = minute)
"""
# The hourly rollup against the rows it is made of.
_CANDLES = """
    SELECT ticker, bucket, open, high, low, close, samples, charted FROM candles_1h
"""
_CANDLES_OF_ROWS = """
    SELECT ticker, date_trunc('hour', created_at, 'UTC'), first(price, created_at), max(price),
           min(price), last(price, created_at), count(*), count(*) FILTER (WHERE source = 'chart')
      FROM prices
     GROUP BY 1, 2
"""
_UNLIKE = f"""
    (({_CANDLES}) EXCEPT ({_CANDLES_OF_ROWS})) UNION ALL (({_CANDLES_OF_ROWS}) EXCEPT ({_CANDLES}))
"""


class Tracked:
    """A running demo, and hands to break it with."""

    def __init__(self, demo: Running, settings: Settings) -> None:
        """The tracker that *demo* runs, complete as far back as its first repair reached."""
        self.demo = demo
        self.settings = settings
        self.exchange = Served("127.0.0.1", settings.simulator_port)
        self.tickers = settings.tickers
        self._true: set[Row] = set()
        self._first = datetime.now(UTC)
        self.wait_for(self._has_begun)

    def _has_begun(self) -> bool:
        """Whether all of it runs, and the first hour is there, and the present minute."""
        with suppress(psycopg.Error):
            if not (self.alive() and self.demo.asks("/health/ready")):
                return False
            query = "SELECT min(created_at) FROM prices"
            self._first = self.ask(query)[0][0] or self._first
            hour = minute_of(datetime.now(UTC)) - self._first >= 58 * MINUTE
            return hour and not self.missing()
        return False

    @contextmanager
    def chaos(self, seed: int) -> Iterator[Random]:
        """A case: whatever is broken in it, all is well at its end.

        Minutes are missing from its start on: the present one and some of the last half hour.
        """
        dice = Random(seed)
        try:
            self.forget(minutes_ago=(0, *dice.sample(range(1, 30), 3)))
            yield dice
            self.recover()
        except BaseException as error:
            error.add_note(f"seed {seed}; the log ends:\n{self.tail()}")
            raise
        finally:
            with suppress(httpx.HTTPError):
                self.forgive()

    def recover(self) -> None:
        """See that it comes back by itself, is complete after a tick, and holds only truth."""
        self.forgive()
        self.wait_for(self.alive)
        self.wait_for(lambda: self.demo.asks("/health/ready"))
        self.complete()
        self.assert_true()
        assert self.demo.asks("/health/ready")

    def complete(self) -> None:
        """Tick until no minute is missing, up to and with the present one."""
        sent = 0.0

        def whole() -> bool:
            nonlocal sent
            with suppress(psycopg.OperationalError):
                if time.monotonic() - sent > _AGAIN and self.ticked():
                    sent = time.monotonic()
                return not self.missing()
            return False

        self.wait_for(whole)

    def assert_true(self, within: psycopg.Connection | None = None) -> None:
        """Every row is what the exchange said, under its own minute, once; so is the rollup."""
        with nullcontext(within) if within else self.connected() as conn:
            rows = conn.execute(_ROWS).fetchall()
            unlike = conn.execute(_UNLIKE).fetchall()
        for row in set(rows) - self._true:
            self._assert_row(*row)
            self._true.add(row)
        assert len(rows) == len({row[:2] for row in rows})
        assert unlike == []

    def _assert_row(
        self, ticker: str, minute: datetime, price: Decimal, observed_at: datetime, source: str
    ) -> None:
        told = f"{ticker} {minute} {price} {observed_at} {source}"
        if source == "chart":
            step = 6 if minute >= self._first else 300  # seconds; of the charts 1h and 2d
            assert (observed_at, price) == (minute, average(ticker, minute, step)), told
        else:
            assert source == "poll", told
            assert minute - _EARLIEST <= observed_at < minute + MINUTE, told
            assert price == Decimal(truth(self.exchange, ticker, observed_at)), told

    def missing(self, within: psycopg.Connection | None = None) -> list[tuple[str, datetime]]:
        """Minutes without a price since the first one."""
        last = minute_of(datetime.now(UTC))
        parameters = {"tickers": list(self.tickers), "first": self._first, "last": last}
        with nullcontext(within) if within else self.connected() as conn:
            return conn.execute(_MISSING, parameters).fetchall()

    def sources(self, minute: datetime) -> dict[str, str]:
        """Where the prices of *minute* came from."""
        query = "SELECT ticker, source FROM prices WHERE created_at = %s"
        return dict(self.ask(query, minute))

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

    def tick(self, at: datetime | None = None) -> None:
        """Send a tick, of the present minute unless another is named."""
        tick(self.settings, at or minute_of(datetime.now(UTC)))

    def trouble(self, kind: str, **fields: object) -> None:
        """Put a fault of the exchange in force, for polls unless another method is named."""
        order(self.exchange, kind, **{"method": "get_index_price", **fields})

    def forgive(self) -> None:
        """End every fault of the exchange."""
        httpx.delete(f"{self.exchange.admin_url}/faults").raise_for_status()

    def mid_poll(self, delay: float = 2.0) -> None:
        """Return while polls are under way: the exchange takes *delay* seconds for each."""
        self.trouble("latency", delay=delay, calls=len(self.tickers))
        before = asked(self.exchange)
        self.wait_for(self.ticked)
        self.wait_for(lambda: asked(self.exchange) > before)

    def ticked(self) -> bool:
        """Send a tick, if the queue takes it."""
        try:
            self.tick()
        except (redis.RedisError, BrokerConnectionError):
            return False
        return True

    def pid(self, name: str) -> int | None:
        """The process of that name."""
        for server in servers(self.settings):
            if server.name == name:
                return server.pid()
        with suppress(ProcessLookupError):
            return self.demo.pid(name)
        return None

    def end(self, name: str) -> None:
        """Ask the process of that name to end."""
        self.wait_for(lambda: self.pid(name))
        os.kill(self.pid(name) or 0, signal.SIGTERM)

    def kill(self, *names: str) -> None:
        """End those as a crash would, at once; whoever is down already stays so."""
        for pid in [self.pid(name) for name in names]:
            if pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def was_killed(self, name: str) -> bool:
        """Whether the supervisor said so."""
        return f"{name} was killed by SIGKILL" in self.demo.output()

    @contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """Stop all processes of *name* for a while: they neither answer nor hang up."""
        pids = members(self.pid(name) or 0)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def alive(self) -> bool:
        """Whether every process is there, and none is stopped or dead."""
        pids = [self.pid(name) for name in (*ALL, "simulate")]
        return all(pid and state(pid) in {"R", "S", "D"} for pid in pids)

    def wait_for(self, what: Callable[[], object]) -> None:
        """Wait until *what* is true."""
        deadline = time.monotonic() + _PATIENCE
        while not what():
            assert self.demo.process.poll() is None, f"it ended:\n{self.tail()}"
            assert time.monotonic() < deadline, f"still waiting:\n{self.tail()}"
            time.sleep(0.1)

    def tail(self) -> str:
        """The end of the supervisor's log."""
        return "\n".join(self.demo.output().splitlines()[-_SHOWN:])


@contextmanager
def tracking(home: Path, **variables: str) -> Iterator[Tracked]:
    """A demo in *home* that has recorded its first hour."""
    with running("demo", home, **variables) as demo:
        changes: dict[str, object] = {
            "web_port": int(demo.env["WEB_PORT"]),
            "simulator_port": int(demo.env["SIMULATOR_PORT"]),
            "tickers": variables.get("TICKERS", "btc_usd,eth_usd"),
        }
        yield Tracked(demo, demo_of(make_settings(home, **changes)))


def average(ticker: str, minute: datetime, step: int) -> Decimal:
    """What a chart says of *minute*: six samples, evenly spread over the step that ends there."""
    second = int(minute.timestamp())
    samples = [price_at(_SEED, ticker, second - step // 6 * back) for back in range(6)]
    return (sum(samples, Decimal(0)) / 6).quantize(Decimal("1e-6"))


def state(pid: int) -> str:
    """R, S or D for a process that lives, T if it is stopped, Z if it is dead; else nothing."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def early_minute(spare: float = 12) -> datetime:
    """The present minute, or the next one if fewer than *spare* seconds are left of it.

    Its first seconds are the scheduler's: a tick by hand comes after its own.
    """
    second = time.time() % 60
    if second > 60 - spare:
        time.sleep(60 - second + _SCHEDULERS)
    elif second < _SCHEDULERS:
        time.sleep(_SCHEDULERS - second)
    return minute_of(datetime.now(UTC))
