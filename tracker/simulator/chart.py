"""Chart data: averages of the very prices that were served."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

SAMPLES: Final = 6
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_MICRO: Final = Decimal("1e-6")
_FINER: Final = Decimal("1e-2")  # of a price whose own step is that small


@dataclass(frozen=True, slots=True)
class Range:
    """How far a chart reaches back and how far its points lie apart, in seconds."""

    reach: int
    step: int


# The steps of 1y and all are unknown; a day is our choice, and two years for all.
RANGES: Final = {
    "1h": Range(_HOUR, SAMPLES),
    "1d": Range(_DAY, 5 * _MINUTE),
    "2d": Range(2 * _DAY, 5 * _MINUTE),
    "1m": Range(30 * _DAY, _HOUR),
    "1y": Range(365 * _DAY, _DAY),
    "all": Range(730 * _DAY, _DAY),
}

Price = Callable[[int], Decimal]


def points(price: Price, chart: Range, second: int, quantum: Decimal) -> list[list[object]]:
    """``[[ms, mean], …]`` up to *second*, oldest first, on multiples of the step.

    Each point is the mean of six samples of *price*, evenly spread over the step that
    ends at it: in an hour's chart those of its own second and of the five before.
    Rounded to six decimals, or two more than *quantum* has where prices are that small.
    """
    last = second - second % chart.step
    moments = range(last - chart.reach + chart.step, last + 1, chart.step)
    finest = min(_MICRO, quantum * _FINER)
    return [[1_000 * at, _mean(price, at, chart.step).quantize(finest)] for at in moments]


def _mean(price: Price, end: int, step: int) -> Decimal:
    apart = step // SAMPLES
    return sum((price(end - apart * back) for back in range(SAMPLES)), Decimal(0)) / SAMPLES
