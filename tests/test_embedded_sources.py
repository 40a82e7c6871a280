"""Which of a machine's apt sources is Debian's own archive."""

from pathlib import Path

import pytest

from tracker.embedded.sources import Source, find_mirror, parse_deb822, parse_list
from tracker.errors import EmbeddedError

DEB822 = """\
# the archive
Types: deb deb-src
# URIs: http://old.example.org/debian
URIs: http://one.example.org/debian http://two.example.org/debian/
Suites: bookworm bookworm-updates
Components: main
  contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb-src
URIs: http://source.example.org/debian
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://off.example.org/debian
Suites: bookworm
Components: main
"""


def test_the_form_with_a_field_a_line() -> None:
    """Each address of an enabled stanza with binary packages is a source."""
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    suites, components = ("bookworm", "bookworm-updates"), ("main", "contrib")

    assert list(parse_deb822(DEB822)) == [
        Source("http://one.example.org/debian", suites, components, keyring),
        Source("http://two.example.org/debian/", suites, components, keyring),
    ]


def test_the_one_line_form() -> None:
    """Options and comments are understood; sources of sources are not ours."""
    text = (
        "deb [arch=amd64 signed-by=/keys/a.gpg] http://one.example.org/debian bookworm main # x\n"
        "#deb http://off.example.org/debian bookworm main\n"
        "deb-src http://one.example.org/debian bookworm main\n"
        "  deb\tcdrom:[Debian]/ bookworm main contrib\n"
    )

    assert list(parse_list(text)) == [
        Source("http://one.example.org/debian", ("bookworm",), ("main",), "/keys/a.gpg"),
        Source("cdrom:[Debian]/", ("bookworm",), ("main", "contrib")),
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Source("http://a.example.org/debian", ("bookworm",), ("main",)), True),
        (Source("http://a.example.org/mirrors/debian/", ("sid",), ("main",)), True),
        (Source("mirror+file:///etc/apt/mirrors/debian.list", ("stable",), ("main",)), True),
        (Source("http://a.example.org/x", ("trixie",), ("main",), "/k/debian-archive.gpg"), True),
        (Source("cdrom:[x]/debian/", ("bookworm",), ("main",)), False),
        (Source("http://a.example.org/debian-security", ("bookworm-security",), ("main",)), False),
        (Source("http://a.example.org/linux/debian", ("bookworm",), ("stable",)), False),
        (Source("http://a.example.org/browser/deb/", ("stable",), ("main",)), False),
        (Source("http://a.example.org/ubuntu", ("noble",), ("main",)), False),
    ],
)
def test_the_archive_of_debian_proper(source: Source, *, expected: bool) -> None:
    """Third parties use the same suites and components."""
    assert source.is_debian is expected


def test_the_mirror_is_found_in_any_file(tmp_path: Path) -> None:
    """Files of both forms are read; what cannot be read is passed over."""
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text("deb http://a.example.org/ubuntu noble main\n")
    (parts / "broken.list").mkdir()
    (parts / "debian.sources").write_text(DEB822)

    assert find_mirror(tmp_path) == "http://one.example.org/debian"


def test_no_mirror_is_an_error_that_names_the_ways_out(tmp_path: Path) -> None:
    """The user can name a mirror, or do without us."""
    with pytest.raises(EmbeddedError, match=r"DEBIAN_MIRROR.*docker compose up"):
        find_mirror(tmp_path)
