"""How the recorder and the database themselves are."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from psycopg import AsyncConnection, Connection
from psycopg.rows import scalar_row

from tracker.queries.statements import load_sql
from tracker.times import minute_of

_HEARTBEATS = load_sql("queries/heartbeats")
_NEWEST_MINUTES = load_sql("queries/newest_minutes")
_RECENT_HOURS = load_sql("queries/recent_hours")
_STORED_TICKERS = load_sql("queries/stored_tickers")
_APPLIED_MIGRATIONS = load_sql("queries/applied_migrations")
_REPLICA_LAG = load_sql("queries/replica_lag")
_MISSING_ROLES = load_sql("queries/missing_roles")

_A_MONTH = timedelta(days=31)
_AN_HOUR = timedelta(hours=1)


async def heartbeats(conn: AsyncConnection) -> dict[str, float]:
    """How many seconds ago each part was last alive; a part that never was is left out."""
    cursor = await conn.execute(_HEARTBEATS)
    return dict(await cursor.fetchall())


async def newest_minutes(
    conn: AsyncConnection, tickers: Sequence[str], until: datetime
) -> list[datetime | None]:
    """The newest minute up to *until* of each of *tickers*; None if it has none in a month."""
    parameters = {"tickers": list(tickers), "since": until - _A_MONTH, "until": until}
    cursor = await conn.execute(_NEWEST_MINUTES, parameters)
    return [minute for _, minute in await cursor.fetchall()]


async def recent_hours(
    conn: AsyncConnection, tickers: Sequence[str], until: datetime
) -> list[tuple[int, str | None, datetime | None]]:
    """For each of *tickers*: minutes missing, why its newest poll failed, and the newest polled.

    The hour is the one before *until*'s minute. None if it did not fail, and if none was polled.
    """
    minute = minute_of(until)
    parameters = {"tickers": list(tickers), "since": minute - _AN_HOUR, "until": minute}
    cursor = await conn.execute(_RECENT_HOURS, parameters)
    return [(missing, failing, polled) for _, missing, failing, polled in await cursor.fetchall()]


async def stored_tickers(conn: AsyncConnection) -> list[str]:
    """Every index that has ever been tracked, by name."""
    async with conn.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(_STORED_TICKERS)
        return await cursor.fetchall()


async def applied_migrations(conn: AsyncConnection) -> list[str]:
    """The migrations this database has, by name. Raises UndefinedTable if it never had any."""
    async with conn.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(_APPLIED_MIGRATIONS)
        return await cursor.fetchall()


async def replica_lag(conn: AsyncConnection) -> float | None:
    """How many seconds the server of *conn* is behind the one that it follows, at most.

    0 if it follows none; None if it has replayed no commit since its start, and cannot know.
    """
    async with conn.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(_REPLICA_LAG)
        return await cursor.fetchone()


def missing_roles(conn: Connection, roles: Sequence[str]) -> list[str]:
    """Those of *roles* that the server does not have, by name."""
    with conn.cursor(row_factory=scalar_row) as cursor:
        return cursor.execute(_MISSING_ROLES, {"roles": list(roles)}).fetchall()
