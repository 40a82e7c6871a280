"""Tables, coloured where the terminal has colours and NO_COLOR is not set."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

T = TypeVar("T")
Cells = tuple[str | Text, ...]

_BATCH = 1000  # rows of a table: one page of the API, so that the first ones show early
_ENDLESS = 10_000  # columns


@dataclass(frozen=True, slots=True)
class Look(Generic[T]):
    """A table of one kind of value.

    heads: its headings, "<" before those of words.
    cells: a line of it.
    spare: how many columns at its end a narrow terminal goes without.
    """

    heads: tuple[str, ...]
    cells: Callable[[T], Cells]
    spare: int = 0


class _Screen(Console):
    """A console that tells when nobody reads it any more."""

    def on_broken_pipe(self) -> None:
        """Leave it to who knows what then."""
        raise BrokenPipeError


def console() -> Console:
    """Standard output, where no line is broken or cut: a terminal wraps what is too long."""
    return _Screen(width=_ENDLESS, highlight=False, markup=False, emoji=False)


def write(look: Look[T], values: Iterable[T]) -> int:
    """Write all *values*: how many there were."""
    screen, written, rest = console(), 0, iter(values)
    while batch := list(islice(rest, _BATCH)):
        screen.print(_fitting(screen, look, [look.cells(value) for value in batch]))
        written += len(batch)
    return written


def _fitting(screen: Console, look: Look[T], lines: Sequence[Cells]) -> Table:
    """The table with as many of its columns as the terminal is wide enough for."""
    room, count = Console().width if sys.stdout.isatty() else _ENDLESS, len(look.heads)
    table = _table(look.heads, lines)
    while count > len(look.heads) - look.spare and screen.measure(table).maximum > room:
        count -= 1
        table = _table(look.heads[:count], lines)
    return table


def _table(heads: Sequence[str], lines: Iterable[Cells]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for head in heads:
        is_word = head.startswith("<")
        table.add_column(head.removeprefix("<"), justify="left" if is_word else "right")
    for cells in lines:
        table.add_row(*cells[: len(heads)])
    return table
