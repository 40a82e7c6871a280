"""A whole tracker to break: the demo's processes, and what must hold whatever was done to them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import httpx
import psycopg

from tests.support import chaos_gaps, chaos_truth
from tests.support.chaos_hands import Hands
from tests.support.running import Running, running
from tests.support.servers import make_settings
from tracker.embedded.home import demo_settings
from tracker.settings import Settings
from tracker.times import MINUTE, minute_of

# An index for each kind of fault that the exchange knows.
TWELVE = (
    "btc_usd,eth_usd,sol_usd,bnb_usd,ltc_usd,bch_usd,"
    "link_usd,avax_usd,dot_usd,uni_usd,near_usd,paxg_usd"
)

_AGAIN = 10.0  # seconds between two ticks by hand
_SCHEDULERS = 2.5  # seconds of a minute


class Tracked(Hands):
    """A running demo, to be broken, and to be well again after each case."""

    def __init__(self, demo: Running, settings: Settings) -> None:
        """The tracker that *demo* runs, complete as far back as its first repair reached."""
        super().__init__(demo, settings)
        self._true: set[chaos_truth.Row] = set()
        self._first = self._whole = datetime.now(UTC)
        self.wait_for(self._has_begun)

    def _has_begun(self) -> bool:
        """Whether all of it runs, and the first hour is there, and the present minute."""
        with suppress(psycopg.Error):
            if not (self.alive() and self.demo.asks("/health/ready")):
                return False
            firsts = [
                at for (at,) in self.ask("SELECT min(created_at) FROM prices GROUP BY ticker")
            ]
            if len(firsts) < len(self.tickers):
                return False
            # A chart that is asked for as a minute ends may have lost its oldest point meanwhile.
            self._first, self._whole = min(firsts), max(firsts)
            hour = minute_of(datetime.now(UTC)) - self._whole >= 57 * MINUTE
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

    @contextmanager
    def calm(self, spare: float = 20) -> Iterator[datetime]:
        """The present minute, unpolled, for as long as no tick is sent by hand.

        The scheduler stands still, and nothing is queued that might store it.
        """
        self.wait_for(self.alive)
        with self.paused("scheduler"):
            self.wait_for(self.idle)
            minute = early_minute(spare)
            self.forget([0])
            yield minute

    def recover(self) -> None:
        """See that it comes back by itself, is complete after a tick, and tells only truth."""
        self.forgive()
        self.wait_for(self.alive)
        self.wait_for(lambda: self.demo.asks("/health/ready"))
        self.complete()
        self.assert_true()
        self.assert_explained()
        assert self.demo.asks("/health/ready")

    def complete(self) -> None:
        """Tick until no minute is missing that the exchange has, up to the present one."""
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
            rows = chaos_truth.rows(conn)
            chaos_truth.assert_rollup(conn)
        for row in set(rows) - self._true:
            chaos_truth.assert_row(row, self.exchange, self._first)
            self._true.add(row)
        assert len(rows) == len({(row.ticker, row.minute) for row in rows})

    def assert_explained(self, within: psycopg.Connection | None = None) -> None:
        """Rows and what /prices/gaps says are, together, each minute since the first one, once."""
        until = minute_of(datetime.now(UTC))
        with nullcontext(within) if within else self.connected() as conn:
            for ticker in self.tickers:
                before = None
                while before != (before := chaos_gaps.stored(conn, ticker, until)):
                    told = self.told(ticker, until)  # again, if repair was at it meanwhile
                assert told == before.gaps()

    def told(self, ticker: str, until: datetime | None = None) -> list[chaos_gaps.Gap]:
        """What /prices/gaps says of *ticker*."""
        until = until or minute_of(datetime.now(UTC))
        return chaos_gaps.told(self.demo.api, ticker, until)

    def missing(self, within: psycopg.Connection | None = None) -> list[tuple[str, datetime]]:
        """Minutes without a price that the exchange can supply, up to the present one."""
        last = minute_of(datetime.now(UTC))
        with nullcontext(within) if within else self.connected() as conn:
            return chaos_truth.suppliable(conn, self.tickers, self._whole, last)


@contextmanager
def tracking(folder: Path, **variables: str) -> Iterator[Tracked]:
    """A demo in *folder* that has recorded its first hour."""
    folder.mkdir(exist_ok=True)
    home = folder / "home"
    with running("demo", home, **variables) as demo:
        changes: dict[str, object] = {
            "web_port": int(demo.env["WEB_PORT"]),
            "simulator_port": int(demo.env["SIMULATOR_PORT"]),
            "tickers": variables.get("TICKERS", "btc_usd,eth_usd"),
        }
        yield Tracked(demo, demo_settings(make_settings(home, **changes)))


def early_minute(spare: float = 20) -> datetime:
    """The present minute, or the next one if fewer than *spare* seconds are left of it.

    Its first seconds are the scheduler's: a tick by hand comes after its own.
    """
    second = time.time() % 60
    if second > 60 - spare:
        time.sleep(60 - second + _SCHEDULERS)
    elif second < _SCHEDULERS:
        time.sleep(_SCHEDULERS - second)
    return minute_of(datetime.now(UTC))
