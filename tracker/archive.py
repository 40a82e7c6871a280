"""`tracker archive`: a Parquet file of each index and month, in the layout of Hive.

    ticker=btc_usd/_manifest.json
    ticker=btc_usd/month=2026-11/prices.parquet

A file is written again only if the revision of its month has changed, and keeps the prices that
retention has dropped. It appears, whole and on the disk, before its line in the manifest: a crash
leaves at most one file that is newer than its line, and the next run continues there. To readers of
that layout, names that begin with `_` or `.` are no data.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import psycopg

from tracker import columnar, queries
from tracker.database import Timeouts, connect
from tracker.errors import ArchiveError
from tracker.queries.exports import ArchivedMonth
from tracker.rows import EXTRA_COLUMNS
from tracker.times import MINUTE, format_moment

_TIMEOUTS = Timeouts(statement=60.0, response=63.0)  # for four weeks of prices
_SNAPSHOT = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_COLUMNS = ("price", *EXTRA_COLUMNS)
_LEVEL = 9  # of zstd: a tenth smaller than 3, in twice the time

Line = dict[str, Any]


@dataclass
class Tally:
    """The files that a run has written, their rows, and the files whose months are unchanged."""

    files: int = 0
    rows: int = 0
    unchanged: int = 0


def update_archive(dsn: str, folder: Path, *, force: bool = False) -> Tally:
    """Write the months of every index that have changed since the last run.

    force: also those that have a higher revision in the archive than in the database, which is
        another one or was restored. Otherwise their files stay, and ArchiveError names them.
    Raises ArchiveError without the extra, for a folder that cannot be written, or that another
    process writes to, and DatabaseDown.
    """
    if not columnar.is_installed():
        raise ArchiveError(columnar.MISSING)
    tally, newer = Tally(), list[Path]()
    try:
        with _locked(folder), connect(dsn, _TIMEOUTS) as conn:
            for ticker in queries.exported_tickers(conn):
                conn.execute(_SNAPSHOT)
                newer += _update_index(conn, ticker, folder, tally, force=force)
                conn.execute(b"COMMIT")
    except OSError as error:
        raise ArchiveError(f"{error.filename or folder}: {error.strerror or error}") from error
    if newer:
        files = ", ".join(str(file) for file in newer)
        raise ArchiveError(f"newer than the database: {files}; --force overwrites them")
    return tally


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of *folder*, which the kernel releases when this process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArchiveError(f"another process writes to {folder}") from None
        yield


def _update_index(
    conn: psycopg.Connection, ticker: str, folder: Path, tally: Tally, *, force: bool
) -> list[Path]:
    """Write the changed months of *ticker*; returns the files that are newer than the database."""
    place = folder / f"ticker={ticker}"
    manifest = place / "_manifest.json"
    lines, newer = _read_manifest(manifest), []
    for month in queries.archived_months(conn, ticker):
        name = f"month={month.month:%Y-%m}/prices.parquet"
        file, line = place / name, lines.get(name)
        complete_until = format_moment(month.complete_until)
        if line and line["revision"] == month.revision and _size(file) == line["bytes"]:
            tally.unchanged += 1
            if line["complete_until"] == complete_until:
                continue
        elif line and line["revision"] > month.revision and not force:
            newer.append(file)
            continue
        else:
            facts = _write_month(conn, ticker, month, file)
            if facts is None:
                continue
            tally.files, tally.rows = tally.files + 1, tally.rows + facts["rows"]
            line = {"ticker": ticker, "file": name, **facts, "revision": month.revision}
        lines[name] = line | {"complete_until": complete_until}
        with _new_file(manifest) as stream:
            indented = orjson.OPT_INDENT_2
            stream.write(orjson.dumps([lines[each] for each in sorted(lines)], option=indented))
    return newer


def _read_manifest(file: Path) -> dict[str, Line]:
    """The lines of a manifest by the names of their files. Raises ArchiveError."""
    try:
        return {line["file"]: line for line in orjson.loads(file.read_bytes())}
    except FileNotFoundError:
        return {}
    except (orjson.JSONDecodeError, TypeError, KeyError):
        raise ArchiveError(f"{file} is no manifest; without it, all is written again") from None


def _write_month(
    conn: psycopg.Connection, ticker: str, month: ArchivedMonth, file: Path
) -> Line | None:
    """Write the file of a month, and return what its line says; None without any price or file."""
    since, kept_since = month.month, month.kept_since or month.month
    if kept_since >= month.until:  # the database has none of its prices any more
        return None
    pieces = []
    if kept_since > since and file.exists():
        since = kept_since
        pieces = [columnar.read_rows(file, kept_since)]
    pieces += queries.read_columns(conn, ticker, since, month.until - MINUTE, EXTRA_COLUMNS)
    counts = [columnar.count_rows(rows) for rows in pieces]
    if not sum(counts) and not file.exists():
        return None
    with _new_file(file) as stream:
        named = ((ticker, rows) for rows, count in zip(pieces, counts, strict=True) if count)
        columnar.write_pieces(named, _COLUMNS, stream, "parquet", named=False, level=_LEVEL)
        stream.seek(0)
        content = stream.read()
    moments = [moment for rows in pieces for moment in columnar.first_and_last(rows)]
    return {
        "rows": sum(counts),
        "first": format_moment(moments[0]) if moments else None,
        "last": format_moment(moments[-1]) if moments else None,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _size(file: Path) -> int | None:
    """The bytes of *file*; None without it."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return None


@contextmanager
def _new_file(file: Path) -> Iterator[BinaryIO]:
    """A stream to *file*, which appears, or replaces another one, when it is on the disk."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    with part.open("w+b") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)
    for folder in (file.parent, file.parent.parent):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
