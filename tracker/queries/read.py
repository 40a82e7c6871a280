"""Where statements come from, and how their rows become values."""

from pathlib import Path
from typing import Any, TypeVar

from psycopg import AsyncConnection
from psycopg.rows import class_row

R = TypeVar("R")

# How lines have moments, in a session whose time zone is UTC; and what is not known, as JSON.
PATTERNS = {
    "moment_pattern": 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"',
    "null": "null",
}

FOLDER = Path(__file__).resolve().parent.parent.parent / "sql"


def read(name: str) -> bytes:
    """The statement in the file of that *name*, such as `queries/holes`."""
    return (FOLDER / f"{name}.sql").read_bytes()


async def rows(
    conn: AsyncConnection, query: bytes, row: type[R], parameters: dict[str, Any]
) -> list[R]:
    """What *query* answers, each row as a *row*."""
    async with conn.cursor(row_factory=class_row(row)) as cursor:
        await cursor.execute(query, parameters)
        return await cursor.fetchall()
