"""Sessions without a statement timeout, and output files that appear when complete."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import psycopg
from psycopg.errors import UndefinedColumn, UndefinedTable
from psycopg.rows import scalar_row
from psycopg.sql import SQL, Composable, Composed, Identifier

from tracker.database import SESSION
from tracker.errors import BadRequest, DatabaseDown, MigrationsPending, TransferError, describe
from tracker.queries.statements import load_sql

CONNECT_TIMEOUT = 5  # seconds
# Transactions of the worker hold locks for seconds, migrations may hold them longer. work_mem sorts
# a million lines of an import in memory instead of on disk.
OPTIONS = (
    f"{SESSION} -c statement_timeout=0 -c lock_timeout=30s"
    " -c work_mem=128MB -c temp_buffers=64MB -c client_min_messages=error"
)
_UNAVAILABLE = {"08", "57"}  # SQLSTATE classes: connection exception, operator intervention


@contextmanager
def open_session(dsn: str, *, autocommit: bool = False) -> Iterator[psycopg.Connection]:
    """A connection whose transaction is committed after the block, unless *autocommit*.

    Raises DatabaseDown, MigrationsPending if our tables or columns are missing, and TransferError
    for anything else that the server refuses.
    """
    try:
        with psycopg.connect(
            dsn,
            autocommit=autocommit,
            connect_timeout=CONNECT_TIMEOUT,
            application_name="tracker-transfer",
            options=OPTIONS,
        ) as conn:
            yield conn
    except (UndefinedTable, UndefinedColumn) as error:
        raise MigrationsPending("the schema is missing or old: run `tracker migrate`") from error
    except psycopg.Error as error:
        is_unavailable = error.sqlstate is None or error.sqlstate[:2] in _UNAVAILABLE
        message = " ".join((error.diag.message_primary or describe(error)).split())
        raise (DatabaseDown if is_unavailable else TransferError)(message) from error


def statement(name: str, **parts: Composable) -> Composed:
    """The statement of sql/transfer/*name*.sql with *parts* for its {placeholders}."""
    return SQL(load_sql(f"transfer/{name}").decode()).format(**parts)


def identifier(table: str) -> Identifier:
    """The name of a table, with its schema if *table* has one: internal.changes."""
    return Identifier(*table.split("."))


def fetch_column(conn: psycopg.Connection, name: str, **parameters: Any) -> list[Any]:
    """The first column of the rows of the statement *name*."""
    with conn.cursor(row_factory=scalar_row) as cursor:
        return cursor.execute(statement(name), parameters or None).fetchall()


@contextmanager
def output_file(file: str, *, force: bool) -> Iterator[BinaryIO]:
    """A stream to *file* ("-": standard output).

    The file appears under its name when it is complete, and replaces an old one only with *force*.
    A device or a pipe is written directly. Raises BadRequest if it exists or cannot be written.
    """
    path = Path(file).resolve()
    try:
        if file == "-":
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        elif path.exists() and not path.is_file():
            with path.open("wb") as stream:
                yield stream
        else:
            with _new_file(path, force=force) as stream:
                yield stream
    except BrokenPipeError:
        raise
    except FileExistsError:
        size = path.stat().st_size
        reason = f"exists already, with {size} bytes; --force overwrites it"
        raise BadRequest({file: reason}) from None
    except OSError as error:
        name = "standard output" if file == "-" else file
        raise BadRequest({name: error.strerror or str(error)}) from None


@contextmanager
def _new_file(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    if path.exists() and not force:
        raise FileExistsError
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if force:
            part.replace(path)
        else:
            _rename_new(part, path)
    finally:
        part.unlink(missing_ok=True)


def _rename_new(part: Path, path: Path) -> None:
    """Rename *part* to *path*. Raises FileExistsError if another program has written that name."""
    try:
        path.hardlink_to(part)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError from None
        part.rename(path)
