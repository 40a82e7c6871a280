"""The change log, from which the stream of prices resumes."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection

from tracker.models import SourcedPrice
from tracker.queries.statements import fetch_rows, load_sql

_LISTEN = load_sql("queries/listen")
_REVISIONS = load_sql("queries/revisions")
_NEWEST_BATCH = load_sql("queries/newest_batch")
_CHANGES_AFTER = load_sql("queries/changes_after")
_PRICES_OF = load_sql("queries/prices_of")

# After more changes a client must load the prices again. The log retains more revisions of each
# index and more batches than this, therefore none is deleted while it is read.
MAX_CHANGED_MINUTES = 15_000
MAX_BATCHES = 50_000


@dataclass(frozen=True, slots=True)
class Step:
    """A change of one index, or none; steps are in the order of their commits.

    newest: the position of the newest batch.
    more: whether more steps follow this page.
    lost: whether any minute of the index may have changed.
    batch, number, place: of the changed minute: its batch, the index in it, and the minute in that;
    without a place all minutes from first_minute to last_minute may have changed.
    ticker: None: nothing changed.
    """

    newest: int
    more: bool
    lost: bool | None
    batch: int | None
    number: int | None
    place: int | None
    ticker: str | None
    first_minute: datetime | None
    last_minute: datetime | None


async def listen(conn: AsyncConnection) -> None:
    """Subscribe *conn* to the notifications of commits that change prices."""
    await conn.execute(_LISTEN)


async def revisions(conn: AsyncConnection) -> dict[str, int]:
    """The revision of each tracked index."""
    cursor = await conn.execute(_REVISIONS)
    return dict(await cursor.fetchall())


async def newest_batch(conn: AsyncConnection) -> int:
    """The position of the newest change of prices; 0 before the first."""
    cursor = await conn.execute(_NEWEST_BATCH)
    [(newest,)] = await cursor.fetchall()
    return int(newest)


async def changes_after(  # noqa: PLR0917 -- the position's parts are one value
    conn: AsyncConnection,
    tickers: Collection[str] | None,
    batch: int,
    number: int,
    place: int,
    count: int,
) -> list[Step]:
    """At least one step, and at most *count* changes of *tickers* (None: all) after a position."""
    parameters = {
        "tickers": None if tickers is None else list(tickers),
        "batch": batch,
        "number": number,
        "place": place,
        "count": count,
        "max_minutes": MAX_CHANGED_MINUTES,
        "max_batches": MAX_BATCHES,
    }
    return await fetch_rows(conn, _CHANGES_AFTER, Step, parameters)


async def prices_of(
    conn: AsyncConnection, ticker: str, minutes: Sequence[datetime]
) -> dict[datetime, SourcedPrice]:
    """The prices of *ticker* for those of *minutes*, at least one, that have one."""
    parameters = {
        "ticker": ticker,
        "minutes": list(minutes),
        "since": min(minutes),
        "until": max(minutes),
    }
    prices = await fetch_rows(conn, _PRICES_OF, SourcedPrice, parameters)
    return {price.created_at: price for price in prices}
