"""`tracker import`: store every line of a file, or none and list the invalid lines.

Lines are validated here and copied into a temporary table: COPY into `prices` would end at its
first error, and cannot skip a minute that has a price. One INSERT moves them from there, therefore
triggers update candles and revisions once, and locks are taken in one order.
"""

import codecs
import csv
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from operator import itemgetter
from pathlib import Path

import psycopg
from psycopg.errors import UniqueViolation

from tracker import migrations, progress
from tracker.errors import BadRequest, MigrationsPending, TransferError, shorten
from tracker.models import exact_price, parse_ticker
from tracker.times import EPOCH, minute_of, parse_moment
from tracker.transfer.session import open_session, statement

REQUIRED_COLUMNS = ("ticker", "created_at", "price")
COLUMNS = (*REQUIRED_COLUMNS, "observed_at", "source")

BATCH_SIZE = 5_000  # lines
MAX_SHOWN = 20  # bad lines; more of them have the same cause
MAX_TICKER_LENGTH = 100  # characters; an entry of an index has a maximum size

_NUMBER = re.compile(
    r"[+-]?(?:[0-9]{1,60}(?:\.[0-9]{0,60})?|\.[0-9]{1,60})(?:[eE][+-]?[0-9]{1,3})?"
)
# Rows in the format of `tracker export` need no parsing, which makes an import twice as fast. Days
# after the 28th, which some months lack, are parsed.
_DATE = "(?:19[7-9][0-9]|2[0-9]{3})-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
_MINUTE = f"{_DATE}[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]"
_OFFSET = "(?:Z|[+]00(?::?00)?)?"  # of UTC, the time zone of the session
_CANONICAL_ROW = re.compile(
    r"[a-z0-9-]{1,50}_[a-z0-9]{1,49}"
    rf"\t{_MINUTE}:00{_OFFSET}"
    r"\t[1-9][0-9]{0,11}(?:\.[0-9]{1,12})?"
    rf"\t(?:{_MINUTE}:[0-5][0-9](?:\.[0-9]{{1,6}})?{_OFFSET})?"
    r"\t(?:poll|chart)?"
)


@dataclass(frozen=True, slots=True)
class Tally:
    """The result for the lines of one index.

    added: lines that are new prices.
    known: lines whose minute has a price already, from the database or from an earlier line.
    too_old: lines from before the retention period, whose prices will be dropped.
    """

    ticker: str
    added: int
    known: int
    too_old: int = 0


@dataclass(frozen=True, slots=True, order=True)
class LineError:
    """A bad line, by its number in the file; the header is line 1."""

    line: int
    reason: str


class BadLines(TransferError):
    """A file has lines that cannot be imported."""

    def __init__(self, name: str, count: int, errors: Sequence[LineError]) -> None:
        """The file *name* has *count* bad lines; *errors* are the first of them."""
        lines = [f"{name}: {count} bad line{'s'[: count > 1]}, nothing is imported"]
        lines += [f"  line {error.line}: {error.reason}" for error in errors]
        lines += [f"  and {count - len(errors)} more"] if count > len(errors) else []
        super().__init__("\n".join(lines))


