"""Which PostgreSQL is run: the machine's own where it will do, and the one that made the data."""

import os
from pathlib import Path

import pytest

from tests.bundles import place_in, write_entry
from tracker.embedded import programs
from tracker.errors import EmbeddedError
from tracker.settings import Settings


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with Redis, whose PostgreSQLs are to be put here."""
    redis = tmp_path / "bin/redis-server"
    redis.parent.mkdir()
    redis.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{redis.parent}:{os.environ['PATH']}")
    return tmp_path / "postgresql"


def install(root: Path, major: int, *libraries: str) -> None:
    for name in ("bin/postgres", *(f"lib/{library}.so" for library in libraries)):
        path = root / str(major) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def home_of(settings: Settings, folder: Path, *data: str) -> Settings:
    for name in data:
        (folder / name).mkdir(parents=True)
        (folder / name / "PG_VERSION").touch()
    return settings.changed(tracker_home=folder)


def test_the_newest_that_will_do(root: Path, settings: Settings, tmp_path: Path) -> None:
    """PostgreSQL from 15 on, with TimescaleDB from 2.19 on."""
    install(root, 14, "timescaledb-2.19.3")
    install(root, 15, "timescaledb-2.19.3")
    install(root, 16, "timescaledb-2.9.0", "timescaledb-2.22.1", "timescaledb-tsl-2.22.1")
    install(root, 17, "timescaledb-2.18.2")
    install(root, 18)

    found = programs.find(home_of(settings, tmp_path / "home"), root)

    assert (found.major, found.folder, found.community) == (16, "postgres-16-host", True)
    assert found.postgres == root / "16/bin"


@pytest.mark.parametrize("library", ["timescaledb-2.30.0", "timescaledb-2.18.2", "plpgsql"])
def test_other_programs_are_those_of_the_cache(
    root: Path, settings: Settings, tmp_path: Path, library: str
) -> None:
    """Where the machine's own are too old, known to be broken, or not there at all."""
    install(root, 17, library)
    cache = tmp_path / "cache"
    write_entry(place := place_in(cache))

    home = home_of(settings.changed(tracker_cache=cache), tmp_path / "home")
    found = programs.find(home, root)

    assert found.redis == place / "usr/bin/redis-server"
    assert found.folder == "postgres-17"


def test_the_one_that_made_the_data(root: Path, settings: Settings, tmp_path: Path) -> None:
    """What was installed since then does not matter."""
    install(root, 16, "timescaledb-2.22.1")
    install(root, 18, "timescaledb-2.22.1")

    first = programs.find(home_of(settings, tmp_path / "first", "postgres-17"), root)
    second = programs.find(home_of(settings, tmp_path / "second", "postgres-16-host"), root)

    assert (first.folder, second.folder) == ("postgres-17", "postgres-16-host")


def test_the_one_that_made_the_data_is_gone(root: Path, settings: Settings, tmp_path: Path) -> None:
    """An empty database in its place would look like a loss."""
    install(root, 18, "timescaledb-2.22.1")

    with pytest.raises(EmbeddedError, match=r"postgres-16-host.*TRACKER_HOME"):
        programs.find(home_of(settings, tmp_path / "home", "postgres-16-host"), root)
