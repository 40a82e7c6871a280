"""What a backup holds: taken with it, and compared with what has been restored."""

from collections.abc import Iterator, Mapping
from typing import Literal

import psycopg
from psycopg.rows import dict_row
from psycopg.sql import Identifier
from pydantic import BaseModel, ConfigDict

from tracker.backups.statements import column, qualified, statement
from tracker.queries.read import read

# Each table, with the column that names what its rows are about. Triggers of the first two write
# the others.
TABLES = {
    "prices": "ticker",
    "misses": "ticker",
    "tickers": "ticker",
    "candles_1h": "ticker",
    "candles_1d": "ticker",
    "internal.price_islands": "ticker",
    "internal.miss_islands": "ticker",
    "internal.batches": "tickers",
    "internal.changes": "ticker",
    "internal.month_revisions": "ticker",
    "internal.heartbeats": "part",
}

_FACTS = read("backups/facts")
_SHOWN = 3  # differences; what is wrong with one is wrong with more

Kind = Literal["dump", "csv"]


class Sum(BaseModel):
    """The rows of one index in one table: how many, and the sum of their hashes."""

    model_config = ConfigDict(frozen=True)

    rows: int
    checksum: str


Sums = dict[str, dict[str, Sum]]  # by table, then by index


class Manifest(BaseModel):
    """What a backup holds.

    kind: dump, one of pg_dump; or csv, a file for each table.
    postgresql, timescaledb: the versions it was made on, of PostgreSQL the major one.
    migrations: those that the database had, oldest first.
    roles: who had been given rights.
    """

    model_config = ConfigDict(frozen=True)

    kind: Kind
    postgresql: int
    timescaledb: str
    migrations: list[str]
    roles: list[str]
    sums: Sums

    def rows(self, table: str) -> int:
        """How many rows of *table* it holds."""
        return sum(each.rows for each in self.sums.get(table, {}).values())


def taken(conn: psycopg.Connection, kind: Kind) -> tuple[str, Manifest]:
    """The manifest of what the transaction of *conn* sees, and the name of that snapshot."""
    with conn.cursor(row_factory=dict_row) as cursor:
        facts = cursor.execute(_FACTS).fetchone()
    assert facts  # it is one row
    snapshot = facts.pop("snapshot")
    migrations, roles = column(conn, "migrations"), column(conn, "roles")
    return snapshot, Manifest(
        kind=kind, migrations=migrations, roles=roles, sums=summed(conn), **facts
    )


def summed(conn: psycopg.Connection) -> Sums:
    """Rows and checksums as they are now, of every table that there is."""
    return {table: _sums(conn, table) for table in column(conn, "there", tables=list(TABLES))}


def _sums(conn: psycopg.Connection, table: str) -> dict[str, Sum]:
    found = conn.execute(statement("sums", table=qualified(table), key=Identifier(TABLES[table])))
    return {name: Sum(rows=rows, checksum=checksum) for name, rows, checksum in found}


def differences(wanted: Sums, found: Sums) -> str:
    """What *found* has otherwise than *wanted*, in a line; nothing if they are the same."""
    told = list(_told(wanted, found))
    more = f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    return "; ".join(told[:_SHOWN]) + more


def _told(wanted: Sums, found: Sums) -> Iterator[str]:
    nothing = Sum(rows=0, checksum="")
    empty: Mapping[str, Sum] = {}
    for table in sorted(wanted.keys() | found.keys()):
        before, now = wanted.get(table, empty), found.get(table, empty)
        for name in sorted(before.keys() | now.keys()):
            one, other = before.get(name, nothing), now.get(name, nothing)
            if one.rows != other.rows:
                yield f"{table} of {name}: {other.rows:,} rows, not {one.rows:,}"
            elif one != other:
                yield f"{table} of {name}: {one.rows:,} rows, but not the same"
