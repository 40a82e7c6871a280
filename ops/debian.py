"""Programs of Debian 13 that only measurements and tests run, downloaded by a private apt."""

import fcntl
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tracker.embedded.apt import Apt, find_mirror, unpack
from tracker.embedded.packages import ensure_bundle
from tracker.settings import Settings


def cached_packages(name: str, packages: Sequence[str], part: str) -> Path:
    """The folder *part* of *packages*, downloaded once; concurrent callers wait for it."""
    cache = Settings.load().cache
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (cache / name).exists():
            _download(cache / name, packages, part)
    return cache / name


def linked_command(name: str, packages: Sequence[str], program: str) -> list[str]:
    """The command for *program*, below `usr`, with Debian 13's own libc, which the bundle has."""
    settings = Settings.load()
    prefix = ensure_bundle(settings.cache, settings.debian_mirror)
    folder = cached_packages(name, packages, "usr")
    (loader,) = prefix.glob("usr/lib/*/ld-linux-*.so.?")
    libraries = f"{loader.parent}:{folder / 'lib' / loader.parent.name}"
    return [str(loader), "--library-path", libraries, str(folder / program)]


def _download(target: Path, packages: Sequence[str], part: str) -> None:
    """Create *target* atomically; no script of a package runs."""
    mirror = Settings.load().debian_mirror or find_mirror()
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        apt = Apt(Path(folder), mirror)
        apt.update()
        for package in apt.download(packages):
            unpack(package, Path(folder, "prefix"))
        shutil.move(f"{folder}/prefix/{part}", target)
