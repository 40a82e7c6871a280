"""How long and how large: figures one can rely on, or a first look."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The sizes of a run.

    shots: how often each side has its turn at being asked: short turns, as machines are shared.
    seconds: how long such a turn lasts.
    rounds: how often each side has its turn at all else.
    indexes, minutes: how many the deep database has, of each; 500,000 rows deep is in it.
    lines: how many lines are imported.
    crowd: how many seconds 256 connections stay.
    history: how many minutes each of 1,000 indexes has before more are inserted.
    """

    shots: int
    seconds: float
    rounds: int
    indexes: int
    minutes: int
    lines: int
    crowd: float
    history: int


FULL: Final = Scale(
    shots=9,
    seconds=3,
    rounds=5,
    indexes=2,
    minutes=1_050_000,
    lines=1_000_000,
    crowd=60,
    history=2_880,
)
QUICK: Final = Scale(
    shots=3,
    seconds=1,
    rounds=3,
    indexes=1,
    minutes=560_000,
    lines=100_000,
    crowd=6,
    history=300,
)

PAIR: Final = ("btc_usd", "eth_usd")
BASE_MINUTES: Final = 50_000  # of two indexes: the 100,000 rows that others are compared with
MANY: Final = tuple(f"i{number:04}_usd" for number in range(1000))  # of them: 50 million rows
DEEP: Final = 500_000  # rows below the newest
EXPORTED: Final = 1_000_000  # rows, where there are as many
