"""`tracker import`: every line of a file is stored, or none is and each bad one is named.

Lines are checked here and copied to a temporary table: COPY into `prices` would end at the first
fault it meets, and cannot pass over a minute that has a price. From there one statement stores
them, so that candles and revision follow once, and locks are taken in one order.
"""

import codecs
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import psycopg
from psycopg.errors import UniqueViolation

from tracker import progress
from tracker.errors import BadRequest
from tracker.history.faults import SHOWN, Fault, Faults
from tracker.history.lines import rows
from tracker.history.session import session
from tracker.queries.read import read

_BATCH = 5_000  # lines

_STAGE = read("history/stage")
_FILL = read("history/fill")
_GIVEN = read("history/given")
_CONTRADICTIONS = read("history/contradictions")
_TOO_OLD = read("history/too_old")
_ANALYZE = read("history/analyze")
_FORGET_STORED = read("history/forget_stored")
_LEFT = read("history/left")
_STORE = read("history/store")


@dataclass(frozen=True, slots=True)
class Tally:
    """How many lines of an index were added, and how many found that their minute has a price.

    too_old: how many of them are of a time whose prices are not kept: they will be dropped.
    """

    ticker: str
    added: int
    known: int
    too_old: int = 0


def import_file(
    dsn: str, file: str, *, dry_run: bool = False, kept_since: datetime | None = None
) -> list[Tally]:
    """Store the prices in *file*, "-" being stdin; what became of each index's lines, by name.

    With *dry_run* all is looked at and nothing stored. *kept_since*: nothing older is kept.
    Raises BadRequest for a file that cannot be read, BadLines, DatabaseDown, MigrationsPending.
    """
    with _opened(file) as stream, session(dsn) as conn, progress.read(stream) as show:
        name = "stdin" if file == "-" else file
        try:
            faults = _fill(conn, stream, show)
        except BadRequest as error:
            raise BadRequest({name: str(error)}) from None
        show("checking")
        given = _given(conn, faults)
        faults.demand_none(name)
        old = dict(conn.execute(_TOO_OLD, {"kept_since": kept_since}).fetchall())
        show("storing")
        added = _new(conn) if dry_run else _store(conn)
    return [
        Tally(each, new := added.get(each, 0), given[each] - new, old.get(each, 0))
        for each in given
    ]


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = Path(file).open("rb")  # noqa: SIM115 -- only this may fail here
    except OSError as error:
        raise BadRequest({file: error.strerror or str(error)}) from None
    with stream:
        yield stream


def _fill(conn: psycopg.Connection, stream: BinaryIO, show: progress.Show) -> Faults:
    """Copy the good lines to a table that waits, and return the bad ones."""
    conn.execute(_STAGE)
    faults = Faults()
    found = rows(_decoded(stream))
    with conn.cursor().copy(_FILL) as copy:
        while batch := list(islice(found, _BATCH)):
            bad = [each for each in batch if isinstance(each, Fault)]
            faults.add(bad, len(bad))
            copy.write("".join(each for each in batch if isinstance(each, str)))
            show("reading")
    return faults


def _decoded(lines: Iterable[bytes]) -> Iterator[str]:
    """The text of *lines*, without a byte order mark. Raises BadRequest if it is not UTF-8."""
    for number, line in enumerate(lines, 1):
        try:
            yield (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).decode()
        except UnicodeDecodeError:
            raise BadRequest({f"line {number}": "is not UTF-8"}) from None


def _given(conn: psycopg.Connection, faults: Faults) -> dict[str, int]:
    """How many lines wait for each index; those that contradict an earlier one are *faults*."""
    counts = conn.execute(_GIVEN).fetchall()
    if any(lines > minutes for _, lines, minutes in counts):
        found = conn.execute(_CONTRADICTIONS, {"shown": SHOWN}).fetchall()
        texts = [
            Fault(line, f"price: is {price}, but line {first} gives that minute {first_price}")
            for line, price, first, first_price, _ in found
        ]
        faults.add(texts, found[0][-1] if found else 0)
    return {ticker: lines for ticker, lines, _ in counts}


def _store(conn: psycopg.Connection) -> dict[str, int]:
    """Store what is new, and count it; when a poll was faster with a minute, look again."""
    while True:
        new = _new(conn)
        try:
            with conn.transaction():
                conn.execute(_STORE)
        except UniqueViolation:
            continue
        return new


def _new(conn: psycopg.Connection) -> dict[str, int]:
    """How many lines of each index have a minute without a price; the others are dropped."""
    conn.execute(_ANALYZE)
    conn.execute(_FORGET_STORED)
    return dict(conn.execute(_LEFT).fetchall())
