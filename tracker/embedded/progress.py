"""How far a long step is: a bar on a terminal, a few plain lines elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

_STEP = 25.0  # per cent between plain lines


@contextmanager
def progress(text: str) -> Iterator[Callable[[float], None]]:
    """Show on stderr how far *text* is; what is given takes per cent."""
    if not sys.stderr.isatty():
        sys.stderr.write(f"{text} …\n")
        yield _lines()
        return
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task(text, total=100)
        yield lambda percent: bar.update(task, completed=percent)
        bar.update(task, completed=100)


def _lines() -> Callable[[float], None]:
    shown = 0.0

    def show(percent: float) -> None:
        nonlocal shown
        if percent >= shown + _STEP:
            shown = percent - percent % _STEP
            sys.stderr.write(f"  {shown:.0f} %\n")

    return show
