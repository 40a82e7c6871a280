"""How much memory there is for the servers."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

# Where a container sees its own bound: control groups of version 2, and of version 1.
BOUNDS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def available(bounds: Iterable[Path] = BOUNDS) -> int:
    """Bytes that the machine has, or its container may take by the files of *bounds*."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in bounds:
        with suppress(OSError, ValueError):  # "max" is no number: there is no bound
            found.append(int(file.read_text()))
    return min(found)
