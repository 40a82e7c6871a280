"""How much memory there is for the servers."""

import os
from contextlib import suppress
from pathlib import Path

# Where a container sees its own bound: control groups of version 2, and of version 1.
_BOUNDS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def available() -> int:
    """Bytes that the machine has, or its container may take."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in _BOUNDS:
        with suppress(OSError, ValueError):  # "max" is no number: there is no bound
            found.append(int(file.read_text()))
    return min(found)
