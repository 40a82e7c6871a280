"""Databases beside the database: made, put into its place, dropped."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
from psycopg.sql import Identifier

from tracker.backups import target
from tracker.backups.connection import connection
from tracker.backups.statements import column, statement
from tracker.errors import BackupError
from tracker.queries.read import read
from tracker.settings import Settings

_EMPTY = "tracker_empty_"
_STOP_WORKERS = read("backups/stop_workers")
_START_WORKERS = read("backups/start_workers")


@contextmanager
def alone(settings: Settings) -> Iterator[psycopg.Connection]:
    """A connection beside the database; what killed restores have left is dropped first.

    Raises BackupError if another restore is under way.
    """
    beside = settings.changed(postgres_db="postgres")
    with connection(beside.direct_dsn, autocommit=True) as admin:
        if column(admin, "alone") != [True]:
            raise BackupError("another restore is under way on this server")
        for name in column(admin, "left"):
            _drop_left(admin, settings.changed(postgres_db=name))
        yield admin


@contextmanager
def made(admin: psycopg.Connection, settings: Settings) -> Iterator[Settings]:
    """The settings that lead to a new database, dropped afterwards if it still has its name."""
    draft = settings.changed(postgres_db=f"tracker_restoring_{uuid4().hex}")
    try:
        _do(admin, "create_database", draft.postgres_db)
        yield draft
    finally:
        _do(admin, "drop_database", draft.postgres_db)


def is_there(admin: psycopg.Connection, settings: Settings) -> bool:
    """Whether the server has the database."""
    return bool(column(admin, "database", database=settings.postgres_db))


def take_place(admin: psycopg.Connection, settings: Settings, draft: Settings) -> list[str]:
    """Give *draft* the database's name; the empty one that had it is dropped.

    If somebody has stored rows there meanwhile, it is kept, which is told in words.
    Raises BackupError if somebody uses it.
    """
    empty = f"{_EMPTY}{uuid4().hex}"
    was_there = is_there(admin, settings)
    for each in (draft, settings) if was_there else (draft,):
        _tell(each, _STOP_WORKERS)
    try:
        with admin.transaction():
            if was_there:
                _rename(admin, settings.postgres_db, empty)
            _rename(admin, draft.postgres_db, settings.postgres_db)
    finally:
        if is_there(admin, settings):
            _tell(settings, _START_WORKERS)
    if was_there and not _drop_left(admin, settings.changed(postgres_db=empty)):
        return [f"rows that were stored meanwhile are kept, in database {empty}"]
    return []


def _drop_left(admin: psycopg.Connection, place: Settings) -> bool:
    """Drop what a restore leaves, but never one that had been empty and is no longer."""
    if place.postgres_db.startswith(_EMPTY):
        with connection(place.direct_dsn) as conn:
            if target.occupied(conn):
                return False
    _do(admin, "drop_database", place.postgres_db)
    return True


def _tell(settings: Settings, query: bytes) -> None:
    with connection(settings.direct_dsn, autocommit=True) as conn:
        conn.execute(query)


def _rename(admin: psycopg.Connection, name: str, other: str) -> None:
    names = {"database": Identifier(name), "other": Identifier(other)}
    admin.execute(statement("rename_database", **names))


def _do(admin: psycopg.Connection, what: str, name: str) -> None:
    admin.execute(statement(what, database=Identifier(name)))
