"""What changed, and in which order: the log that the stream of prices is read from."""

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

# More must be read anew. The log keeps more revisions: none is forgotten while it is read.
MOST_MINUTES = 15_000


@dataclass(frozen=True, slots=True)
class Step:
    """A minute that changed, or a range of them; one without a revision says that none did.

    newest: the revision of the index.
    whole: whether the log still tells all that changed; if not, there is no revision.
    place: which of the revision's minutes it is, from 1; None for a range.
    final: whether it is the last one.
    """

    newest: int
    whole: bool
    revision: int | None
    place: int | None
    final: bool | None
    first_minute: datetime | None
    last_minute: datetime | None


async def listen(conn: AsyncConnection) -> None:
    """Have every commit that changes prices announced on *conn*."""
    await conn.execute(_LISTEN)


async def revisions(conn: AsyncConnection) -> dict[str, int]:
    """How often each tracked index has changed."""
    cursor = await conn.execute(_REVISIONS)
    return dict(await cursor.fetchall())


async def changed_minutes(
    conn: AsyncConnection, ticker: str, revision: int, place: int, count: int
) -> list[Step]:
    """What changed after *revision*, but for *place* minutes of the next: at most *count* steps.

    At least one, unless *ticker* never was tracked.
    """
    parameters = {
        "ticker": ticker,
        "revision": revision,
        "place": place,
        "count": count,
        "most": MOST_MINUTES,
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
    found = await fetch_rows(conn, _PRICES_OF, SourcedPrice, parameters)
    return {price.created_at: price for price in found}
