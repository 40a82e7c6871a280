"""A Docker engine, Compose and debootstrap from Debian's packages, beside the system's own."""

import fcntl
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tracker.embedded.apt import Apt, find_mirror, unpack
from tracker.settings import Settings

RELEASES = {"bookworm": (), "trixie": ("docker-cli",)}  # what only this one has
_ENGINE = (
    *("docker.io", "containerd", "runc", "tini", "debootstrap", "iptables"),
    *("libip4tc2", "libip6tc2", "libxtables12", "libmnl0", "libnfnetlink0", "libnftnl11"),
    *("libnetfilter-conntrack3", "libdevmapper1.02.1", "libseccomp2"),
)
_COMPOSE = "docker-compose"  # of Debian 13, which is Apt's own release; needs no library


def release() -> str:
    """The codename of this machine's Debian; empty for another system."""
    system = platform.freedesktop_os_release()
    return system.get("VERSION_CODENAME", "") if system["ID"] == "debian" else ""


def mirror() -> str:
    """The address of Debian's packages."""
    return Settings.load().debian_mirror or find_mirror()


def prefix() -> Path:
    """The folder with the programs, fetched at first use; concurrent callers wait."""
    cache = Settings.load().cache
    cache.mkdir(parents=True, exist_ok=True)
    place = cache / f"engine-{release()}"
    with (cache / f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            _fetch_programs(place)
    return place


def environment(place: Path) -> Mapping[str, str]:
    """The variables with which the programs in *place* find each other and their libraries."""
    [libraries] = (place / "usr/lib").glob("*-linux-gnu")
    return os.environ | {
        "PATH": f"{place}/usr/sbin:{place}/usr/bin:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": str(libraries),
        "XTABLES_LIBDIR": f"{libraries}/xtables",
        "DEBOOTSTRAP_DIR": f"{place}/usr/share/debootstrap",
    }


def _fetch_programs(place: Path) -> None:
    """Make *place*, atomically; no script of a package runs, so that no service starts."""
    with tempfile.TemporaryDirectory(dir=place.parent) as name:
        folder = Path(name)
        _unpack_packages(folder / "compose", "trixie", (_COMPOSE,))
        _unpack_packages(folder / "engine", release(), (*_ENGINE, *RELEASES[release()]))
        whole = folder / "engine/prefix"
        for link in ("iptables", "ip6tables"):
            (whole / "usr/sbin" / link).unlink(missing_ok=True)
            (whole / "usr/sbin" / link).symlink_to("xtables-nft-multi")
        shutil.move(folder / "compose/prefix/usr/libexec/docker", whole / "config")
        shutil.move(whole, place)


def _unpack_packages(folder: Path, codename: str, packages: tuple[str, ...]) -> None:
    folder.mkdir()
    apt = Apt(folder, mirror(), codename)
    apt.update()
    for package in apt.download(packages):
        unpack(package, folder / "prefix")
