"""The statements of sql/backups: some name a table, which no parameter can."""

from collections.abc import Iterable
from typing import Any

import psycopg
from psycopg.rows import scalar_row
from psycopg.sql import SQL, Composable, Composed, Identifier

from tracker.queries.read import read


def statement(name: str, **names: Composable) -> Composed:
    """The statement in the file of that *name*, *names* put into their places."""
    text = SQL(read(f"backups/{name}").decode())
    return text.format(**names)


def qualified(table: str) -> Identifier:
    """A table's name, with its schema where *table* names one."""
    return Identifier(*table.split("."))


def listed_tables(tables: Iterable[str]) -> Composed:
    """Tables' names with commas between them."""
    return SQL(", ").join(map(qualified, tables))


def listed(names: Iterable[str]) -> Composed:
    """Names with commas between them."""
    return SQL(", ").join(map(Identifier, names))


def column(conn: psycopg.Connection, name: str, **values: Any) -> list[Any]:
    """The first column of what the statement *name* answers."""
    with conn.cursor(row_factory=scalar_row) as cursor:
        return cursor.execute(read(f"backups/{name}"), values or None).fetchall()
