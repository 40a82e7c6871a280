"""Debian packages through a private apt, which changes no list, cache or status of the system."""

import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator
from email.parser import HeaderParser
from pathlib import Path

from tracker.embedded.account import bind_to_parent, run_command
from tracker.errors import EmbeddedError
from tracker.settings import INSTALLED

# What to do without Debian's packages.
ALTERNATIVE = (
    "set POSTGRES_HOST and REDIS_HOST to your own servers"
    if INSTALLED
    else "use Docker Compose (docker compose up)"
)

ReportProgress = Callable[[float], None]  # takes per cent

_SUITES = {
    *("buster", "bullseye", "bookworm", "trixie", "forky", "duke", "sid"),
    *("oldoldstable", "oldstable", "stable", "testing", "unstable"),
}
# A third party may also have a "stable main"; Debian's own archive lies under debian/.
_DEBIAN_PATH = re.compile(r"/debian(\.list)?(/|$)")
_DISABLED = {"no", "false", "without", "off", "disable"}
_ONE_LINE = re.compile(
    r"deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<uris>\S+)\s+(?P<suites>\S+)(?P<components>.*)"
)
_KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
_SOURCE = """\
Types: deb
URIs: {mirror}
Suites: {suite}
Components: main
Architectures: {architecture}
Targets: Packages
Languages: none
PDiffs: no
Signed-By: {keyring}
"""
# Read after the machine's own configuration: keeps its proxies, removes its hooks and pins.
_CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "root";
APT::Status-Fd "1";
APT::Update::Error-Mode "any";
Dir::State "{folder}/state";
Dir::State::Lists "{folder}/state/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Etc::SourceList "{folder}/debian.sources";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
APT::Get::AllowUnauthenticated "false";
Acquire::Retries "2";
Acquire::http::Timeout "15";
Acquire::https::Timeout "15";
"""
_STATUS = re.compile(r"dlstatus:\d+:([\d.]+):")


def machine_architecture() -> str:
    """Debian's name of this machine's architecture. Raises EmbeddedError without apt."""
    if not all(map(shutil.which, ("apt-get", "dpkg-deb", "dpkg"))):
        raise EmbeddedError(
            f"TimescaleDB and Redis cannot be downloaded without apt: {ALTERNATIVE}"
        )
    return run_command(["dpkg", "--print-architecture"]).strip()


def find_mirror(folder: Path = Path("/etc/apt")) -> str:
    """The URI of the first archive of Debian that apt is configured with.

    A local copy (file:) comes last, because it may be partial. Raises EmbeddedError without any.
    """
    uris = [uri for source in _read_sources(folder) for uri in _debian_uris(source)]
    if not uris:
        raise EmbeddedError(
            f"apt is configured without a Debian mirror: set DEBIAN_MIRROR, or {ALTERNATIVE}"
        )
    return min(uris, key=lambda uri: uri.startswith("file:"))


def _read_sources(folder: Path) -> Iterator[dict[str, str]]:
    """The fields of each entry below *folder*, in both formats of sources.list(5)."""
    parts = folder / "sources.list.d"
    for path in (folder / "sources.list", *sorted(parts.glob("*.list"))):
        for line in _read_lines(path):
            if match := _ONE_LINE.fullmatch(line.partition("#")[0].strip()):
                yield match.groupdict("") | {"types": "deb"}
    for path in sorted(parts.glob("*.sources")):
        text = "\n".join(line for line in _read_lines(path) if not line.startswith("#"))
        for stanza in re.split(r"\n\s*\n", text):
            fields = HeaderParser().parsestr(stanza.strip())
            yield {name.lower(): value for name, value in fields.items()}


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _debian_uris(source: dict[str, str]) -> Iterator[str]:
    """The URIs of *source* that lead to Debian's main archive, not to updates or third parties."""
    types, suites, components = (
        source.get(name, "").split() for name in ("types", "suites", "components")
    )
    if "deb" not in types or source.get("enabled", "").strip().lower() in _DISABLED:
        return
    if "main" not in components or _SUITES.isdisjoint(suites):
        return
    signed_by = source.get("signed-by", "") + source.get("options", "")
    for uri in source.get("uris", "").split():
        is_debian = "debian-archive" in signed_by or _DEBIAN_PATH.search(uri)
        if is_debian and not uri.startswith("cdrom:"):
            yield uri


class Apt:
    """apt on the packages of one Debian suite, with all its state in one folder."""

    def __init__(self, folder: Path, mirror: str, suite: str = "trixie") -> None:
        """Create *folder* with a configuration. Raises EmbeddedError without Debian's keys."""
        self._debs = folder / "debs"
        for name in ("state/lists/partial", "cache/archives/partial", "debs"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        values = {
            "folder": folder,
            "mirror": mirror,
            "suite": suite,
            "architecture": machine_architecture(),
            "keyring": _find_keyring(),
        }
        (folder / "debian.sources").write_text(_SOURCE.format_map(values))
        (folder / "apt.conf").write_text(_CONFIGURATION.format_map(values))
        self._command = ["apt-get", "-qq", "-c", str(folder / "apt.conf")]

    def update(self, report: ReportProgress = lambda _: None) -> None:
        """Fetch the index of packages and verify its signature."""
        self._run(["update"], report)

    def download(self, names: Iterable[str], report: ReportProgress = lambda _: None) -> list[Path]:
        """Fetch the packages, verify their hashes, and return their files."""
        self._run(["download", *names], report)
        return sorted(self._debs.glob("*.deb"))

    def _run(self, arguments: list[str], report: ReportProgress) -> None:
        messages = []
        with subprocess.Popen(
            bind_to_parent([*self._command, *arguments], signal.SIGTERM),
            cwd=self._debs,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            try:
                for line in process.stdout or ():
                    if status := _STATUS.match(line):
                        report(float(status[1]))
                    elif line.startswith(("E: ", "W: ")):
                        messages.append(line[3:].strip())
            except BaseException:
                process.terminate()
                raise
        if process.returncode:
            message = messages[0] if messages else f"exit status {process.returncode}"
            raise EmbeddedError(f"apt-get {arguments[0]}: {message}")


def unpack(package: Path, prefix: Path) -> None:
    """Unpack the files of *package* below *prefix*; none of its scripts runs."""
    run_command(["dpkg-deb", "-x", str(package), str(prefix)])


def _find_keyring() -> Path:
    for path in _KEYRINGS:
        if path.exists():
            return path
    raise EmbeddedError(
        f"Debian's archive keys are missing (apt install debian-archive-keyring); or {ALTERNATIVE}"
    )
