"""The stand-in itself: its clock, its market, its faults, its ledger."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypedDict

from tracker.simulator import walk
from tracker.simulator.faults import Fault, Faults
from tracker.simulator.ledger import Ledger
from tracker.simulator.names import NAMES

SECOND: Final = 1_000_000  # microseconds


def microseconds() -> int:
    """The machine's clock: microseconds since 1970, UTC."""
    return time.time_ns() // 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the stand-in behaves.

    seed: of every walk.
    indexes: known beside the usual names.
    faults: in force from the start.
    clock_offset: seconds its clock is ahead of *clock*; negative if behind.
    testnet: what every answer says of itself.
    clock: microseconds since 1970, UTC.
    """

    seed: int = 1
    indexes: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    clock_offset: float = 0.0
    testnet: bool = False
    clock: Callable[[], int] = microseconds

    @property
    def names(self) -> tuple[str, ...]:
        """Every index it knows, each once."""
        return tuple(dict.fromkeys((*NAMES, *self.indexes)))


class Exchange:
    """Everything the stand-in knows."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.names = options.names
        self.ledger = Ledger()
        self.faults = Faults(self.now)
        for fault in options.faults:
            self.faults.add(fault)

    def now(self) -> int:
        """Its clock, in microseconds since 1970."""
        return self.options.clock() + round(self.options.clock_offset * SECOND)

    def price(self, index: str, second: int, method: str = "get_index_price") -> Decimal:
        """What *method* says *index* cost at *second*, any second; a freeze included."""
        stands = self.faults.stands(method, index, second)
        return walk.price_at(self.options.seed, index, stands)


class State(TypedDict):
    """What the lifespan opens and every request may use."""

    exchange: Exchange
