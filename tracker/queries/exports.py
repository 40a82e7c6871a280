"""Exports: lines that PostgreSQL renders, by COPY."""

from contextlib import AbstractAsyncContextManager
from datetime import datetime

from psycopg import AsyncConnection, AsyncCopy

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
