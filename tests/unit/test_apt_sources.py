"""Which of a machine's apt sources is Debian's own archive."""

from pathlib import Path

import pytest

from tracker.embedded.apt import find_mirror
from tracker.errors import EmbeddedError

DEB822 = """\
# the archive
Types: deb-src
URIs: http://source.example.org/debian
Suites: bookworm
Components: main

Enabled: {enabled}
Types: deb
URIs: http://off.example.org/debian
Suites: bookworm
Components: main

Types: deb deb-src
# URIs: http://old.example.org/debian
URIs: http://one.example.org/x http://two.example.org/debian/
Suites: bookworm bookworm-updates
Components: contrib
  main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """The folder of further sources below an empty /etc/apt."""
    folder = tmp_path / "sources.list.d"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("enabled", ["no", "False", "off"])
def test_deb822_source_is_first_enabled_one_with_binaries(parts: Path, enabled: str) -> None:
    """Comments are skipped, and values may continue on the next line."""
    (parts / "debian.sources").write_text(DEB822.format(enabled=enabled))

    assert find_mirror(parts.parent) == "http://one.example.org/x"


def test_deb822_source_is_enabled_unless_disabled(parts: Path) -> None:
    (parts / "debian.sources").write_text(DEB822.format(enabled="yes"))

    assert find_mirror(parts.parent) == "http://off.example.org/debian"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("deb http://a.example.org/debian bookworm main # x", "http://a.example.org/debian"),
        ("  deb\thttp://a.example.org/debian/ sid main contrib", "http://a.example.org/debian/"),
        ("deb [arch=amd64] http://a.example.org/x/debian sid main",
         "http://a.example.org/x/debian"),
        ("deb mirror+file:///etc/apt/debian.list stable main",
         "mirror+file:///etc/apt/debian.list"),
        ("deb [signed-by=/k/debian-archive.gpg] http://a.example.org/x sid main",
         "http://a.example.org/x"),
        ("#deb http://a.example.org/debian bookworm main", None),
        ("deb-src http://a.example.org/debian bookworm main", None),
        ("deb cdrom:[Debian]/debian/ bookworm main", None),
        ("deb http://a.example.org/debian-security bookworm-security main", None),
        ("deb http://a.example.org/linux/debian bookworm stable", None),
        ("deb http://a.example.org/browser/deb/ stable main", None),
        ("deb http://a.example.org/ubuntu noble main", None),
    ],
)  # fmt: skip
def test_one_line_source_is_debian_proper(parts: Path, line: str, found: str | None) -> None:
    """Third parties use the same suites and components."""
    (parts / "a.list").write_text(f"{line}\ndeb http://last.example.org/debian stable main\n")

    assert find_mirror(parts.parent) == (found or "http://last.example.org/debian")


def test_every_readable_file_is_searched(parts: Path) -> None:
    (parts.parent / "sources.list").write_text("deb http://a.example.org/ubuntu noble main\n")
    (parts / "broken.list").mkdir()
    (parts / "debian.sources").write_text(DEB822.format(enabled="no"))

    assert find_mirror(parts.parent) == "http://one.example.org/x"


def test_local_copy_comes_last(parts: Path) -> None:
    """It may lack packages."""
    (parts / "a.list").write_text("deb file:/srv/debian stable main\n")
    assert find_mirror(parts.parent) == "file:/srv/debian"

    (parts / "b.list").write_text("deb http://a.example.org/debian stable main\n")
    assert find_mirror(parts.parent) == "http://a.example.org/debian"


def test_missing_mirror_names_ways_out(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"DEBIAN_MIRROR.*docker compose up"):
        find_mirror(tmp_path)
