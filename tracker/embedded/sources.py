"""Which mirror has Debian's packages: the one this machine's own apt uses."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tracker.errors import EmbeddedError

_SUITES = {
    *("buster", "bullseye", "bookworm", "trixie", "forky", "duke", "sid"),
    *("oldoldstable", "oldstable", "stable", "testing", "unstable"),
}
# A third party may also have a "stable main"; Debian's own archive lives under debian/.
_PATH = re.compile(r"/debian(\.list)?(/|$)")
_ONE_LINE = re.compile(
    r"deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<rest>.*)"
)


@dataclass(frozen=True, slots=True)
class Source:
    """An entry of an apt sources file that offers binary packages."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""

    @property
    def is_debian(self) -> bool:
        """Whether this is the archive of Debian proper, not an update or a third party's."""
        return (
            not self.uri.startswith("cdrom:")
            and "main" in self.components
            and not _SUITES.isdisjoint(self.suites)
            and ("debian-archive" in self.signed_by or _PATH.search(self.uri) is not None)
        )


def find_mirror(folder: Path = Path("/etc/apt")) -> str:
    """The address of the first Debian archive that apt is configured for.

    Raises EmbeddedError if there is none.
    """
    for source in _installed(folder):
        if source.is_debian:
            return source.uri
    raise EmbeddedError(
        "apt on this machine knows no Debian mirror: name one in DEBIAN_MIRROR,"
        " or use Docker Compose (docker compose up)"
    )


def _installed(folder: Path) -> Iterator[Source]:
    parts = folder / "sources.list.d"
    for path in (folder / "sources.list", *sorted(parts.glob("*.list"))):
        yield from parse_list(_text(path))
    for path in sorted(parts.glob("*.sources")):
        yield from parse_deb822(_text(path))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def parse_list(text: str) -> Iterator[Source]:
    """Sources of the one-line form, `deb [options] uri suite component…`."""
    for line in text.splitlines():
        match = _ONE_LINE.fullmatch(line.partition("#")[0].strip())
        if match:
            signed = re.search(r"signed-by=(\S+)", match["options"] or "")
            yield Source(
                match["uri"],
                (match["suite"],),
                tuple(match["rest"].split()),
                signed[1] if signed else "",
            )


def parse_deb822(text: str) -> Iterator[Source]:
    """Sources of the form with a field a line; one for each address."""
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        fields = _fields(stanza)
        if "deb" not in fields.get("types", "").split() or fields.get("enabled") == "no":
            continue
        for uri in fields.get("uris", "").split():
            yield Source(
                uri,
                tuple(fields.get("suites", "").split()),
                tuple(fields.get("components", "").split()),
                fields.get("signed-by", ""),
            )


def _fields(stanza: str) -> dict[str, str]:
    joined = re.sub(r"\n\s+", " ", stanza)
    pairs = (line.partition(":") for line in joined.splitlines() if ":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
