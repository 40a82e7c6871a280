"""Output for programs: JSON and CSV on standard output, with the API's own names and values."""

import argparse
import csv
import json
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from tracker import rows
from tracker.rows import Row

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MAX_BLOCKED_WRITE = 30  # seconds after such a signal; the reader may have paused

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RowFormat:
    """The CSV columns of a command's values, and the JSON object of one value."""

    columns: tuple[str, ...]
    render: Callable[[Any], Row]


_PRICES = RowFormat((*rows.PRICE_COLUMNS, *rows.EXTRA_COLUMNS), rows.price_row)
ROW_FORMATS = {
    "last": _PRICES,
    "latest": _PRICES,
    "prices": _PRICES,
    "watch": _PRICES,
    "filled prices": RowFormat(
        (*rows.FILLED_PRICE_COLUMNS, *rows.EXTRA_COLUMNS), rows.filled_price_row
    ),
    "candles": RowFormat(rows.CANDLE_COLUMNS, rows.candle_row),
    "filled candles": RowFormat(rows.FILLED_CANDLE_COLUMNS, rows.filled_candle_row),
    "gaps": RowFormat(rows.GAP_COLUMNS, rows.gap_row),
    "coverage": RowFormat(rows.COVERAGE_COLUMNS, rows.coverage_row),
    "stats": RowFormat(rows.STATISTICS_COLUMNS, rows.statistics_row),
}


def values_name(arguments: argparse.Namespace) -> str:
    """What a command prints: its name, or `filled prices` and `filled candles` with `--fill`."""
    name = str(arguments.name)
    return f"filled {name}" if getattr(arguments, "fill", None) else name


def write_values(arguments: argparse.Namespace, values: Iterable[Any]) -> int:
    """Write the command's *values* in the requested format; their number."""
    row_format = ROW_FORMATS[values_name(arguments)]
    match output_format(arguments):
        case "json":
            return write_json(map(row_format.render, values))
        case "csv":
            objects = map(row_format.render, values)
            if "filled" in row_format.columns:
                objects = map(rows.with_text_flag, objects)
            return write_csv(row_format.columns, objects)
    from tracker.cli import tables  # rich is slow to import

    if arguments.name == "stats":
        values = (figure for found in values for figure in tables.list_figures(found))
    return tables.print_table(tables.table_format(arguments), values)


def output_format(arguments: argparse.Namespace) -> str:
    """The format of `--format`; by default a table on a terminal, JSON elsewhere."""
    return arguments.format or ("table" if sys.stdout.isatty() else "json")


class StopSignals:
    """Lets STOP_SIGNALS end the output after a whole row, and then the process as they would.

    They interrupt the wait for a row, and not the writing of one, unless that is blocked for
    MAX_BLOCKED_WRITE or another signal follows.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._is_waiting = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        ignored = [each for each in STOP_SIGNALS if signal.getsignal(each) is signal.SIG_IGN]
        for each in {*STOP_SIGNALS, signal.SIGALRM}.difference(ignored):
            self._previous[each] = signal.signal(each, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        signal.alarm(0)
        for each, handler in self._previous.items():
            signal.signal(each, handler)
        if self._received:
            signal.raise_signal(self._received)

    def until_stopped(self, values: Iterable[T]) -> Iterator[T]:
        """*values*; raises KeyboardInterrupt after a signal."""
        iterator = iter(values)
        while True:
            try:
                self._is_waiting = True
                if self._received:
                    raise KeyboardInterrupt
                value = next(iterator)
            except StopIteration:
                return
            finally:
                self._is_waiting = False
            yield value

    def _handle(self, number: int, _: object) -> None:
        if self._received:
            signal.signal(self._received, signal.SIG_DFL)
            signal.raise_signal(self._received)
        self._received = number
        signal.alarm(MAX_BLOCKED_WRITE)
        if self._is_waiting:
            self._is_waiting = False
            raise KeyboardInterrupt


def write_json(objects: Iterable[Row]) -> int:
    """Write an array with an object a line; the number of objects.

    An array that an error or a signal interrupts is closed too: the exit status marks it as
    partial.
    """
    count = 0
    with StopSignals() as signals:
        try:
            for row in signals.until_stopped(objects):
                sys.stdout.write((",\n" if count else "[\n") + _dump(row))
                count += 1
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
    with StopSignals() as signals:
        for row in signals.until_stopped(objects):
            sys.stdout.write(f"{_dump(row)}\n")
            sys.stdout.flush()


def write_csv(columns: Iterable[str], objects: Iterable[Row], *, at_once: bool = False) -> int:
    """Write a header and a line for each object, *at_once* or buffered; the number of objects."""
    writer = csv.DictWriter(sys.stdout, tuple(columns), lineterminator="\n")
    count = 0
    with StopSignals() as signals:
        try:
            writer.writeheader()
            for row in signals.until_stopped(objects):
                writer.writerow(row)
                count += 1
                if at_once:
                    sys.stdout.flush()
        finally:
            sys.stdout.flush()
    return count


def write_error(text: str) -> None:
    """Write a line to standard error, apart from the output."""
    sys.stderr.write(f"tracker: {text}\n")


def _dump(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False)
