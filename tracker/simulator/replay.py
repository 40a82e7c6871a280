"""A recorded price series, played over and over."""

import csv
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import chain
from pathlib import Path
from typing import Final

from tracker.errors import SettingsError

_SECOND: Final = 1_000_000  # microseconds
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d*)?")
# A bare number is told by its size: seconds up to the year 5138, then milli- and microseconds.
_UNITS: Final = ((10**11, _SECOND), (10**14, 1_000), (10**17, 1))
_PRICES: Final = ("price", "close")


@dataclass(frozen=True, slots=True)
class Recording:
    """Rows of an index, oldest first.

    times: microseconds since 1970, strictly rising.
    prices: one for each time, exactly as recorded.
    """

    times: Sequence[int]
    prices: Sequence[Decimal]

    @property
    def first(self) -> int:
        """When the first row was recorded, in microseconds."""
        return self.times[0]

    @property
    def period(self) -> int:
        """Microseconds until it starts again: the last row lasts as long as the one before."""
        last_gap = self.times[-1] - self.times[-2] if len(self.times) > 1 else _SECOND
        return self.times[-1] - self.times[0] + last_gap

    def price_at(self, second: int, start: int) -> Decimal:
        """The latest row at or before *second*, if the first row stands at *start* (µs)."""
        moment = self.first + (second * _SECOND - start) % self.period
        return self.prices[bisect_right(self.times, moment) - 1]


def load(path: Path) -> Recording:
    """The recording in a CSV file of time and price; rows may stand in any order.

    The two are the columns named ``timestamp…`` and ``price`` or ``close``, else the first
    two. Times are RFC 3339 (UTC unless they say otherwise) or UNIX seconds, milliseconds
    or microseconds. Of rows of one moment the later in the file counts.

    Raises SettingsError naming the file, and the line where there is one.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = dict(sorted(_rows(path, file)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{path}: {error}") from error
    if not rows:
        raise SettingsError(f"{path}: no prices in it")
    return Recording(tuple(rows), tuple(rows.values()))


def _rows(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, Decimal]]:
    reader = csv.reader(lines)
    filled = ((reader.line_num, cells) for cells in reader if any(map(str.strip, cells)))
    number, head = next(filled, (0, []))
    columns = _columns(head)
    body = filled if _is_header(head) else chain([(number, head)] if head else [], filled)
    for line, cells in body:
        try:
            yield _time(cells[columns[0]].strip()), _price(cells[columns[1]].strip())
        except IndexError:
            raise SettingsError(f"{path}:{line}: too few columns") from None
        except ValueError as error:
            raise SettingsError(f"{path}:{line}: {error}") from error


def _names(head: Sequence[str]) -> list[str]:
    return [cell.strip().lower() for cell in head]


def _is_header(head: Sequence[str]) -> bool:
    """Whether the first line names columns: known names, or no digit at all."""
    names = _names(head)
    known = any(name in _PRICES or name.startswith("timestamp") for name in names)
    return known or not any(map(str.isdigit, "".join(names)))


def _columns(head: Sequence[str]) -> tuple[int, int]:
    names = _names(head)
    times = [at for at, name in enumerate(names) if name.startswith("timestamp")]
    prices = [names.index(name) for name in _PRICES if name in names]
    return (times[0], prices[0]) if times and prices else (0, 1)


def _time(text: str) -> int:
    """Microseconds since 1970. Raises ValueError showing *text*."""
    if _NUMBER.fullmatch(text):
        return _from_number(Decimal(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"not a time: {text!r}") from None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


def _from_number(number: Decimal) -> int:
    for limit, unit in _UNITS:
        if abs(number) < limit:
            return int(number * unit)
    raise ValueError(f"not a UNIX time: {number}")


def _price(text: str) -> Decimal:
    """An exact positive number. Raises ValueError showing *text*."""
    try:
        price = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"not a price: {text!r}") from None
    if not (price.is_finite() and price > 0):
        raise ValueError(f"not a price: {text!r}")
    return price
