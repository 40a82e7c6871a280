"""What a person sees of a stream: a line for each price, as it comes."""

from collections.abc import Callable, Iterable
from decimal import Decimal

from rich.text import Text

from tracker.rows import amount
from tracker.terminal.looks import DIM, DOWN, REPAIRED, UP, minute
from tracker.terminal.tables import console
from tracker.terminal.tape import Move

_TIME = len("2026-11-20 09:30")
_PRICE, _CHANGE = 12, 9  # least widths


def writer(tickers: Iterable[str]) -> Callable[[Move], None]:
    """Writes a move of one of *tickers*, as a line; a line of headings comes at once."""
    screen, width = console(), max(map(len, tickers), default=0)

    def put(*cells: str | Text) -> None:
        line = Text("  ").join(Text.assemble(cell) for cell in cells)
        line.rstrip()
        screen.print(line)

    def show(move: Move) -> None:
        price, change = move.price, move.change
        number = Text(amount(price.price).rjust(_PRICE), "bold")
        mark = Text(move.note, REPAIRED)
        put(minute(price.created_at), price.ticker.ljust(width), number, _change(change), mark)

    heads = ("minute (UTC)".ljust(_TIME), "index".ljust(width), "price".rjust(_PRICE))
    put(*(Text(head, "bold") for head in (*heads, "change".rjust(_CHANGE))))
    return show


def _change(change: Decimal | None) -> Text:
    """With its sign, so that no colour is needed to read it."""
    text = "" if change is None else f"{change:+f}"
    return Text(text.rjust(_CHANGE), UP if change and change > 0 else DOWN if change else DIM)
