"""The cached programs: fetched once, whole or not at all. The suite never downloads twice."""

import time
from pathlib import Path
from threading import Thread

import pytest

from tracker.embedded import fetch
from tracker.embedded.bundle import Machine, bundle, is_whole, write_manifest
from tracker.errors import EmbeddedError
from tracker.settings import Settings

pytestmark = pytest.mark.slow

NOWHERE = "http://127.0.0.1:9/debian"


def fake_build(place: Path, _: Machine, mirror: str | None) -> None:
    """As slow as it takes for another builder to come."""
    time.sleep(0.2)
    place.mkdir(exist_ok=True)
    (place / "program").write_text(f"from {mirror}")
    for name in ("link", "manifest"):
        (place / name).unlink(missing_ok=True)
    (place / "link").symlink_to("program")
    write_manifest(place)


def test_a_second_call_is_instant(servers: Settings) -> None:
    """What is there and whole is not fetched, nor is anything asked over the network."""
    began = time.perf_counter()

    place = bundle(servers.cache, NOWHERE)

    assert time.perf_counter() - began < 1
    assert is_whole(place)


@pytest.mark.parametrize("harm", ["missing", "cut", "manifest", "junk"])
def test_a_broken_entry_is_built_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    """Whatever is wrong with it."""
    monkeypatch.setattr("tracker.embedded.fetch.build", fake_build)
    place = bundle(tmp_path, "first")
    damage(place, harm)
    assert not is_whole(place)

    again = bundle(tmp_path, "second")

    assert again == place
    assert (place / "program").read_text() == "from second"
    assert is_whole(place)


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


def test_builders_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several at the same time, one builds."""
    built: list[Path] = []

    def build(place: Path, machine: Machine, mirror: str | None) -> None:
        fake_build(place, machine, mirror)
        built.append(place)

    monkeypatch.setattr("tracker.embedded.fetch.build", build)
    threads = [Thread(target=bundle, args=(tmp_path, None)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(built) == 1


def test_without_network_one_line_and_nothing_left(tmp_path: Path) -> None:
    """The message names what could not be fetched; the cache has no half-made entry."""
    with pytest.raises(EmbeddedError) as caught:
        bundle(tmp_path, NOWHERE)

    assert NOWHERE in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_leftovers_of_a_killed_builder_are_swept(tmp_path: Path) -> None:
    """They would fill the disk, a piece at each try."""
    left = tmp_path / "place.new-abc"
    left.mkdir()

    with fetch._workshop(tmp_path / "place") as workshop:
        assert list(tmp_path.iterdir()) == [workshop]

    assert not list(tmp_path.iterdir())


def test_without_apt_the_message_names_docker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is another way to run the tracker."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(EmbeddedError, match="docker compose up"):
        bundle(tmp_path, NOWHERE)
