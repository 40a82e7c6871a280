"""A private apt: its own lists, cache and empty status; the system's are never touched."""

import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from tracker.embedded.account import bound
from tracker.errors import EmbeddedError

Report = Callable[[float], None]  # is told per cent

_STATUS = re.compile(r"dlstatus:\d+:([\d.]+):")
_KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
_SOURCE = """\
Types: deb
URIs: {mirror}
Suites: trixie
Components: main
Architectures: {architecture}
Targets: Packages
Languages: none
PDiffs: no
Signed-By: {keyring}
"""
# Read after the machine's own configuration: its proxies stay, its hooks and pins go.
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


class Apt:
    """apt on Debian 13's packages, with all its state in one folder."""

    def __init__(self, folder: Path, mirror: str, architecture: str) -> None:
        """Write its configuration into *folder*. Raises EmbeddedError without Debian's keys."""
        self._folder = folder
        (folder / "state/lists/partial").mkdir(parents=True)
        (folder / "cache/archives/partial").mkdir(parents=True)
        (folder / "debs").mkdir()
        (folder / "status").touch()
        facts = {"folder": folder, "mirror": mirror, "architecture": architecture}
        facts["keyring"] = _keyring()
        (folder / "debian.sources").write_text(_SOURCE.format_map(facts))
        (folder / "apt.conf").write_text(_CONFIGURATION.format_map(facts))

    def update(self, report: Report) -> None:
        """Fetch the index of packages and check its signature."""
        self._run(["update"], report)

    def download(self, names: Iterable[str], report: Report) -> list[Path]:
        """Fetch the packages and check their hashes: their files."""
        self._run(["download", *names], report)
        return sorted((self._folder / "debs").glob("*.deb"))

    def size(self, names: Iterable[str]) -> int:
        """How much there is to download, in bytes."""
        command = [*self._command, "--print-uris", "download", *names]
        shown = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=self._folder / "debs"
        )
        return sum(
            int(size) for size in re.findall(r"^'.*' \S+ (\d+) ", shown.stdout, re.MULTILINE)
        )

    @property
    def _command(self) -> list[str]:
        return ["apt-get", "-qq", "-c", str(self._folder / "apt.conf")]

    def _run(self, arguments: list[str], report: Report) -> None:
        with (
            tempfile.TemporaryFile("w+", errors="replace") as complaints,
            subprocess.Popen(
                bound([*self._command, *arguments], signal.SIGTERM),
                cwd=self._folder / "debs",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
                errors="replace",
            ) as process,
        ):
            _follow(process, report)
            if process.wait():
                raise EmbeddedError(f"apt-get {arguments[0]}: {_complaint(complaints)}")


def _follow(process: subprocess.Popen[str], report: Report) -> None:
    try:
        for line in process.stdout or ():
            status = _STATUS.match(line)
            if status:
                report(float(status[1]))
    except BaseException:
        process.terminate()
        raise


def _complaint(stream: IO[str]) -> str:
    stream.seek(0)
    lines = [line.strip() for line in stream if line.startswith(("E: ", "Err", "W: "))]
    return " ".join(lines[:1]).removeprefix("E: ").removeprefix("W: ") or "failed without a word"


def _keyring() -> Path:
    for path in _KEYRINGS:
        if path.exists():
            return path
    raise EmbeddedError(
        "Debian's archive keys are missing (apt install debian-archive-keyring);"
        " or use Docker Compose (docker compose up)"
    )
