"""What a program reads: JSON and CSV on standard output, a line for each value as it comes."""

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

from tracker.rows import Row
from tracker.terminal.kinds import Kind

T = TypeVar("T")


def form(arguments: argparse.Namespace) -> str:
    """The format asked for: for eyes on a terminal, for programs elsewhere."""
    return arguments.format or ("table" if sys.stdout.isatty() else "json")


def write(arguments: argparse.Namespace, kind: Kind[T], values: Iterable[T]) -> int:
    """Write all *values* in the format that *arguments* ask for: how many there were."""
    match form(arguments):
        case "csv":
            return _each(values, csv_writer(kind))
        case "json":
            return _array(kind, values)
    from tracker.terminal import looks, tables  # noqa: PLC0415 -- no pipe waits for it

    return tables.write(looks.look(kind, arguments), values)


def _array(kind: Kind[T], values: Iterable[T]) -> int:
    """One that breaks off lacks its last bracket: it cannot be taken for the whole."""
    written = _each(values, _element_writer(kind))
    sys.stdout.write("\n]\n" if written else "[]\n")
    sys.stdout.flush()
    return written


def _each(values: Iterable[T], put: Callable[[T], None]) -> int:
    count = 0
    for value in values:
        put(value)
        count += 1
    sys.stdout.flush()
    return count


def _element_writer(kind: Kind[T]) -> Callable[[T], None]:
    before = "[\n"

    def put(value: T) -> None:
        nonlocal before
        sys.stdout.write(before + _json(kind.row(value)))
        before = ",\n"

    return put


def json_writer(kind: Kind[T]) -> Callable[[T], None]:
    """Writes a value as an object on a line."""

    def put(value: T) -> None:
        sys.stdout.write(f"{_json(kind.row(value))}\n")

    return put


def csv_writer(kind: Kind[T]) -> Callable[[T], None]:
    """Writes a value as a line; the first line, which names the columns, is written at once."""
    writer = csv.DictWriter(sys.stdout, kind.columns, lineterminator="\n")
    writer.writeheader()

    def put(value: T) -> None:
        writer.writerow(kind.row(value))

    return put


def _json(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False)
