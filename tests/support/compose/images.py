"""Debian's slim image, made with debootstrap: the base of our image and of the stand-ins."""

import shutil
import subprocess
from pathlib import Path

from tests.support.compose import programs
from tests.support.compose.engine import Engine

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
_AUTHORITIES_INSIDE = "/etc/host-authorities.pem"


def build_base(engine: Engine) -> None:
    """A stand-in for Debian's slim image, with this machine's certificate authorities."""
    root = engine.folder / "rootfs"
    command = ("debootstrap", "--variant=minbase", "--foreign", "trixie", str(root))
    engine.run(*command, programs.mirror())
    (root / "etc/dpkg/dpkg.cfg.d").mkdir(parents=True, exist_ok=True)
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(_DPKG)
    variables = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBOOTSTRAP_DIR": "/debootstrap"}
    words = [f"{name}={value}" for name, value in variables.items()]
    engine.run(
        "env", "-i", *words, "chroot", str(root), "/debootstrap/debootstrap", "--second-stage"
    )
    (root / "etc/apt/apt.conf.d/slim").write_text(_APT)
    for folder in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"):
        shutil.rmtree(root / folder)
    for folder in ("var/cache/apt/archives/partial", "var/lib/apt/lists/partial"):
        (root / folder).mkdir(parents=True)
    _import_image(engine, root)
    shutil.rmtree(root)


def _import_image(engine: Engine, root: Path) -> None:
    changes = ['CMD ["bash"]']
    if _AUTHORITIES.exists():
        shutil.copy(_AUTHORITIES, f"{root}{_AUTHORITIES_INSIDE}")
        names = ("PIP_CERT", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")
        changes += [f"ENV {name}={_AUTHORITIES_INSIDE}" for name in names]
    options = [word for change in changes for word in ("--change", change)]
    with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
        engine.run("docker", "import", *options, "-", BASE, stdin=tar.stdout)
