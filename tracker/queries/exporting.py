"""What the API exports: lines that PostgreSQL makes, by COPY."""

from contextlib import AbstractAsyncContextManager
from datetime import datetime

from psycopg import AsyncConnection, AsyncCopy

from tracker.queries.prices import Frame
from tracker.queries.read import PATTERNS, read

_EXPORTED_LINES = read("queries/exported_lines")
_SOURCED_LINES = read("queries/sourced_lines")
_COPY = b"COPY (%b) TO STDOUT"

Copying = AbstractAsyncContextManager[AsyncCopy]


def exported_lines(
    conn: AsyncConnection,
    ticker: str,
    since: datetime,
    until: datetime,
    *,
    frame: Frame,
    separator: str,
) -> Copying:
    """Prices of *ticker* with ``since <= created_at <= until``, oldest first, a row for each day.

    A line is made with *frame*; a *separator* stands between two. COPY writes it escaped.
    """
    return _copied(conn, _EXPORTED_LINES, ticker, (since, until), (frame, separator))


def sourced_lines(
    conn: AsyncConnection,
    ticker: str,
    since: datetime,
    until: datetime,
    *,
    frame: Frame,
    separator: str,
) -> Copying:
    """The same; the frame also takes source, and observed_at as text and as JSON."""
    return _copied(conn, _SOURCED_LINES, ticker, (since, until), (frame, separator))


def _copied(
    conn: AsyncConnection,
    query: bytes,
    ticker: str,
    ends: tuple[datetime, datetime],
    form: tuple[Frame, str],
) -> Copying:
    since, until = ends
    frame, separator = form
    parameters = {
        "ticker": ticker,
        "midnight": since.replace(hour=0, minute=0),
        "since": since,
        "until": until,
        **frame,
        "separator": separator,
        **PATTERNS,
    }
    return conn.cursor().copy(_COPY % query, parameters)
