"""Which programs run: suitable ones of the machine, else a bundle that is fetched once."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.packages import UNAVAILABLE_MIRROR, cache_entry_path, write_cache_entry
from tracker.embedded.packages import ensure_bundle, find_programs, is_complete
from tracker.errors import EmbeddedError
from tracker.settings import CHECKOUT, Settings

pytestmark = pytest.mark.slow

UNREACHABLE = "http://127.0.0.1:9/debian"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with Redis; tests install PostgreSQLs into this folder."""
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


def test_newest_suitable_programs_are_chosen(
    root: Path, settings: Settings, tmp_path: Path
) -> None:
    """PostgreSQL from 15 on, with TimescaleDB from 2.19 on."""
    install(root, 14, "timescaledb-2.19.3")
    install(root, 15, "timescaledb-2.19.3")
    install(root, 16, "timescaledb-2.9.0", "timescaledb-2.22.1", "timescaledb-tsl-2.22.1")
    install(root, 17, "timescaledb-2.18.2")
    install(root, 18)

    programs = find_programs(home_of(settings, tmp_path / "home"), root)

    assert (programs.major, programs.folder, programs.community) == (16, "postgres-16-host", True)
    assert programs.postgres == root / "16/bin"


@pytest.mark.parametrize("library", ["timescaledb-2.30.0", "timescaledb-2.18.2", "plpgsql"])
def test_unsuitable_programs_give_way_to_the_bundle(
    root: Path, settings: Settings, tmp_path: Path, library: str
) -> None:
    """Too old, known to be broken, or without TimescaleDB."""
    install(root, 17, library)
    cache = tmp_path / "cache"
    write_cache_entry(place := cache_entry_path(cache))

    home = home_of(settings.changed(tracker_cache=cache), tmp_path / "home")
    programs = find_programs(home, root)

    assert programs.redis == place / "usr/bin/redis-server"
    assert programs.folder == "postgres-17"


def test_programs_that_made_the_data_are_chosen(
    root: Path, settings: Settings, tmp_path: Path
) -> None:
    """Also when newer ones were installed since."""
    install(root, 16, "timescaledb-2.22.1")
    install(root, 18, "timescaledb-2.22.1")

    first = find_programs(home_of(settings, tmp_path / "first", "postgres-17"), root)
    second = find_programs(home_of(settings, tmp_path / "second", "postgres-16-host"), root)

    assert (first.folder, second.folder) == ("postgres-17", "postgres-16-host")


def test_missing_programs_of_existing_data_are_an_error(
    root: Path, settings: Settings, tmp_path: Path
) -> None:
    """An empty database in its place would look like a loss."""
    install(root, 18, "timescaledb-2.22.1")

    with pytest.raises(EmbeddedError, match=r"postgres-16-host.*TRACKER_HOME"):
        find_programs(home_of(settings, tmp_path / "home", "postgres-16-host"), root)


def test_complete_bundle_needs_no_network(servers: Settings) -> None:
    started_at = time.perf_counter()

    place = ensure_bundle(servers.cache, UNAVAILABLE_MIRROR)

    assert time.perf_counter() - started_at < 1
    assert is_complete(place)


@pytest.mark.parametrize("harm", ["missing", "cut", "manifest", "junk"])
def test_incomplete_bundle_is_built_again(tmp_path: Path, harm: str) -> None:
    write_cache_entry(place := cache_entry_path(tmp_path))
    assert ensure_bundle(tmp_path, UNAVAILABLE_MIRROR) == place
    damage_entry(place, harm)
    assert not is_complete(place)

    with pytest.raises(EmbeddedError, match=UNAVAILABLE_MIRROR):
        ensure_bundle(tmp_path, UNAVAILABLE_MIRROR)


def damage_entry(place: Path, harm: str) -> None:
    match harm:
        case "missing":
            (place / "link").unlink()
        case "cut":
            (place / "program").write_text("")
        case "manifest":
            (place / "manifest").unlink()
        case _:
            (place / "manifest").write_bytes(b"junk\n\xff")


def test_concurrent_builders_wait_for_the_first(tmp_path: Path) -> None:
    """One builds; the others use its result."""
    place = cache_entry_path(tmp_path)
    with silent_mirror() as (mirror, url), ThreadPoolExecutor(4) as threads:
        building = [threads.submit(ensure_bundle, tmp_path, url) for _ in range(4)]
        with mirror.accept()[0]:
            write_cache_entry(place)
            assert not any(each.done() for each in building)
            mirror.close()
        errors = [each.exception(30) for each in building]
        programs = [each.result() for each in building if each.exception() is None]

    assert [type(error) for error in errors if error] == [EmbeddedError]
    assert programs == [place] * 3


@contextmanager
def silent_mirror() -> Iterator[tuple[socket.socket, str]]:
    """A mirror that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as mirror:
        mirror.settimeout(30)
        yield mirror, f"http://127.0.0.1:{mirror.getsockname()[1]}/debian"


def test_cache_in_a_path_that_separates_folders_is_refused() -> None:
    """Before anything is downloaded."""
    with pytest.raises(EmbeddedError, match=r"^TRACKER_CACHE: /nonexistent/a;b contains"):
        ensure_bundle(Path("/nonexistent/a;b"), UNREACHABLE)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount")
def test_cache_that_runs_no_program_is_refused(open_tmp: Path, settings: Settings) -> None:
    """Before anything is downloaded."""
    cache = open_tmp / "noexec"
    cache.mkdir()
    own = settings.changed(tracker_home=open_tmp / "home", tracker_cache=cache)
    mount = f"mount -t tmpfs -o noexec none {cache} || exit 77; exec {sys.executable} -m tracker"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"{mount} infra"],
        check=False, env=own.environment(), cwd=CHECKOUT, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode == 77:
        pytest.skip("this container's root may not mount")

    assert done.stderr == (
        f"tracker: TRACKER_CACHE: {cache} is mounted noexec: no program runs there\n"
    )


def test_failed_download_leaves_one_line_and_no_files(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError) as caught:
        ensure_bundle(tmp_path, UNREACHABLE)

    assert UNREACHABLE in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_leftovers_of_a_killed_builder_are_removed(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tracker.embedded.packages import ensure_bundle;"
        " ensure_bundle(Path(sys.argv[1]), sys.argv[2])"
    )
    with silent_mirror() as (mirror, url):
        builder = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), url], start_new_session=True
        )
        with mirror.accept()[0]:
            os.killpg(builder.pid, signal.SIGKILL)
            builder.wait()
    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"]

    with pytest.raises(EmbeddedError):
        ensure_bundle(tmp_path, UNAVAILABLE_MIRROR)

    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_missing_apt_names_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(EmbeddedError, match="docker compose up"):
        ensure_bundle(tmp_path, UNAVAILABLE_MIRROR)
