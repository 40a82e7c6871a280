"""What /prices/gaps says, and what it should say: worked out minute by minute from the tables."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import psycopg

from tests.support.serving import linked_url
from tracker.times import MINUTE

Gap = dict[str, object]


@dataclass(frozen=True)
class Stored:
    """What the tables know of one index before *until*."""

    since: datetime
    until: datetime
    minutes: Collection[datetime]
    misses: Mapping[datetime, str]

    def gaps(self) -> list[Gap]:
        """Every minute since the first one that is not stored, as /prices/gaps should show it."""
        runs: list[tuple[datetime, int, str]] = []  # first minute, how many, why
        minute = self.until - MINUTE
        while minute >= self.since:
            if minute not in self.minutes:
                reason = self.misses.get(minute, "not_polled")
                one_more = bool(runs) and (runs[-1][0], runs[-1][2]) == (minute + MINUTE, reason)
                count = runs.pop()[1] if one_more else 0
                runs.append((minute, count + 1, reason))
            minute -= MINUTE
        return [gap(*run) for run in runs]


def stored(conn: psycopg.Connection, ticker: str, until: datetime) -> Stored:
    """What there is of *ticker* before *until*."""
    asked = (ticker, until)
    since = conn.execute("SELECT since FROM tickers WHERE ticker = %s", [ticker]).fetchone()
    prices = "SELECT created_at FROM prices WHERE ticker = %s AND created_at < %s"
    misses = "SELECT minute, reason FROM misses WHERE ticker = %s AND minute < %s"
    assert since, f"{ticker} was never tracked"
    return Stored(
        since[0],
        until,
        {minute for (minute,) in conn.execute(prices, asked)},
        dict(conn.execute(misses, asked).fetchall()),
    )


def gap(first: datetime, minutes: int, reason: str) -> Gap:
    """As the API shows it."""
    last = first + (minutes - 1) * MINUTE
    return {"from": _text(first), "to": _text(last), "minutes": minutes, "reason": reason}


def told(api: httpx.Client, ticker: str, until: datetime) -> list[Gap]:
    """What /prices/gaps says of all minutes before *until*, page by page."""
    url = f"prices/gaps?ticker={ticker}&end_date={_text(until)}&limit=100"
    found: list[Gap] = []
    while url:
        answer = api.get(url).raise_for_status()
        found += answer.json()
        url = linked_url(answer)
    return found


def why_missing(gaps: list[Gap]) -> dict[datetime, str]:
    """The reason for each minute of *gaps*."""
    return {
        datetime.fromisoformat(str(run["from"])) + n * MINUTE: str(run["reason"])
        for run in gaps
        for n in range(int(str(run["minutes"])))
    }


def _text(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
