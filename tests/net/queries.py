"""SQL as an outsider sends it: columns with types, rows as the server prints them, SQLSTATEs."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
from psycopg.errors import LockNotAvailable
from psycopg.pq import TransactionStatus

Observation = dict[str, Any] | list[str]

# What version 0.1 had in public, and how it is called since: the same cases are run on both.
MOVED = {
    "FROM heartbeats": "FROM internal.heartbeats",
    "INTO heartbeats": "INTO internal.heartbeats",
    "UPDATE heartbeats": "UPDATE internal.heartbeats",
    "cut_prices('2999-01-01Z')": "internal.drop_prices('1 day')",
    "cut_prices(NULL)": "internal.drop_prices(NULL)",
    "cut_prices('2000-01-01Z')": "internal.drop_prices('20 years')",
    "cut_prices('2024-05-01 15:00Z')": "internal.drop_prices('2 days')",
}


def run_query(conn: psycopg.Connection, statement: str) -> Observation:
    """A line of column names and types and a line for each row, the command tag, or the SQLSTATE.

    A line has "|" between the values, each as the server prints it in this session. Of several
    statements only the first counts.
    """
    try:
        cursor = _execute(conn, _translate(conn, statement).encode())
    except psycopg.Error as error:
        return {"sqlstate": error.sqlstate, "message": error.diag.message_primary or ""}
    result = cursor.pgresult
    assert result
    if cursor.description is None:
        return {"status": cursor.statusmessage}
    columns = [f"{each.name} {_type_name(conn, each.type_code)}" for each in cursor.description]
    return ["|".join(columns), *_lines(result)]


def _execute(conn: psycopg.Connection, statement: bytes) -> psycopg.Cursor:
    """Retention fails at once while another session, such as autovacuum, locks a chunk: retry."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return conn.execute(statement)
        except LockNotAvailable:
            if (
                conn.info.transaction_status != TransactionStatus.IDLE
                or time.monotonic() > deadline
            ):
                raise


def run_queries(conn: psycopg.Connection, statements: Mapping[str, str]) -> dict[str, Observation]:
    """What each of the named *statements* returns."""
    return {name: run_query(conn, statement) for name, statement in statements.items()}


def split_messages(
    found: Mapping[str, Observation],
) -> tuple[dict[str, Observation], dict[str, str]]:
    """The same without messages, and the messages apart."""
    plain: dict[str, Observation] = {}
    messages = {}
    for name, each in found.items():
        plain[name] = each
        if isinstance(each, dict) and "message" in each:
            messages[name] = each["message"]
            plain[name] = {key: value for key, value in each.items() if key != "message"}
    return plain, messages


def _translate(conn: psycopg.Connection, statement: str) -> str:
    if conn.execute("SELECT to_regnamespace('internal')").fetchone() == (None,):
        return statement
    for former, present in MOVED.items():
        statement = statement.replace(former, present)
    return statement


def _type_name(conn: psycopg.Connection, oid: int) -> str:
    known = conn.adapters.types.get(oid)
    return known.name if known else f"type {oid}"


def _lines(result: Any) -> Iterator[str]:
    for number in range(result.ntuples):
        values = (result.get_value(number, place) for place in range(result.nfields))
        yield "|".join("NULL" if value is None else value.decode() for value in values)
