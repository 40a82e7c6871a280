"""Which PostgreSQL and Redis to run: this machine's own if they will do, else the bundle."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tracker.embedded.bundle import bundle
from tracker.errors import EmbeddedError
from tracker.settings import Settings

_POSTGRESQL = 15
_TIMESCALEDB = (2, 19)
_BROKEN = {(2, 30, 0)}  # its prepared queries returned rows twice, timescaledb #10584
HOST = Path("/usr/lib/postgresql")
_BUNDLED = "postgres-17"


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """PostgreSQL with TimescaleDB, and Redis.

    folder: the name of the data folder they make; only the same programs may open it.
    postgres: the folder of PostgreSQL's programs.
    community: whether TimescaleDB is the edition with background jobs.
    """

    folder: str
    major: int
    postgres: Path
    redis: Path
    community: bool = False


def find(settings: Settings, host: Path = HOST) -> Programs:
    """The programs for this home: those that made its data, else the first that will do.

    The machine's own are looked for in *host*; else they are fetched, if need be.
    Raises EmbeddedError if they cannot be had.
    """
    kept = sorted(path.parent.name for path in settings.home.glob("postgres-*/PG_VERSION"))
    fitting = [programs for programs in _installed(host) if not kept or programs.folder in kept]
    if fitting:
        return fitting[0]
    if kept and _BUNDLED not in kept:
        raise EmbeddedError(
            f"{settings.home / kept[0]} was made by a PostgreSQL that is no longer on this"
            " machine: install it again, or set TRACKER_HOME to an empty folder"
        )
    return _bundled(bundle(settings.cache, settings.debian_mirror))


def _bundled(prefix: Path) -> Programs:
    return Programs(
        folder=_BUNDLED,
        major=17,
        postgres=prefix / "usr/lib/postgresql/17/bin",
        redis=prefix / "usr/bin/redis-server",
    )


def _installed(root: Path) -> Iterator[Programs]:
    """Those of the machine, newest first."""
    redis = shutil.which("redis-server")
    majors = (int(path.name) for path in root.glob("*") if path.name.isdecimal())
    for major in sorted(majors, reverse=True):
        home = root / str(major)
        if redis and major >= _POSTGRESQL and _has_timescaledb(home):
            yield Programs(
                folder=f"postgres-{major}-host",
                major=major,
                postgres=home / "bin",
                redis=Path(redis),
                community=any((home / "lib").glob("timescaledb-tsl-*.so")),
            )


def _has_timescaledb(home: Path) -> bool:
    version = max(map(_version, home.glob("lib/timescaledb-*.so")), default=())
    return (home / "bin/postgres").exists() and version >= _TIMESCALEDB and version not in _BROKEN


def _version(library: Path) -> tuple[int, ...]:
    """The version in a name such as timescaledb-2.19.3.so; nothing for the TSL part."""
    number = library.stem.removeprefix("timescaledb-")
    return tuple(map(int, number.split("."))) if number.replace(".", "").isdecimal() else ()
