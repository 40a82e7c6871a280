"""The kinds of values that commands write, each with its columns and rows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from tracker import rows
from tracker.rows import Row

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """What is written of one kind of value: the names of the columns, and a row.

    name: of the table that a person sees instead.
    """

    name: str
    columns: tuple[str, ...]
    row: Callable[[T], Row]


LAST = Kind("last", (*rows.PRICE, *rows.EXTRAS), rows.price)
PRICE = Kind("prices", (*rows.PRICE, *rows.EXTRAS), rows.price)
CANDLE = Kind("candles", rows.CANDLE, rows.candle)
GAP = Kind("gaps", rows.GAP, rows.gap)
COVERAGE = Kind("coverage", rows.COVERAGE, rows.coverage)
