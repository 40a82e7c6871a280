"""A figure of the benchmark: what the rounds gave, and whether that is enough. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import ge, le
from statistics import median
from typing import Any

_ENDS = {">=": ge, "<=": le}
_SIGNS = {">=": "≥", "<=": "≤"}
_HEADS = ("what", "median", "rounds", "wanted", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table.

    what: which measurement, in words.
    values: one for each round, in *unit*; at least one.
    wanted: the limit that the median has to keep to; None: the line only informs.
    end: which end of the values the limit bounds, ">=" or "<=".
    note: the figures below it, such as the requests/s of both sides.
    """

    what: str
    values: Sequence[float]
    unit: str = "x"
    wanted: float | None = None
    end: str = ">="
    note: str = ""

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return median(self.values)

    @property
    def reached(self) -> bool | None:
        """Whether the median is good enough; None where nothing is wanted."""
        return None if self.wanted is None else _ENDS[self.end](self.median, self.wanted)

    @property
    def cells(self) -> tuple[str, ...]:
        """Its line of the table."""
        spread = f"{_number(min(self.values))}…{_number(max(self.values))} ({len(self.values)})"
        wanted = "" if self.wanted is None else f"{_SIGNS[self.end]} {self.wanted:g} {self.unit}"
        verdict = {None: "", True: "reached", False: "NOT reached"}[self.reached]
        return (self.what, f"{_number(self.median)} {self.unit}", spread, wanted, verdict)

    @property
    def facts(self) -> dict[str, Any]:
        """The same for a program."""
        return {
            "what": self.what,
            "median": self.median,
            "rounds": list(self.values),
            "unit": self.unit,
            "wanted": None if self.wanted is None else f"{self.end} {self.wanted:g}",
            "reached": self.reached,
            "note": self.note,
        }


def ratios(upper: Iterable[float], lower: Iterable[float]) -> list[float]:
    """Round by round, so that what slows a machine for a while slows both sides."""
    return [above / below for above, below in zip(upper, lower, strict=True)]


def table(figures: Sequence[Figure]) -> str:
    """All lines below their heads; a figure's note stands under it."""
    rows = [_HEADS, *(figure.cells for figure in figures)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEADS))]
    notes = ["", *(figure.note for figure in figures)]
    return "\n".join(_line(row, widths, note) for row, note in zip(rows, notes, strict=True))


def _line(row: Sequence[str], widths: Sequence[int], note: str) -> str:
    text = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    return f"{text.rstrip()}\n    {note}" if note else text.rstrip()


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"  # noqa: PLR2004 -- three digits
