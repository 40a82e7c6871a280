"""Programs of Debian 13 that only measurements and tests run, from a private apt."""

import fcntl
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tracker.embedded.apt import Apt, find_mirror, unpack
from tracker.embedded.packages import ensure_bundle
from tracker.settings import Settings


def kept(name: str, packages: Sequence[str], part: str) -> Path:
    """That *part* of *packages*, fetched at first use; whoever comes meanwhile waits."""
    cache = Settings.load().cache
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (cache / name).exists():
            _fetch(cache / name, packages, part)
    return cache / name


def linked(name: str, packages: Sequence[str], program: str) -> list[str]:
    """What runs *program*, of `usr`, with Debian 13's own libc, which is in our bundle."""
    found = Settings.load()
    prefix, place = ensure_bundle(found.cache, found.debian_mirror), kept(name, packages, "usr")
    (loader,) = prefix.glob("usr/lib/*/ld-linux-*.so.?")
    libraries = f"{loader.parent}:{place / 'lib' / loader.parent.name}"
    return [str(loader), "--library-path", libraries, str(place / program)]


def _fetch(place: Path, packages: Sequence[str], part: str) -> None:
    """Make *place*, whole or not at all; no script of a package runs."""
    mirror = Settings.load().debian_mirror or find_mirror()
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        apt = Apt(Path(folder), mirror)
        apt.update()
        for package in apt.download(packages):
            unpack(package, Path(folder, "prefix"))
        shutil.move(f"{folder}/prefix/{part}", place)
