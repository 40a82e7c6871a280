"""How far a long step is: a bar on a terminal's standard error, nothing elsewhere."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from stat import S_ISREG
from typing import IO, TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress  # most runs show nothing, and need not wait for it

T = TypeVar("T")
Show = Callable[[str], None]


@contextmanager
def read(stream: IO[bytes]) -> Iterator[Show]:
    """Show the step that is given, and how much of *stream* is read."""
    size = os.fstat(stream.fileno()).st_size if _is_file(stream) else None
    with _bar() as bar:
        task = bar.add_task("", total=None)

        def show(step: str) -> None:
            done = stream.tell() if size else 0
            bar.update(task, description=step, completed=done, total=None if done == size else size)

        yield show


def shows(stream: IO[Any]) -> bool:
    """Whether somebody sees how far it is, while what they do not see goes to *stream*."""
    return sys.stderr.isatty() and _is_file(stream)


def counted(values: Iterable[T], total: int | None, step: str) -> Iterator[T]:
    """Show how many of *values* are taken, of a *total* if it is known."""
    with _bar() as bar:
        yield from bar.track(values, total=total, description=step)


def _bar() -> "Progress":
    """What is printed meanwhile comes above it, but stays out of it where it is no terminal's."""
    from rich.console import Console  # noqa: PLC0415 -- see above
    from rich.progress import Progress  # noqa: PLC0415

    return Progress(
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
        redirect_stdout=sys.stdout.isatty(),
    )


def _is_file(stream: IO[Any]) -> bool:
    """Whether it has a size: a pipe has none, nor has what else never says."""
    return S_ISREG(os.fstat(stream.fileno()).st_mode)
