"""The bad lines of a file, and how they are told."""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice

from tracker.errors import TrackerError

SHOWN = 20  # bad lines; whoever has more made the same mistake in all of them


class BadLines(TrackerError):
    """A file has lines that cannot be imported."""


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """What is wrong with a line; the header is line 1."""

    line: int
    reason: str


class Faults:
    """How many bad lines there are, and the first of them."""

    def __init__(self) -> None:
        """None so far."""
        self._count = 0
        self._first: list[Fault] = []

    def add(self, faults: Sequence[Fault], count: int) -> None:
        """Take *count* more; *faults* are the first of these, in order."""
        self._count += count
        self._first = list(islice(merge(self._first, faults), SHOWN))

    def demand_none(self, name: str) -> None:
        """Raise BadLines, a line of text for each that is shown, if there are any in *name*."""
        if not self._count:
            return
        title = f"{name}: {self._count} bad line{'s'[: self._count > 1]}, nothing is imported"
        shown = [f"  line {fault.line}: {fault.reason}" for fault in self._first]
        hidden = self._count - len(shown)
        raise BadLines("\n".join([title, *shown, *([f"  and {hidden} more"] if hidden else [])]))
