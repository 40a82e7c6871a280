"""Loads SQL statements from their files, and converts rows into values."""

from functools import cache
from typing import Any, TypeVar

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.sql import SQL

from tracker.settings import SQL_FOLDER

R = TypeVar("R")


@cache
def load_sql(name: str) -> bytes:
    """The statement in the file *name*, such as `queries/drop_prices`."""
    return (SQL_FOLDER / f"{name}.sql").read_bytes()


def compose_sql(template: bytes, **parts: str) -> bytes:
    """The statement of a *template* whose {placeholders} are replaced by *parts*, which are SQL.

    Parts are keywords, columns and expressions; values are parameters. Statements are composed at
    import, therefore their text is constant and a connection prepares each once.
    """
    return SQL(template.decode()).format(**{k: SQL(v) for k, v in parts.items()}).as_bytes()


async def fetch_rows(
    conn: AsyncConnection, query: bytes, row: type[R], parameters: dict[str, Any]
) -> list[R]:
    """The rows of *query* as values of the class *row*."""
    async with conn.cursor(row_factory=class_row(row)) as cursor:
        await cursor.execute(query, parameters)
        return await cursor.fetchall()
