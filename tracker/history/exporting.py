"""`tracker export`: prices as CSV, streamed; what it writes, `tracker import` reads back."""

import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import psycopg
from psycopg.rows import scalar_row

from tracker import progress
from tracker.errors import BadRequest, NotFound
from tracker.history.session import session
from tracker.history.written import written
from tracker.queries.read import read
from tracker.web.asked import params

_COUNT = read("history/count")
_EXPORT = read("history/export")
_UNKNOWN_TICKERS = read("history/unknown_tickers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which prices: of *tickers*, none meaning all; with ``since <= created_at < until``.

    The times are in words that PostgreSQL reads.
    """

    tickers: Sequence[str] = ()
    since: str = "-infinity"
    until: str = "infinity"


def selection(tickers: Sequence[str], start_date: str | None, end_date: str | None) -> Selection:
    """What a user asked for. Raises BadRequest that names every culprit."""
    errors: dict[str, str] = {}

    def said(name: str, text: str, reader: Callable[[str], object]) -> str:
        try:
            return str(reader(text))
        except ValueError as error:
            errors[name] = str(error)
            return ""

    chosen = Selection(
        tickers=[said("--ticker", ticker, params.ticker) for ticker in tickers],
        since=said("--start-date", start_date, params.moment) if start_date else "-infinity",
        until=said("--end-date", end_date, params.moment) if end_date else "infinity",
    )
    if errors:
        raise BadRequest(errors)
    return chosen


def export_file(dsn: str, file: str, chosen: Selection) -> int:
    """Write the *chosen* prices to *file*, "-" being stdout, by index and time: how many.

    A file is there under its name only when it is whole.
    Raises BadRequest, NotFound for an index never tracked, DatabaseDown, MigrationsPending.
    """
    if file == "-":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who stops reading ends us, quietly
        return _export(dsn, sys.stdout.buffer, chosen)
    try:
        with written(Path(file)) as stream:
            return _export(dsn, stream, chosen)
    except OSError as error:
        raise BadRequest({file: error.strerror or str(error)}) from None


def _export(dsn: str, stream: BinaryIO, chosen: Selection) -> int:
    values: dict[str, object] = {
        "tickers": list(chosen.tickers),
        "since": chosen.since,
        "until": chosen.until,
    }
    with session(dsn, migrated=False) as conn, conn.cursor() as cursor:
        _demand_known(conn, chosen.tickers)
        total = _count(conn, values) if progress.shows(stream) else None
        with cursor.copy(_EXPORT, values) as copy:
            stream.writelines(copy if total is None else progress.counted(copy, total, "writing"))
        stream.flush()
        return cursor.rowcount


def _count(conn: psycopg.Connection, values: dict[str, object]) -> int:
    """How many lines there will be, the one that names the columns too."""
    found = conn.execute(_COUNT, values).fetchone()
    assert found  # count() answers
    return 1 + int(found[0])


def _demand_known(conn: psycopg.Connection, tickers: Sequence[str]) -> None:
    with conn.cursor(row_factory=scalar_row) as cursor:
        cursor.execute(_UNKNOWN_TICKERS, {"tickers": list(tickers)})
        if unknown := cursor.fetchall():
            raise NotFound({"--ticker": f"{', '.join(unknown)} was never tracked"})
