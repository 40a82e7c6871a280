"""Entries in the cache of programs, made without a network."""

from pathlib import Path

import pytest

from tracker.embedded.packages import ensure_bundle, write_manifest
from tracker.errors import EmbeddedError

UNAVAILABLE_MIRROR = "file:/nowhere/debian"  # fails at once, while a refused port is retried


def cache_entry_path(cache: Path) -> Path:
    """The path of the bundle in *cache*, derived from the lock file of a failed build."""
    with pytest.raises(EmbeddedError):
        ensure_bundle(cache, UNAVAILABLE_MIRROR)
    [lock] = cache.glob("*.lock")
    return lock.with_suffix("")


def write_cache_entry(path: Path) -> None:
    """Write a small, complete entry."""
    path.mkdir()
    (path / "program").write_text("a program")
    (path / "link").symlink_to("program")
    write_manifest(path)
