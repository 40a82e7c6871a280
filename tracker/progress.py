"""Progress of long steps: a bar on standard error, if that is a terminal."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from stat import S_ISREG
from typing import IO, TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress  # a slow import, and most runs show no bar

T = TypeVar("T")
Show = Callable[[str], None]


@contextmanager
def read(stream: IO[bytes]) -> Iterator[Show]:
    """Show how much of *stream* is read; the yielded function takes the name of the step."""
    size = os.fstat(stream.fileno()).st_size if _is_file(stream) else None
    with _bar() as bar:
        task = bar.add_task("", total=None)

        def show(step: str) -> None:
            done = stream.tell() if size else 0
            bar.update(task, description=step, completed=done, total=None if done == size else size)

        yield show


def shows(stream: IO[Any]) -> bool:
    """Whether a bar is visible while output goes to *stream*, a file."""
    return sys.stderr.isatty() and _is_file(stream)


def counted(values: Iterable[T], total: int | None, step: str) -> Iterator[T]:
    """Iterate *values* and show how many are taken, of *total* if it is known."""
    with _bar() as bar:
        yield from bar.track(values, total=total, description=step)


@contextmanager
def percentage(step: str) -> Iterator[Callable[[float], None]]:
    """Show how many per cent of *step* are done; the yielded function takes them.

    Without a terminal a few plain lines stand in for the bar.
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
    """A bar below what is printed meanwhile, and untouched by it if that goes elsewhere."""
    from rich.console import Console  # noqa: PLC0415 -- as above
    from rich.progress import Progress  # noqa: PLC0415

    return Progress(
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
        redirect_stdout=sys.stdout.isatty(),
    )


def _is_file(stream: IO[Any]) -> bool:
    """Whether *stream* is a regular file, which has a size; a pipe has none."""
    return S_ISREG(os.fstat(stream.fileno()).st_mode)
