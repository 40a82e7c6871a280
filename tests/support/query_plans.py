"""The product's statements and their plans, from PostgreSQL's log."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from tracker.settings import Settings

Node = dict[str, Any]

_LOGGING = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
    "log_statement": "all",
}


class StatementLog:
    """The statements of one role's sessions, read from the embedded server's log.

    The server writes the entry of a statement before the client receives its end.
    """

    def __init__(self, settings: Settings) -> None:
        """Read from the current end of the log on; *settings* name the role."""
        self.settings = settings
        self._path = settings.home / "log/postgres.log"
        self.clear()

    def clear(self) -> None:
        """Skip all entries so far."""
        self._start = self._path.stat().st_size

    def texts(self) -> list[str]:
        """Each statement, utility statements included."""
        found = (
            re.match(r".* LOG:  (?:statement|execute \S+): ", entry) for entry in self._entries()
        )
        return [match.string[match.end() :].replace("\n\t", "\n") for match in found if match]

    def plans(self, *tables: str) -> list[list[Node]]:
        """The nodes of each plan that reads one of *tables* or a chunk."""
        roots = (
            json.loads(entry.partition(" plan:\n")[2])["Plan"]
            for entry in self._entries()
            if " plan:\n" in entry
        )
        found = [list(_flatten_plan(root)) for root in roots]
        return [nodes for nodes in found if find_scans(nodes, *tables)]

    def _entries(self) -> list[str]:
        """The log's entries: a continuation line begins with a tab."""
        with self._path.open("rb") as stream:
            stream.seek(self._start)
            return re.split(r"\n(?!\t)", stream.read().decode())


@contextmanager
def logging_role(
    settings: Settings, name: str, plan_cache_mode: str = "auto"
) -> Iterator[StatementLog]:
    """A superuser *name* whose statements and plans are logged, in any database."""
    role = sql.Identifier(name)
    with psycopg.connect(settings.database_dsn, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE ROLE {} LOGIN SUPERUSER").format(role))
        try:
            for key, value in (_LOGGING | {"plan_cache_mode": plan_cache_mode}).items():
                change = sql.SQL("ALTER ROLE {} SET {} = {}")
                conn.execute(change.format(role, sql.Identifier(key), value))
            yield StatementLog(settings.changed(postgres_user=name))
        finally:
            conn.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(role))
            conn.execute(sql.SQL("DROP ROLE {}").format(role))


def find_scans(nodes: Iterable[Node], *tables: str) -> list[Node]:
    """The scans of *tables*; of chunks if none is named."""
    names = tables or ("_hyper_",)
    return [node for node in nodes if node.get("Relation Name", "").startswith(names)]


def count_rows_read(scans: Iterable[Node]) -> dict[str, int]:
    """The number of rows that each relation returned; rows of several loops are rounded."""
    found: dict[str, int] = {}
    for scan in scans:
        rows = scan["Actual Rows"] * scan["Actual Loops"]
        found[scan["Relation Name"]] = found.get(scan["Relation Name"], 0) + rows
    return {name: rows for name, rows in found.items() if rows}


def _flatten_plan(node: Node) -> Iterator[Node]:
    """A node of a plan and all nodes below it."""
    yield node
    for child in node.get("Plans", []):
        yield from _flatten_plan(child)
