"""What comes over a stream, against what was seen before it. Pure."""

from dataclasses import dataclass
from decimal import Decimal, localcontext

from tracker.models import SourcedPrice

_DIGITS = 120  # a price has fewer than 50


@dataclass(frozen=True, slots=True)
class Move:
    """A price, and how far it is from the one before.

    change: None for the first one, and for one of the past, which moves nothing.
    """

    price: SourcedPrice
    change: Decimal | None = None

    @property
    def note(self) -> str:
        """What is remarkable about it."""
        return "repaired" if self.price.source == "chart" else ""


class Tape:
    """The newest price seen of each index."""

    def __init__(self) -> None:
        """None so far."""
        self._newest: dict[str, SourcedPrice] = {}

    def take(self, price: SourcedPrice) -> Move | None:
        """What *price* is against the newest; None if it is that one."""
        before = self._newest.get(price.ticker)
        if before == price:
            return None
        if before and price.created_at < before.created_at:
            return Move(price)
        self._newest[price.ticker] = price
        return Move(price, _difference(price, before) if before else None)


def _difference(price: SourcedPrice, before: SourcedPrice) -> Decimal:
    with localcontext(prec=_DIGITS):
        return price.price - before.price
