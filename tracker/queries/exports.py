"""Exports: lines that PostgreSQL renders, by COPY."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection, AsyncCopy, Connection
from psycopg.rows import class_row

from tracker.queries.prices import LineTemplate, line_end_with_source
from tracker.queries.statements import compose_sql, load_sql

_EXPORTED_LINES = load_sql("queries/exported_lines")
_AFTER_TIME = "%(after_time)s::text"
_COPY = b"COPY (%b) TO STDOUT"
# By whether lines have source and observed_at.
LINE_STATEMENTS = {
    False: compose_sql(_EXPORTED_LINES, after_time=_AFTER_TIME),
    True: compose_sql(_EXPORTED_LINES, after_time=line_end_with_source(_AFTER_TIME)),
}
_ARCHIVED_MONTHS = load_sql("queries/archived_months")
_EXPORTED_COLUMNS = load_sql("queries/exported_columns")
_EXTRA_COLUMNS = {
    "source": ", ',', source",
    "observed_at": ", ',', (date_part('epoch', observed_at) * 1000000)::bigint",
}


def exported_lines(
    conn: AsyncConnection,
    ticker: str,
    since: datetime,
    until: datetime,
    *,
    template: LineTemplate,
    separator: str,
    with_source: bool,
) -> AbstractAsyncContextManager[AsyncCopy]:
    """Prices of *ticker* with ``since <= created_at <= until``, ascending, a row for each day.

    Lines are rendered with *template* and joined by *separator*, which COPY escapes.
    with_source: the template also takes source, and observed_at as text and as JSON.
    """
    parameters = {
        "ticker": ticker,
        "midnight": since.replace(hour=0, minute=0),
        "since": since,
        "until": until,
        **template,
        "separator": separator,
    }
    return conn.cursor().copy(_COPY % LINE_STATEMENTS[with_source], parameters)


def exported_columns(
    conn: AsyncConnection, ticker: str, since: datetime, until: datetime, extras: Sequence[str]
) -> AbstractAsyncContextManager[AsyncCopy]:
    """Prices of *ticker* with ``since <= created_at <= until``, ascending, a row for four weeks.

    Its one column is the rows of a piece of columnar.py, whose lines have price and the *extras*.
    """
    return conn.cursor().copy(*_copy_columns(ticker, since, until, extras))


def read_columns(
    conn: Connection, ticker: str, since: datetime, until: datetime, extras: Sequence[str]
) -> Iterator[bytes]:
    """The same rows on a blocking connection."""
    with conn.cursor().copy(*_copy_columns(ticker, since, until, extras)) as copy:
        copy.set_types(["bytea"])
        for (rows,) in copy.rows():
            yield rows


def exported_tickers(conn: Connection) -> list[str]:
    """Every tracked index, by name."""
    return [ticker for (ticker,) in conn.execute(load_sql("queries/stored_tickers"))]


@dataclass(frozen=True, slots=True)
class ArchivedMonth:
    """A month of one index that has or had prices: [month, until).

    revision: the newest of the index that changed it.
    kept_since: until when retention has dropped the prices of the index; None: never.
    complete_until: the month's end, or the minute after the newest price of the index.
    """

    month: datetime
    until: datetime
    revision: int
    kept_since: datetime | None
    complete_until: datetime


def archived_months(conn: Connection, ticker: str) -> list[ArchivedMonth]:
    """The months of *ticker*, ascending."""
    with conn.cursor(row_factory=class_row(ArchivedMonth)) as cursor:
        return cursor.execute(_ARCHIVED_MONTHS, {"ticker": ticker}).fetchall()


def _copy_columns(
    ticker: str, since: datetime, until: datetime, extras: Sequence[str]
) -> tuple[bytes, dict[str, Any]]:
    statement = compose_sql(
        _EXPORTED_COLUMNS, extras="".join(_EXTRA_COLUMNS[name] for name in extras)
    )
    parameters = {"ticker": ticker, "since": since, "until": until}
    return b"%b (FORMAT binary)" % (_COPY % statement), parameters
