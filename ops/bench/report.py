"""Figures of the benchmark: rounds, their ratios, and the table. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeVar

T = TypeVar("T")

_HEADS = ("what", "cache", "median", "rounds", "wanted", "")


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    values: one for each round, in *unit*; at least one.
    at_least, at_most: the limit of the median; without either the line only informs.
    cache: "hit" or "miss" of the API's response cache; empty where no response is measured.
    note: the values behind the figure, such as the requests/s of both sides.
    """

    what: str
    values: Sequence[float]
    unit: str = "x"
    at_least: float | None = None
    at_most: float | None = None
    cache: str = ""
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the median keeps the limit; None without one."""
        if self.at_least is not None:
            return median(self.values) >= self.at_least
        return None if self.at_most is None else median(self.values) <= self.at_most

    @property
    def wanted(self) -> str:
        """The limit in words; empty without one."""
        sign, limit = ("≥", self.at_least) if self.at_most is None else ("≤", self.at_most)
        return "" if limit is None else f"{sign} {limit:g} {self.unit}".rstrip()

    @property
    def cells(self) -> tuple[str, ...]:
        """The columns of the table."""
        middle, low, high = map(_number, (median(self.values), min(self.values), max(self.values)))
        spread = f"{low}…{high} ({len(self.values)})"
        verdict = {None: "", True: "reached", False: "NOT reached"}[self.reached]
        return (self.what, self.cache, f"{middle} {self.unit}", spread, self.wanted, verdict)

    @property
    def facts(self) -> dict[str, Any]:
        """The figure with every round, for JSON."""
        return {
            **{name: getattr(self, name) for name in ("what", "cache", "unit", "reached", "note")},
            "median": median(self.values),
            "rounds": list(self.values),
            "wanted": self.wanted or None,
        }


def alternate(count: int, *sides: Callable[[], T], warm: bool = True) -> list[list[T]]:
    """The results of each of *sides* in *count* rounds.

    A first round warms up and does not count. Every second round runs backwards, so that no side
    is always the first.
    """
    results: list[list[T]] = [[] for _ in sides]
    for side in sides if warm else ():
        side()
    for number in range(count):
        order = list(zip(results, sides, strict=True))
        for values, side in order[:: -1 if number % 2 else 1]:
            values.append(side())
    return results


def compare(
    what: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    unit: str,
    *,
    inverse: bool = False,
    **options: Any,
) -> Figure:
    """The ratio of ours to theirs, or its *inverse*, with both medians as the note."""
    values = ratios(theirs, ours) if inverse else ratios(ours, theirs)
    note = f"{_number(median(ours))} {unit} against {_number(median(theirs))} {unit}"
    return Figure(what, values, note=note, **options)


def ratios(upper: Iterable[float], lower: Iterable[float]) -> list[float]:
    """Round by round: a machine that is slow for a while slows both sides."""
    return [above / below for above, below in zip(upper, lower, strict=True)]


def render_table(figures: Sequence[Figure]) -> str:
    """A line for each figure, its note below."""
    rows = [_HEADS, *(figure.cells for figure in figures)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row, note in zip(rows, ["", *(figure.note for figure in figures)], strict=True):
        text = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines += [text.rstrip(), f"    {note}"] if note else [text.rstrip()]
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"  # noqa: PLR2004 -- three digits
