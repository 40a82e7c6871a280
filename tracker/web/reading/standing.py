"""How the recording of each index stands, as readiness, metrics and state tell it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection

from tracker import queries
from tracker.rows import Row
from tracker.times import format_moment

STALE_AFTER = 180.0  # seconds; two polls missed, and the third is due


@dataclass(frozen=True, slots=True)
class Standing:
    """How the recording of one index stands.

    newest: the newest stored minute; None if there is none in the last month.
    age: seconds since then.
    missing: how many minutes of the last hour have no price.
    failing: why its newest poll failed; None if it did not.
    polled: the newest minute of the last hour that was polled; None if none was.
    """

    ticker: str
    newest: datetime | None
    age: float
    missing: int
    failing: str | None
    polled: datetime | None

    @property
    def row(self) -> Row:
        """As JSON has it."""
        return {
            "ticker": self.ticker,
            "created_at": self.newest and format_moment(self.newest),
            "age_seconds": round(self.age, 1) if self.newest else None,
            "missing": self.missing,
        }

    @property
    def stale(self) -> str:
        """Why it has no fresh price; nothing if it has one."""
        polled = f"; the newest poll failed: {self.failing}" if self.failing else ""
        if self.newest is None:
            return f"no price in the last month{polled}"
        if self.age > STALE_AFTER:
            old = f"the newest price is {self.age:.0f} s old, more than {STALE_AFTER:.0f} s"
            return old + polled
        return ""


async def standings(conn: AsyncConnection, tickers: Sequence[str], now: datetime) -> list[Standing]:
    """How each of *tickers* stands at *now*, in their order."""
    newest = await queries.newest_minutes(conn, tickers, now)
    hours = await queries.recent_hours(conn, tickers, now)
    return [
        Standing(ticker, minute, (now - minute).total_seconds() if minute else 0.0, *hour)
        for ticker, minute, hour in zip(tickers, newest, hours, strict=True)
    ]
