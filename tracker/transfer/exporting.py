"""`tracker export`: prices, streamed, as CSV that `tracker import` reads, as Arrow or Parquet."""

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, TypeVar

import psycopg
from psycopg import IsolationLevel

from tracker import columnar, progress, queries
from tracker.errors import BadRequest, NotFound
from tracker.models import parse_ticker
from tracker.rows import EXTRA_COLUMNS
from tracker.times import FIRST, LAST, MINUTE, parse_moment
from tracker.transfer.session import fetch_column, open_session, output_file, statement

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Prices of *tickers* (empty: all) with ``since <= created_at < until``."""

    tickers: Sequence[str] = ()
    since: datetime = FIRST
    until: datetime = LAST


def parse_selection(
    tickers: Sequence[str], start_date: str | None, end_date: str | None
) -> Selection:
    """The selection of these options. Raises BadRequest that names every invalid option."""
    errors: dict[str, str] = {}

    def parse(option: str, text: str, parser: Callable[[str], T], default: T) -> T:
        try:
            return parser(text)
        except ValueError as error:
            errors[option] = str(error)
            return default

    selection = Selection(
        tickers=[parse("--ticker", ticker, parse_ticker, "") for ticker in tickers],
        since=parse("--start-date", start_date, parse_moment, FIRST) if start_date else FIRST,
        until=parse("--end-date", end_date, parse_moment, LAST) if end_date else LAST,
    )
    if errors:
        raise BadRequest(errors)
    return selection


def export_file(
    dsn: str, file: str, selection: Selection, file_format: str = "csv", *, force: bool = False
) -> int:
    """Write the selected prices to *file* ("-": standard output), and return their number.

    They are sorted by index and time. The file appears under its name when it is complete, and
    replaces an old one only with *force*. Raises BadRequest for a file that exists or cannot be
    written, and without the extra of *file_format*, NotFound for an index that was never tracked,
    DatabaseDown, MigrationsPending, TransferError.
    """
    if file_format != "csv" and not columnar.is_installed():
        raise BadRequest({"--format": columnar.MISSING})
    if file == "-":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends the export silently
    tickers = list(selection.tickers)
    values = {"tickers": tickers, "since": selection.since, "until": selection.until}
    with output_file(file, force=force) as stream, open_session(dsn) as conn:
        conn.isolation_level = IsolationLevel.REPEATABLE_READ  # of several statements
        if unknown := fetch_column(conn, "unknown_tickers", tickers=tickers):
            raise NotFound({"--ticker": f"{', '.join(unknown)} was never tracked"})
        if file_format != "csv":
            return _write_table(conn, stream, selection, file_format)
        total = None
        if progress.is_visible(stream):
            total = 1 + fetch_column(conn, "count_prices", **values)[0]  # and the header
        with conn.cursor() as cursor:
            with cursor.copy(statement("copy_prices"), values) as copy:
                stream.writelines(progress.track_items(copy, total, "writing") if total else copy)
            return cursor.rowcount


def _write_table(
    conn: psycopg.Connection, stream: BinaryIO, selection: Selection, file_format: str
) -> int:
    """Write the selected prices with all their columns, and return their number."""
    written = 0

    def read_pieces() -> Iterator[columnar.Piece]:
        nonlocal written
        for ticker in sorted({*selection.tickers}) or queries.exported_tickers(conn):
            until = selection.until - MINUTE
            for rows in queries.read_columns(conn, ticker, selection.since, until, EXTRA_COLUMNS):
                written += columnar.count_rows(rows)
                yield ticker, rows

    columnar.write_pieces(read_pieces(), ("price", *EXTRA_COLUMNS), stream, file_format)
    return written
