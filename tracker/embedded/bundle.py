"""The folder with our own PostgreSQL, TimescaleDB and Redis: where it is, and that it is whole.

Made once a machine, used by every home; `fetch` makes it.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tracker.errors import EmbeddedError

_EDITION = 1  # to be raised when `fetch` makes something else of the same packages
_PROGRAMS = "postgresql-17 postgresql-17-timescaledb postgresql-client-17 redis-server redis-tools"
# What those link to, without what they only may load: LLVM for JIT, and Perl.
_LIBRARIES = """
    libatomic1 libaudit1 libc6 libcap-ng0 libcap2 libcom-err2 libgcc-s1 libgssapi-krb5-2
    libicu76 libjemalloc2 libk5crypto3 libkeyutils1 libkrb5-3 libkrb5support0 libldap2
    liblz4-1 liblzf1 liblzma5 libpam0g libpcre2-8-0 libpq5 libreadline8t64 libsasl2-2
    libselinux1 libssl3t64 libstdc++6 libsystemd0 libtinfo6 libuuid1 libxml2 libxslt1.1
    libxxhash0 libzstd1 zlib1g
"""
PACKAGES = (*_PROGRAMS.split(), *_LIBRARIES.split())


@dataclass(frozen=True, slots=True)
class Machine:
    """Where Debian keeps shared libraries on an architecture, below the prefix."""

    architecture: str
    libraries: str
    loader_name: str

    @property
    def loader(self) -> str:
        """The program that starts programs."""
        return f"{self.libraries}/{self.loader_name}"


_MACHINES = {
    "amd64": Machine("amd64", "usr/lib/x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
    "arm64": Machine("arm64", "usr/lib/aarch64-linux-gnu", "ld-linux-aarch64.so.1"),
}


def bundle(cache: Path, mirror: str | None) -> Path:
    """The folder in *cache*, fetched from Debian if it is not there or not whole.

    mirror: where from; None means where this machine's apt gets its packages.
    Raises EmbeddedError in one line if it cannot be had.
    """
    machine = _machine()
    place = _place(cache, machine)
    if is_whole(place):
        return place
    with _alone(place):
        if not is_whole(place):
            from tracker.embedded.fetch import build  # noqa: PLC0415  not needed when warm

            build(place, machine, mirror)
    return place


def is_whole(place: Path) -> bool:
    """Whether every file of *place* is there and has its size."""
    try:
        lines = (place / "manifest").read_text().splitlines()
        facts = (line.split(" ", 1) for line in lines)
        return all(os.lstat(place / name).st_size == int(size) for size, name in facts)
    except (OSError, ValueError):
        return False


def write_manifest(prefix: Path) -> None:
    """Note every file of *prefix* and its size, for `is_whole`."""
    files = sorted(path for path in prefix.rglob("*") if path.is_symlink() or path.is_file())
    lines = (f"{path.lstat().st_size} {path.relative_to(prefix)}\n" for path in files)
    (prefix / "manifest").write_text("".join(lines))


def _machine() -> Machine:
    name = _architecture()
    if name not in _MACHINES:
        raise EmbeddedError(
            f"no embedded servers for {name}, only for amd64 and arm64:"
            " use Docker Compose (docker compose up)"
        )
    return _MACHINES[name]


def _architecture() -> str:
    """Debian's name of this machine's architecture. Raises EmbeddedError without apt."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb") and shutil.which("dpkg")):
        raise EmbeddedError(
            "this machine has no apt to fetch TimescaleDB and Redis with:"
            " use Docker Compose (docker compose up)"
        )
    shown = subprocess.run(
        ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
    )
    return shown.stdout.strip()


def _place(cache: Path, machine: Machine) -> Path:
    # The programs know their own absolute path: moved, they have to be made anew.
    recipe = repr((_EDITION, PACKAGES, os.fspath(cache)))
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    return cache / f"timescaledb-17-{machine.architecture}-{digest}"


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Hold the right to build *place*; others wait for it."""
    try:
        _open_folders(place.parent)
        with place.with_name(f"{place.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise EmbeddedError(f"TRACKER_CACHE: cannot write {place.parent}: {error}") from error


def _open_folders(folder: Path) -> None:
    """Make *folder* so that others may enter, whatever the umask."""
    missing = [step for step in (folder, *folder.parents) if not step.exists()]
    for step in reversed(missing):
        step.mkdir(exist_ok=True)
        step.chmod(0o755)
