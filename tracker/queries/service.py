"""The state of the recorder and the database."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from psycopg import AsyncConnection, Connection
from psycopg.rows import scalar_row

from tracker.queries.statements import load_sql
from tracker.times import minute_of

_HEARTBEATS = load_sql("queries/heartbeats")
_NEWEST_MINUTES = load_sql("queries/newest_minutes")
_RECENT_HOURS = load_sql("queries/recent_hours")
_LOCKED_INDEXES = load_sql("queries/locked_indexes")
_LISTED_NAMES = load_sql("queries/listed_names")
_VANISHED_NAMES = load_sql("queries/vanished_names")
_UNCHANGED_PRICES = load_sql("queries/unchanged_prices")
_STORED_TICKERS = load_sql("queries/stored_tickers")
_APPLIED_MIGRATIONS = load_sql("queries/applied_migrations")
_REPLICA_LAG = load_sql("queries/replica_lag")
_MISSING_ROLES = load_sql("queries/missing_roles")

_MONTH = timedelta(days=31)
_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)


async def heartbeats(conn: AsyncConnection) -> dict[str, float]:
    """The age of each component's newest heartbeat, and of the last backup, in seconds."""
    cursor = await conn.execute(_HEARTBEATS)
    return dict(await cursor.fetchall())


async def newest_minutes(
    conn: AsyncConnection, tickers: Sequence[str], until: datetime
) -> list[datetime | None]:
    """The newest minute up to *until* of each of *tickers*; None if it has none in a month."""
    parameters = {"tickers": list(tickers), "since": until - _MONTH, "until": until}
    cursor = await conn.execute(_NEWEST_MINUTES, parameters)
    return [minute for _, minute in await cursor.fetchall()]


async def recent_hours(
    conn: AsyncConnection, tickers: Sequence[str], until: datetime
) -> list[tuple[int, str | None, datetime | None]]:
    """For each ticker: missing minutes, the reason of a failed newest poll, the newest polled.

    The hour ends at the minute of *until*. The reason is None if the newest poll succeeded, the
    newest polled minute is None if none was polled.
    """
    minute = minute_of(until)
    parameters = {"tickers": list(tickers), "since": minute - _HOUR, "until": minute}
    cursor = await conn.execute(_RECENT_HOURS, parameters)
    return [(missing, failing, polled) for _, missing, failing, polled in await cursor.fetchall()]


async def locked_indexes(conn: AsyncConnection, max_age: float) -> list[str]:
    """The indexes that the exchange reported as locked in the last *max_age* seconds, by name."""
    async with conn.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(_LOCKED_INDEXES, {"max_age": max_age})
        return await cursor.fetchall()


async def listed_names(conn: AsyncConnection) -> list[str]:
    """The names of the indexes that the exchange listed when they were last read."""
    async with conn.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(_LISTED_NAMES)
        return await cursor.fetchall()


async def vanished_names(conn: AsyncConnection, max_age: float) -> list[str]:
    """The names that the exchange lists no more, if one vanished in the last *max_age* seconds."""
    async with conn.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(_VANISHED_NAMES, {"max_age": max_age})
        return await cursor.fetchall()


async def unchanged_prices(
    conn: AsyncConnection, tickers: Sequence[str], until: datetime
) -> list[float | None]:
    """For how many seconds, a day at most, the price of each of *tickers* has been the same.

    It counts up to the newest minute; None without a price in the day before *until*.
    """
    parameters = {"tickers": list(tickers), "since": until - _DAY, "until": until}
    cursor = await conn.execute(_UNCHANGED_PRICES, parameters)
    return [seconds for _, seconds in await cursor.fetchall()]


async def stored_tickers(conn: AsyncConnection) -> list[str]:
    """Every tracked index, by name."""
    async with conn.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(_STORED_TICKERS)
        return await cursor.fetchall()


async def applied_migrations(conn: AsyncConnection) -> list[str]:
    """The applied migrations, by name. Raises UndefinedTable if none was ever applied."""
    async with conn.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(_APPLIED_MIGRATIONS)
        return await cursor.fetchall()


async def replica_lag(conn: AsyncConnection) -> float | None:
    """The maximum lag of the server of *conn* behind its primary, in seconds.

    0 for a primary; None if it is unknown, because no commit was replayed since the start.
    """
    async with conn.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(_REPLICA_LAG)
        return await cursor.fetchone()


def missing_roles(conn: Connection, roles: Sequence[str]) -> list[str]:
    """The *roles* that the server lacks, by name."""
    with conn.cursor(row_factory=scalar_row) as cursor:
        return cursor.execute(_MISSING_ROLES, {"roles": list(roles)}).fetchall()
