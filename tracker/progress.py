"""Progress of long steps: a bar on standard error, if that is a terminal."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from stat import S_ISREG
from typing import IO, TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress  # a slow import, and most runs show no bar

# rich itself honours NO_COLOR for colours only, and would still print bold text.
COLOR_SYSTEM: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"

T = TypeVar("T")
ShowStep = Callable[[str], None]


@contextmanager
def track_reading(stream: IO[bytes]) -> Iterator[ShowStep]:
    """Show how much of *stream* is read; the yielded function takes the name of the step."""
    size = os.fstat(stream.fileno()).st_size if _is_file(stream) else None
    with _bar() as bar:
        task = bar.add_task("", total=None)

        def show(step: str) -> None:
            done = stream.tell() if size else 0
            bar.update(task, description=step, completed=done, total=None if done == size else size)

        yield show


def is_visible(stream: IO[Any]) -> bool:
    """Whether a bar is visible while output goes to *stream*, a file."""
    return sys.stderr.isatty() and _is_file(stream)


def track_items(values: Iterable[T], total: int | None, step: str) -> Iterator[T]:
    """Iterate *values* and show how many are consumed, of *total* if it is known."""
    with _bar() as bar:
        yield from bar.track(values, total=total, description=step)


@contextmanager
def track_percentage(step: str) -> Iterator[Callable[[float], None]]:
    """Show the percentage of *step* that is done. The yielded function takes it.

    Without a terminal it is written as a few plain lines.
    """
    if sys.stderr.isatty():
        with _bar() as bar:
            task = bar.add_task(step, total=100)
            yield lambda percent: bar.update(task, completed=percent)
        return
    sys.stderr.write(f"{step} …\n")
    thresholds = [75, 50, 25]

    def report(percent: float) -> None:
        while thresholds and percent >= thresholds[-1]:
            sys.stderr.write(f"  {thresholds.pop()} %\n")

    yield report


def _bar() -> "Progress":
    """A bar below lines that are printed to the same terminal meanwhile."""
    from rich.console import Console  # noqa: PLC0415 -- as above
    from rich.progress import Progress  # noqa: PLC0415

    return Progress(
        console=Console(stderr=True, color_system=COLOR_SYSTEM),
        transient=True,
        disable=not sys.stderr.isatty(),
        redirect_stdout=sys.stdout.isatty(),
    )


def _is_file(stream: IO[Any]) -> bool:
    """Whether *stream* is a regular file, which has a size; a pipe has none."""
    return S_ISREG(os.fstat(stream.fileno()).st_mode)
