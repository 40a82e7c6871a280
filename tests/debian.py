"""Debian's Prometheus and what belongs to it: programs that only tests run, from a private apt."""

import fcntl
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from tracker.embedded.apt import Apt
from tracker.embedded.sources import find_mirror
from tracker.settings import Settings

_PACKAGES = (
    *("prometheus", "promtool", "prometheus-alertmanager"),
    *("prometheus-postgres-exporter", "prometheus-redis-exporter", "prometheus-node-exporter"),
)
_NAME = "prometheus-13"  # Debian's release


@cache
def programs() -> Path:
    """The folder with them, fetched at first use; whoever comes meanwhile waits."""
    kept = Settings.load().cache
    kept.mkdir(parents=True, exist_ok=True)
    with (kept / f"{_NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (kept / _NAME).exists():
            _fetch(kept / _NAME)
    return kept / _NAME


def program(name: str) -> str:
    """The path of one of them."""
    return str(programs() / name)


def _fetch(place: Path) -> None:
    """Make *place*, whole or not at all; no script of a package runs."""
    mirror = Settings.load().debian_mirror or find_mirror()
    asked = subprocess.run(
        ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
    )
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        apt = Apt(Path(folder), mirror, asked.stdout.strip())
        apt.update(lambda _: None)
        for package in apt.download(_PACKAGES, lambda _: None):
            subprocess.run(["dpkg-deb", "-x", package, f"{folder}/prefix"], check=True)
        shutil.move(f"{folder}/prefix/usr/bin", place)
