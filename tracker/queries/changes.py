"""The change log, from which the stream of prices resumes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection

from tracker.models import SourcedPrice
from tracker.queries.statements import fetch_rows, load_sql

_LISTEN = load_sql("queries/listen")
_REVISIONS = load_sql("queries/revisions")
_CHANGED_MINUTES = load_sql("queries/changed_minutes")
_PRICES_OF = load_sql("queries/prices_of")

# After more changes a client must load the prices again. The log retains more revisions than this,
# therefore none is deleted while it is read.
MAX_CHANGED_MINUTES = 15_000


@dataclass(frozen=True, slots=True)
class Step:
    """A minute or a range of minutes that changed; without a revision nothing changed.

    newest: the newest revision of the index.
    whole: whether the log has every change; if not, the step has no revision.
    place: the place in the revision's list of minutes, from 1; None for a range.
    final: whether it is the revision's last minute.
    """

    newest: int
    whole: bool
    revision: int | None
    place: int | None
    final: bool | None
    first_minute: datetime | None
    last_minute: datetime | None


async def listen(conn: AsyncConnection) -> None:
    """Subscribe *conn* to the notifications of commits that change prices."""
    await conn.execute(_LISTEN)


async def revisions(conn: AsyncConnection) -> dict[str, int]:
    """The revision of each tracked index."""
    cursor = await conn.execute(_REVISIONS)
    return dict(await cursor.fetchall())


async def changed_minutes(
    conn: AsyncConnection, ticker: str, revision: int, place: int, count: int
) -> list[Step]:
    """At most *count* changes after *revision*, without the first *place* minutes of the next one.

    At least one step, unless *ticker* was never tracked.
    """
    parameters = {
        "ticker": ticker,
        "revision": revision,
        "place": place,
        "count": count,
        "max_minutes": MAX_CHANGED_MINUTES,
    }
    return await fetch_rows(conn, _CHANGED_MINUTES, Step, parameters)


async def prices_of(
    conn: AsyncConnection, ticker: str, minutes: Sequence[datetime]
) -> dict[datetime, SourcedPrice]:
    """The prices of *ticker* for those of *minutes* that have one."""
    if not minutes:
        return {}
    parameters = {
        "ticker": ticker,
        "minutes": list(minutes),
        "since": min(minutes),
        "until": max(minutes),
    }
    prices = await fetch_rows(conn, _PRICES_OF, SourcedPrice, parameters)
    return {price.created_at: price for price in prices}
