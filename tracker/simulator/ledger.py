"""What was asked, how it was answered, and which prices went out."""

from collections import Counter, defaultdict, deque
from decimal import Decimal
from typing import Final

KEPT: Final = 10_000  # prices of each index
NONE: Final = "-"
UNKNOWN: Final = "unknown"


class Ledger:
    """Counts since the start, and the latest prices; bounded whatever clients send."""

    def __init__(self) -> None:
        self._asked: Counter[tuple[str, str]] = Counter()
        self._answers: Counter[str] = Counter()
        self._served: dict[str, deque[tuple[int, Decimal]]] = defaultdict(
            lambda: deque(maxlen=KEPT)
        )

    def ask(self, method: str, index: str) -> None:
        """Count a call as it arrives."""
        self._asked[method, index] += 1

    def answer(self, outcome: str) -> None:
        """Count what became of a call: ok, refused, or the fault it met."""
        self._answers[outcome] += 1

    def serve(self, index: str, us_out: int, price: Decimal) -> None:
        """Keep a price that went out as an answer a client may believe."""
        self._served[index].append((us_out, price))

    def counts(self) -> dict[str, object]:
        """``{"total", "asked": {method: {index: n}}, "answers": {outcome: n}}``."""
        asked: dict[str, dict[str, int]] = defaultdict(dict)
        for (method, index), calls in sorted(self._asked.items()):
            asked[method][index] = calls
        return {"total": self._asked.total(), "asked": asked, "answers": self._answers}

    def served(self, index: str) -> list[dict[str, object]]:
        """``[{"usOut", "price"}, …]``, oldest first."""
        prices = self._served.get(index, ())
        return [{"usOut": us_out, "price": f"{price:f}"} for us_out, price in prices]
