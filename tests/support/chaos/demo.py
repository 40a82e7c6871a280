"""A whole tracker to break, and what must hold after every fault."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import httpx
import psycopg

from tests.support.chaos.faults import FaultInjector
from tests.support.chaos.gaps import Gap, fetch_gaps, read_minutes
from tests.support.chaos.truth import (
    PriceRow,
    assert_rollups,
    assert_true_price,
    find_repairable_minutes,
    read_price_rows,
)
from tests.support.database import make_settings
from tests.support.recipes import RunningRecipe, start_recipe
from tracker.embedded.lock import demo_settings
from tracker.settings import Settings
from tracker.times import MINUTE, minute_of

# An index for each kind of fault that the exchange can have.
TWELVE_TICKERS = (
    "btc_usd,eth_usd,sol_usd,bnb_usd,ltc_usd,bch_usd,"
    "link_usd,avax_usd,dot_usd,uni_usd,near_usd,paxg_usd"
)

_TICK_INTERVAL = 10.0  # seconds between two ticks sent by hand
_SCHEDULER_SECONDS = 2.5  # at the start of a minute, when the scheduler sends its own tick


class ChaosDemo(FaultInjector):
    """A running demo that is broken, and must recover by itself after each case."""

    def __init__(self, recipe: RunningRecipe, settings: Settings) -> None:
        """Wait until the first hour is complete, as far back as the first repair reached."""
        super().__init__(recipe, settings)
        self._verified: set[PriceRow] = set()
        self._first_at = self._complete_since = datetime.now(UTC)
        self.wait_until(self._has_first_hour)

    def _has_first_hour(self) -> bool:
        """Whether every process runs, and the last hour and the current minute are stored."""
        with suppress(psycopg.Error):
            if not (self.is_running() and self.recipe.responds("/health/ready")):
                return False
            query = "SELECT min(created_at) FROM prices GROUP BY ticker"
            firsts = [first for (first,) in self.fetch_rows(query)]
            if len(firsts) < len(self.tickers):
                return False
            # A chart that is requested at the end of a minute may have lost its oldest point.
            self._first_at, self._complete_since = min(firsts), max(firsts)
            length = minute_of(datetime.now(UTC)) - self._complete_since
            return length >= 57 * MINUTE and not self.missing_minutes()
        return False

    @contextmanager
    def chaos(self, seed: int) -> Iterator[Random]:
        """A case: it may break anything in the block; the demo must recover afterwards.

        At its start the current minute and some of the last half hour are deleted.
        """
        rng = Random(seed)
        try:
            self.delete_minutes(minutes_ago=(0, *rng.sample(range(1, 30), 3)))
            yield rng
            self.assert_recovery()
        except BaseException as error:
            error.add_note(f"seed {seed}; the log ends:\n{self.log_tail()}")
            raise
        finally:
            with suppress(httpx.HTTPError):
                self.clear_faults()

    @contextmanager
    def paused_scheduler(self, spare: float = 20) -> Iterator[datetime]:
        """The current minute, without prices: the scheduler is paused and the queue empty.

        The supervisor, which would restart it, is paused too.
        """
        self.wait_until(self.is_running)
        with self.pause_supervisor(), self.pause("scheduler"):
            self.wait_until(self.is_idle)
            minute = minute_after_tick(spare)
            self.delete_minutes([0])
            yield minute

    def assert_recovery(self) -> None:
        """Assert that all processes run again and a tick completes the data, which are true."""
        self.clear_faults()
        self.wait_until(self.is_running)
        self.wait_until(lambda: self.recipe.responds("/health/ready"))
        self.fill_gaps()
        self.assert_true_prices()
        self.assert_gaps_match()
        assert self.recipe.responds("/health/ready")

    def fill_gaps(self) -> None:
        """Send ticks until every minute that the exchange can supply is stored."""
        sent_at = 0.0

        def is_complete() -> bool:
            nonlocal sent_at
            with suppress(psycopg.OperationalError):
                if time.monotonic() - sent_at > _TICK_INTERVAL and self.try_tick():
                    sent_at = time.monotonic()
                return not self.missing_minutes()
            return False

        self.wait_until(is_complete)

    def assert_true_prices(self, within: psycopg.Connection | None = None) -> None:
        """Every minute has one row at most, with the exchange's price; rollups match the rows."""
        with nullcontext(within) if within else self.connect() as conn:
            rows = read_price_rows(conn)
            assert_rollups(conn)
        for row in set(rows) - self._verified:
            assert_true_price(row, self.exchange, self._first_at)
            self._verified.add(row)
        assert len(rows) == len({(row.ticker, row.minute) for row in rows})

    def assert_gaps_match(self, within: psycopg.Connection | None = None) -> None:
        """/prices/gaps lists exactly the minutes since the first one that have no row."""
        until = minute_of(datetime.now(UTC))
        with nullcontext(within) if within else self.connect() as conn:
            for ticker in self.tickers:
                before = None
                while before != (before := read_minutes(conn, ticker, until)):
                    gaps = self.fetch_gaps(ticker, until)  # again, if a repair stored rows
                assert gaps == before.gaps()

    def fetch_gaps(self, ticker: str, until: datetime | None = None) -> list[Gap]:
        """The gaps of *ticker* by /prices/gaps."""
        return fetch_gaps(self.recipe.api, ticker, until or minute_of(datetime.now(UTC)))

    def missing_minutes(
        self, within: psycopg.Connection | None = None
    ) -> list[tuple[str, datetime]]:
        """Index and minute without a price where the exchange can supply one."""
        until = minute_of(datetime.now(UTC))
        with nullcontext(within) if within else self.connect() as conn:
            return find_repairable_minutes(conn, self.tickers, self._complete_since, until)


@contextmanager
def run_chaos_demo(folder: Path, **variables: str) -> Iterator[ChaosDemo]:
    """Run a demo in *folder* until it has recorded its first hour."""
    folder.mkdir(exist_ok=True)
    home = folder / "home"
    with start_recipe("demo", home, **variables) as recipe:
        changes: dict[str, object] = {
            "web_port": int(recipe.env["WEB_PORT"]),
            "simulator_port": int(recipe.env["SIMULATOR_PORT"]),
            "tickers": variables.get("TICKERS", "btc_usd,eth_usd"),
        }
        yield ChaosDemo(recipe, demo_settings(make_settings(home, **changes)))


def minute_after_tick(spare: float = 20) -> datetime:
    """The current minute after the scheduler's own tick, with *spare* seconds left at least."""
    second = time.time() % 60
    if second > 60 - spare:
        time.sleep(60 - second + _SCHEDULER_SECONDS)
    elif second < _SCHEDULER_SECONDS:
        time.sleep(_SCHEDULER_SECONDS - second)
    return minute_of(datetime.now(UTC))
