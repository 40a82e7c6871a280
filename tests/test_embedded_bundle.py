"""The cached programs: fetched once, whole or not at all. The suite never downloads twice."""

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

from tests.bundles import NOWHERE, place_in, write_entry
from tracker.embedded.bundle import bundle, is_whole
from tracker.errors import EmbeddedError
from tracker.settings import Settings

pytestmark = pytest.mark.slow

UNREACHABLE = "http://127.0.0.1:9/debian"


def test_a_second_call_is_instant(servers: Settings) -> None:
    """What is there and whole is not fetched, nor is anything asked over the network."""
    began = time.perf_counter()

    place = bundle(servers.cache, NOWHERE)

    assert time.perf_counter() - began < 1
    assert is_whole(place)


@pytest.mark.parametrize("harm", ["missing", "cut", "manifest", "junk"])
def test_broken_entry_is_built_again(tmp_path: Path, harm: str) -> None:
    """Whatever is wrong with it: another build begins."""
    write_entry(place := place_in(tmp_path))
    assert bundle(tmp_path, NOWHERE) == place
    damage(place, harm)
    assert not is_whole(place)

    with pytest.raises(EmbeddedError, match=NOWHERE):
        bundle(tmp_path, NOWHERE)


def damage(place: Path, harm: str) -> None:
    match harm:
        case "missing":
            (place / "link").unlink()
        case "cut":
            (place / "program").write_text("")
        case "manifest":
            (place / "manifest").unlink()
        case _:
            (place / "manifest").write_bytes(b"junk\n\xff")


def test_builders_wait_for_the_first(tmp_path: Path) -> None:
    """Of several at the same time one builds; the others take what is there when it ends."""
    place = place_in(tmp_path)
    with silent_mirror() as (mirror, url), ThreadPoolExecutor(4) as threads:
        building = [threads.submit(bundle, tmp_path, url) for _ in range(4)]
        with mirror.accept()[0]:
            write_entry(place)
            assert not any(each.done() for each in building)
            mirror.close()
        errors = [each.exception(30) for each in building]
        found = [each.result() for each in building if each.exception() is None]

    assert [type(error) for error in errors if error] == [EmbeddedError]
    assert found == [place] * 3


@contextmanager
def silent_mirror() -> Iterator[tuple[socket.socket, str]]:
    """A mirror that accepts connections, and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as mirror:
        mirror.settimeout(30)
        yield mirror, f"http://127.0.0.1:{mirror.getsockname()[1]}/debian"


def test_without_network_one_line_and_nothing_left(tmp_path: Path) -> None:
    """The message names what could not be fetched; the cache has no half-made entry."""
    with pytest.raises(EmbeddedError) as caught:
        bundle(tmp_path, UNREACHABLE)

    assert UNREACHABLE in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_leftovers_of_a_killed_builder_are_removed(tmp_path: Path) -> None:
    """They would fill the disk, a piece at each attempt."""
    script = (
        "import sys; from pathlib import Path; from tracker.embedded.bundle import bundle;"
        " bundle(Path(sys.argv[1]), sys.argv[2])"
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
        bundle(tmp_path, NOWHERE)

    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_without_apt_the_message_names_docker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is another way to run the tracker."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(EmbeddedError, match="docker compose up"):
        bundle(tmp_path, NOWHERE)
