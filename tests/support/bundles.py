"""Entries in the cache of programs, made without a network."""

from pathlib import Path

import pytest

from tracker.embedded.packages import ensure_bundle, write_manifest
from tracker.errors import EmbeddedError

NOWHERE = "file:/nowhere/debian"  # fails at once, while an unreachable port is tried again


def place_in(cache: Path) -> Path:
    """Where a build for *cache* would put its entry: beside the lock that an attempt leaves."""
    with pytest.raises(EmbeddedError):
        ensure_bundle(cache, NOWHERE)
    [lock] = cache.glob("*.lock")
    return lock.with_suffix("")


def write_entry(place: Path) -> None:
    """A whole entry, small and of no use."""
    place.mkdir()
    (place / "program").write_text("a program")
    (place / "link").symlink_to("program")
    write_manifest(place)