def import_file(
    dsn: str, file: str, *, dry_run: bool = False, retained_since: datetime | None = None
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
        if pending := migrations.find_pending(migrations.require_known(conn)):
            raise MigrationsPending(f"run `tracker migrate` first: {', '.join(pending)} pending")
        try:
            columns = parse_header(stream.readline())
        except ValueError as error:
            raise BadRequest({name: str(error)}) from None
        bad_lines, errors = _copy_lines(conn, parse_lines(stream, columns), show)
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
        stored = _store_lines(conn, dry_run=dry_run)
    return [
        Tally(ticker, minutes - stored[ticker], lines - minutes + stored[ticker], too_old)
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


def _store_lines(conn: psycopg.Connection, *, dry_run: bool) -> Counter[str]:
    """Store the lines whose minute has no price; how many lines of each index have one.

    If a poll stores one of these minutes meanwhile, the INSERT fails, and all of it is repeated.
    """
    stored: Counter[str] = Counter()
    conn.execute(statement("analyze_incoming"))
    while True:
        stored.update(dict(conn.execute(statement("delete_stored")).fetchall()))
        if dry_run:
            return stored
        try:
            with conn.transaction():
                conn.execute(statement("insert_incoming"))
        except UniqueViolation:
            continue
        return stored


def parse_header(line: bytes) -> list[str]:
    """The names of the columns in the first line of a file. Raises ValueError."""
    try:
        names = [name.strip() for name in _split_fields(line.removeprefix(codecs.BOM_UTF8))]
    except UnicodeDecodeError:
        raise ValueError("line 1: is not UTF-8") from None
    except ValueError as error:
        raise ValueError(f"header: {error}") from None
    if not set(names) & set(COLUMNS):
        raise ValueError(
            f"header: the first line must name the columns: {', '.join(REQUIRED_COLUMNS)},"
            " and optionally observed_at, source"
        )
    errors = [f"unknown column {shorten(name)!r}" for name in names if name not in COLUMNS]
    errors += [f"column {name} is missing" for name in REQUIRED_COLUMNS if name not in names]
    errors += [f"column {name} is repeated" for name in COLUMNS if names.count(name) > 1]
    if errors:
        raise ValueError(f"header: {'; '.join(errors)}")
    return names


def parse_lines(lines: Iterable[bytes], columns: Sequence[str]) -> Iterator[str | LineError]:
    """Each line below the header as a row of COPY's text format, or its error.

    A row is the line's number and the values of COLUMNS; an empty value is NULL. Blank lines are
    skipped.
    """
    # A missing column takes the empty field that is appended to every line, at -1.
    select = itemgetter(*(columns.index(name) if name in columns else -1 for name in COLUMNS))
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    for number, line in enumerate(lines, 2):
        if not line.strip():
            continue
        try:
            values = select([*_split_fields(line, len(columns)), ""])
            row = "\t".join(values)
            if values[1] >= today or not _CANONICAL_ROW.fullmatch(row):
                row = _parse_values(values)
            yield f"{number}\t{row}\n"
        except UnicodeDecodeError:
            yield LineError(number, "is not UTF-8")
        except ValueError as error:
            yield LineError(number, str(error))


def _split_fields(line: bytes, width: int | None = None) -> list[str]:
    """The fields of a line of CSV: *width*, if given, and none continues on the next line.

    Raises ValueError.
    """
    text = line.decode()
    try:
        if '"' in text:
            fields = next(csv.reader([text], strict=True))
        else:
            fields = text.rstrip("\r\n").split(",")
    except csv.Error as error:
        raise ValueError(f"is not CSV: {error}") from None
    if width is not None and len(fields) != width:
        raise ValueError(f"has {len(fields)} columns, not {width}")
    return fields


def _parse_values(values: Sequence[str]) -> str:
    """The row of these values of COLUMNS. Raises ValueError that names the column."""
    parsers = (_parse_ticker, _parse_minute, _parse_price, _parse_observed_at, _parse_source)
    parsed = []
    for name, parser, text in zip(COLUMNS, parsers, values, strict=True):
        try:
            parsed.append(parser(text))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return "\t".join(parsed)


def _parse_ticker(text: str) -> str:
    ticker = parse_ticker(text)
    if len(ticker) > MAX_TICKER_LENGTH:
        raise ValueError(f"is longer than {MAX_TICKER_LENGTH} characters")
    return ticker


def _parse_minute(text: str) -> str:
    """No index is older than 1970; a price from the future is a mistake that polls cannot fix."""
    moment = parse_moment(text)
    if moment != minute_of(moment):
        raise ValueError(f"is not on the minute: {shorten(text)!r}")
    if not EPOCH <= moment <= datetime.now(UTC):
        raise ValueError(f"is before 1970 or in the future: {shorten(text)!r}")
    return moment.isoformat()


def _parse_price(text: str) -> str:
    number = text.strip()
    if not _NUMBER.fullmatch(number):
        raise ValueError(f"is not a decimal number: {shorten(text)!r}")
    try:
        return f"{exact_price(Decimal(number)):f}"
    except ValueError as error:
        raise ValueError(f"is {shorten(str(error))}") from None


def _parse_observed_at(text: str) -> str:
    return parse_moment(text).isoformat() if text.strip() else ""


def _parse_source(text: str) -> str:
    source = text.strip()
    if source not in {"", "poll", "chart"}:
        raise ValueError(f"is neither poll nor chart: {shorten(text)!r}")
    return source
