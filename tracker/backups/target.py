"""Whether a database may be restored into: nobody uses it, and it holds nothing."""

import psycopg
from psycopg.sql import Identifier

from tracker.backups.statements import statement
from tracker.errors import BackupError
from tracker.queries.read import read

_SESSIONS = read("backups/sessions")
_PLACES = read("backups/places")


def demand_unused(conn: psycopg.Connection, database: str) -> None:
    """Raise BackupError that names who uses *database*."""
    found = conn.execute(_SESSIONS, {"database": database}).fetchall()
    if users := ", ".join(f"{name} ({count})" for name, count in found):
        raise BackupError(f"database {database} is in use by {users}: stop them first")


def demand_empty(conn: psycopg.Connection, database: str) -> None:
    """Raise BackupError if there is a row in it that somebody could miss; *conn* leads there."""
    if table := occupied(conn):
        raise BackupError(
            f"database {database} holds rows already, in {table}: restore into another one"
            " (POSTGRES_DB), or rename it first; nothing is ever overwritten"
        )


def occupied(conn: psycopg.Connection) -> str:
    """A table with such a row; nothing if there is none."""
    for schema, table in conn.execute(_PLACES).fetchall():
        found = conn.execute(statement("any_row", table=Identifier(schema, table))).fetchone()
        if found and found[0]:
            return str(table)
    return ""
