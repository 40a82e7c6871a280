"""Debian's slim image, made with debootstrap: the ground of ours, and of the other stand-ins."""

import shutil
import subprocess
from pathlib import Path

from tests.compose import programs
from tests.compose.engine import Engine

BASE = "debian:trixie-slim"
# What the official image leaves out, and how it treats apt.
_DPKG = """\
force-unsafe-io
path-exclude /usr/share/doc/*
path-exclude /usr/share/man/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/info/*
"""
_APT = """\
Acquire::Languages "none";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb || true"; };
"""
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
_INSIDE = "/etc/host-authorities.pem"


def build_base(engine: Engine) -> None:
    """A stand-in for Debian's slim image. Whom this machine trusts, builds in it trust too."""
    root = engine.folder / "rootfs"
    command = ("debootstrap", "--variant=minbase", "--foreign", "trixie", str(root))
    engine.run(*command, programs.mirror())
    (root / "etc/dpkg/dpkg.cfg.d").mkdir(parents=True, exist_ok=True)
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(_DPKG)
    bare = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBOOTSTRAP_DIR": "/debootstrap"}
    words = [f"{name}={value}" for name, value in bare.items()]
    engine.run(
        "env", "-i", *words, "chroot", str(root), "/debootstrap/debootstrap", "--second-stage"
    )
    (root / "etc/apt/apt.conf.d/slim").write_text(_APT)
    for folder in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"):
        shutil.rmtree(root / folder)
    for folder in ("var/cache/apt/archives/partial", "var/lib/apt/lists/partial"):
        (root / folder).mkdir(parents=True)
    _import(engine, root)
    shutil.rmtree(root)


def _import(engine: Engine, root: Path) -> None:
    changes = ['CMD ["bash"]']
    if _AUTHORITIES.exists():
        shutil.copy(_AUTHORITIES, f"{root}{_INSIDE}")
        names = ("PIP_CERT", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")
        changes += [f"ENV {name}={_INSIDE}" for name in names]
    options = [word for change in changes for word in ("--change", change)]
    with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
        engine.run("docker", "import", *options, "-", BASE, stdin=tar.stdout)
