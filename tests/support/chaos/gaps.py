"""What /prices/gaps returns, and what it should return: computed minute by minute from rows."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import psycopg

from tests.support.api import linked_url
from tracker.times import MINUTE

Gap = dict[str, object]


@dataclass(frozen=True)
class StoredMinutes:
    """The minutes of one index before *until* with a price, and with a miss."""

    since: datetime
    until: datetime
    prices: Collection[datetime]
    misses: Mapping[datetime, str]

    def gaps(self) -> list[Gap]:
        """The gaps since the first minute in the format of /prices/gaps, newest first."""
        islands: list[tuple[datetime, int, str]] = []  # first minute, length, reason
        minute = self.until - MINUTE
        while minute >= self.since:
            if minute not in self.prices:
                reason = self.misses.get(minute, "not_polled")
                continues = bool(islands) and islands[-1][::2] == (minute + MINUTE, reason)
                length = islands.pop()[1] if continues else 0
                islands.append((minute, length + 1, reason))
            minute -= MINUTE
        return [make_gap(*island) for island in islands]


def read_minutes(conn: psycopg.Connection, ticker: str, until: datetime) -> StoredMinutes:
    """The minutes of *ticker* before *until*."""
    parameters = (ticker, until)
    since = conn.execute("SELECT since FROM tickers WHERE ticker = %s", [ticker]).fetchone()
    prices = "SELECT created_at FROM prices WHERE ticker = %s AND created_at < %s"
    misses = "SELECT minute, reason FROM misses WHERE ticker = %s AND minute < %s"
    assert since, f"{ticker} was never tracked"
    return StoredMinutes(
        since[0],
        until,
        {minute for (minute,) in conn.execute(prices, parameters)},
        dict(conn.execute(misses, parameters).fetchall()),
    )


def make_gap(first_at: datetime, minutes: int, reason: str) -> Gap:
    """A gap in the format of /prices/gaps."""
    last_at = first_at + (minutes - 1) * MINUTE
    return {
        "from": _format_moment(first_at),
        "to": _format_moment(last_at),
        "minutes": minutes,
        "reason": reason,
    }


def fetch_gaps(api: httpx.Client, ticker: str, until: datetime) -> list[Gap]:
    """All gaps of *ticker* before *until* by /prices/gaps, page by page."""
    url = f"prices/gaps?ticker={ticker}&end_date={_format_moment(until)}&limit=100"
    gaps: list[Gap] = []
    while url:
        response = api.get(url).raise_for_status()
        gaps += response.json()
        url = linked_url(response)
    return gaps


def reasons_by_minute(gaps: list[Gap]) -> dict[datetime, str]:
    """The reason for each minute of *gaps*."""
    return {
        datetime.fromisoformat(str(gap["from"])) + n * MINUTE: str(gap["reason"])
        for gap in gaps
        for n in range(int(str(gap["minutes"])))
    }


def _format_moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
