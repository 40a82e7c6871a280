"""How far an import is: a bar on a terminal, nothing elsewhere."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from stat import S_ISREG
from typing import BinaryIO

from rich.console import Console
from rich.progress import Progress

Show = Callable[[str], None]


@contextmanager
def shown(stream: BinaryIO) -> Iterator[Show]:
    """Show on stderr the step that is given, and how much of *stream* is read."""
    size = _size(stream)
    with Progress(
        console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as bar:
        task = bar.add_task("", total=None)

        def show(step: str) -> None:
            read = stream.tell() if size else 0
            bar.update(task, description=step, completed=read, total=None if read == size else size)

        yield show


def _size(stream: BinaryIO) -> int | None:
    """The size of a file, in bytes; None for a pipe, and what else never says."""
    facts = os.fstat(stream.fileno())
    return facts.st_size if S_ISREG(facts.st_mode) else None
