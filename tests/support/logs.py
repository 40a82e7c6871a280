"""The lines that this process logs."""

from collections.abc import Iterator
from contextlib import contextmanager

from loguru import logger


@contextmanager
def capture_log(level: str = "DEBUG", template: str = "{level} {message}") -> Iterator[list[str]]:
    """The lines of *level* and above that are logged in the block, in the format *template*."""
    lines: list[str] = []
    sink = logger.add(lines.append, format=template, level=level)
    try:
        yield lines
    finally:
        logger.remove(sink)
