"""What the API exports: lines that PostgreSQL makes, by COPY."""

from contextlib import AbstractAsyncContextManager
from datetime import datetime

from psycopg import AsyncConnection, AsyncCopy

from tracker.queries.prices import LineTemplate, sourced_ending
from tracker.queries.read import compose, read

_EXPORTED_LINES = read("queries/exported_lines")
_AFTER_TIME = "%(after_time)s::text"
_COPY = b"COPY (%b) TO STDOUT"
# By whether lines have source and observed_at.
LINE_STATEMENTS = {
    sourced: compose(
        _EXPORTED_LINES, after_time=sourced_ending(_AFTER_TIME) if sourced else _AFTER_TIME
    )
    for sourced in (False, True)
}

Copying = AbstractAsyncContextManager[AsyncCopy]


def exported_lines(
    conn: AsyncConnection,
    ticker: str,
    since: datetime,
    until: datetime,
    *,
    template: LineTemplate,
    separator: str,
    sourced: bool,
) -> Copying:
    """Prices of *ticker* with ``since <= created_at <= until``, oldest first, a row for each day.

    A line is made with *template*; a *separator* stands between two. COPY writes it escaped.
    sourced: the template also takes source, and observed_at as text and as JSON.
    """
    parameters = {
        "ticker": ticker,
        "midnight": since.replace(hour=0, minute=0),
        "since": since,
        "until": until,
        **template,
        "separator": separator,
    }
    return conn.cursor().copy(_COPY % LINE_STATEMENTS[sourced], parameters)
