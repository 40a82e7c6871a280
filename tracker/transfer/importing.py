"""`tracker import`: store every line of a file, or none and list the invalid lines.

Lines are validated here and copied into a temporary table: COPY into `prices` would end at its
first error, and cannot skip a minute that has a price. One INSERT moves them from there, therefore
triggers update candles and revisions once, and locks are taken in one order.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

import psycopg
from psycopg.errors import UniqueViolation

from tracker import migrations, progress
from tracker.errors import BadRequest, TransferError, describe
from tracker.transfer.lines import (
    DAMAGE,
    FileFormatError,
    LineError,
    LineOptions,
    parse_header,
    parse_lines,
    read_lines,
)
from tracker.transfer.session import open_session, statement

BATCH_SIZE = 5_000  # lines
MAX_SHOWN = 20  # bad lines; more of them have the same cause
OWN_LINES = LineOptions()  # as `tracker export` writes them


@dataclass(frozen=True, slots=True)
class Tally:
    """The result for the lines of one index.

    added: lines that are new prices.
    known: lines whose minute has a price already, from the database or from an earlier line.
    too_old: lines from before the retention period, whose prices will be dropped.
    differing: those of the known lines whose price is not the stored one.
    """

    ticker: str
    added: int
    known: int
    too_old: int = 0
    differing: int = 0


class BadLines(TransferError):
    """A file has lines that cannot be imported."""

    def __init__(self, name: str, count: int, errors: Sequence[LineError]) -> None:
        """The file *name* has *count* bad lines; *errors* are the first of them."""
        lines = [f"{name}: {count} bad line{'s'[: count > 1]}, nothing is imported"]
        lines += [f"  line {error.line}: {error.reason}" for error in errors]
        lines += [f"  and {count - len(errors)} more"] if count > len(errors) else []
        super().__init__("\n".join(lines))


def import_file(
    dsn: str,
    file: str,
    options: LineOptions = OWN_LINES,
    *,
    dry_run: bool = False,
    retained_since: datetime | None = None,
) -> list[Tally]:
    """Store the prices of *file* ("-": standard input). Returns a tally per index, by name.

    With *dry_run* everything is validated and nothing stored. Prices from before *retained_since*
    are stored, and counted as too old.
    Raises BadRequest for an unreadable file, BadLines, DatabaseDown, MigrationsPending,
    UnknownSchema, TransferError.
    """
    name = "stdin" if file == "-" else file
    try:
        stream = sys.stdin.buffer if file == "-" else Path(file).open("rb")  # noqa: SIM115 -- below
    except OSError as error:
        raise BadRequest({name: error.strerror or str(error)}) from None
    with stream, open_session(dsn) as conn, progress.track_reading(stream) as show:
        migrations.require_all(conn)
        try:
            lines = read_lines(stream)
            header = parse_header(next(lines, b""), options)
            bad_lines, errors = _copy_lines(conn, parse_lines(lines, header, options), show)
        except FileFormatError as error:
            raise BadRequest({name: str(error)}) from None
        except DAMAGE as error:
            raise BadRequest({name: f"cannot be read: {describe(error)}"}) from None
        show("checking")
        counts = conn.execute(
            statement("count_incoming"), {"retained_since": retained_since}
        ).fetchall()
        if any(lines > minutes for _, lines, minutes, _ in counts):
            contradictions, more = _delete_repeated(conn)
            bad_lines, errors = bad_lines + contradictions, sorted(errors + more)[:MAX_SHOWN]
        if bad_lines:
            raise BadLines(name, bad_lines, errors)
        show("storing")
        stored, differing = _store_lines(conn, dry_run=dry_run)
    return [
        Tally(
            ticker,
            added=minutes - stored[ticker],
            known=lines - minutes + stored[ticker],
            too_old=too_old,
            differing=differing[ticker],
        )
        for ticker, lines, minutes, too_old in counts
    ]


def _copy_lines(
    conn: psycopg.Connection, rows: Iterator[str | LineError], show: progress.ShowStep
) -> tuple[int, list[LineError]]:
    """Copy the good lines into the temporary table; the number of bad ones, and the first."""
    bad_lines = 0
    errors: list[LineError] = []
    conn.execute(statement("create_incoming"))
    with conn.cursor().copy(statement("copy_incoming")) as copy:
        while batch := list(islice(rows, BATCH_SIZE)):
            copy.write("".join(row for row in batch if isinstance(row, str)))
            bad = [row for row in batch if isinstance(row, LineError)]
            bad_lines += len(bad)
            errors += bad[: MAX_SHOWN - len(errors)]
            show("reading")
    return bad_lines, errors


def _delete_repeated(conn: psycopg.Connection) -> tuple[int, list[LineError]]:
    """Delete repeated lines; the number of those that contradict an earlier one, and the first."""
    found = conn.execute(statement("delete_repeated"), {"shown": MAX_SHOWN}).fetchall()
    errors = [
        LineError(line, f"price: is {price}, but {first_price} in line {first_line}")
        for line, price, first_line, first_price, _ in found
    ]
    return found[0][-1] if found else 0, errors


def _store_lines(conn: psycopg.Connection, *, dry_run: bool) -> tuple[Counter[str], Counter[str]]:
    """Store the lines whose minute has no price.

    Returns how many lines of each index have one, and how many of them another one. If a poll
    stores one of these minutes meanwhile, the INSERT fails, and all of it is repeated.
    """
    stored: Counter[str] = Counter()
    differing: Counter[str] = Counter()
    conn.execute(statement("analyze_incoming"))
    while True:
        for ticker, count, others in conn.execute(statement("delete_stored")).fetchall():
            stored[ticker] += count
            differing[ticker] += others
        if dry_run:
            return stored, differing
        try:
            with conn.transaction():
                conn.execute(statement("insert_incoming"))
        except UniqueViolation:
            continue
        return stored, differing
