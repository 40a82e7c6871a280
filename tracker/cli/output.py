"""Output for programs: JSON and CSV on standard output, with the API's own names and values."""

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from tracker import rows
from tracker.rows import Row

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RowFormat:
    """The CSV columns of a command's values, and the JSON object of one value."""

    columns: tuple[str, ...]
    render: Callable[[Any], Row]


_PRICES = RowFormat((*rows.PRICE_COLUMNS, *rows.EXTRA_COLUMNS), rows.price_row)
ROW_FORMATS = {
    "last": _PRICES,
    "prices": _PRICES,
    "watch": _PRICES,
    "candles": RowFormat(rows.CANDLE_COLUMNS, rows.candle_row),
    "gaps": RowFormat(rows.GAP_COLUMNS, rows.gap_row),
    "coverage": RowFormat(rows.COVERAGE_COLUMNS, rows.coverage_row),
}


def write_values(arguments: argparse.Namespace, values: Iterable[Any]) -> int:
    """Write the command's *values* in the requested format; their number."""
    row_format = ROW_FORMATS[arguments.name]
    match output_format(arguments):
        case "json":
            return write_json(map(row_format.render, values))
        case "csv":
            return write_csv(row_format.columns, map(row_format.render, values))
    from tracker.cli import tables  # rich is slow to import

    return tables.print_table(tables.table_format(arguments), values)


def output_format(arguments: argparse.Namespace) -> str:
    """The format of `--format`; by default a table on a terminal, JSON elsewhere."""
    return arguments.format or ("table" if sys.stdout.isatty() else "json")


def write_json(objects: Iterable[Row]) -> int:
    """Write an array with an object a line; the number of objects.

    An array that an error or Ctrl-C interrupts is closed too: the exit status marks it as partial.
    """
    count = 0
    try:
        for row in objects:
            line = (",\n" if count else "[\n") + _dump(row)
            count += 1
            sys.stdout.write(line)
    finally:
        if count:
            sys.stdout.write("\n]\n")
            sys.stdout.flush()
    if not count:
        sys.stdout.write("[]\n")
        sys.stdout.flush()
    return count


def write_json_lines(objects: Iterable[Row]) -> None:
    """Write an object a line, each at once."""
    for row in objects:
        sys.stdout.write(f"{_dump(row)}\n")
        sys.stdout.flush()


def write_csv(columns: Iterable[str], objects: Iterable[Row], *, at_once: bool = False) -> int:
    """Write a header and a line for each object, *at_once* or buffered; the number of objects."""
    writer = csv.DictWriter(sys.stdout, tuple(columns), lineterminator="\n")
    writer.writeheader()
    count = 0
    for row in objects:
        writer.writerow(row)
        count += 1
        if at_once:
            sys.stdout.flush()
    sys.stdout.flush()
    return count


def write_error(text: str) -> None:
    """Write a line to standard error, apart from the output."""
    sys.stderr.write(f"tracker: {text}\n")


def _dump(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False)
