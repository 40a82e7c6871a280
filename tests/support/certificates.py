"""Certificates of a private authority, for servers on the loopback."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ops import debian


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files: an authority's certificate; a server's certificate and key, issued by it."""

    authority: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path, *addresses: str) -> Certificates:
    """Make them in *folder* with OpenSSL's program, for localhost and *addresses*, or names."""
    kinds = [f"{'DNS' if each.isidentifier() else 'IP'}:{each}" for each in addresses]
    names = ",".join(["subjectAltName=DNS:localhost", *kinds])
    authority, authority_key = folder / "ca.pem", folder / "ca.key"
    certificate, key = folder / "server.pem", folder / "server.key"
    common = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    issued = ("-CA", authority, "-CAkey", authority_key, "-addext", names)
    signing = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")  # which Python 3.13 asks for
    subject = ("-subj", "/CN=test authority", "-keyout", authority_key, "-out", authority)
    _run_openssl(*common, *signing, *subject)
    _run_openssl(
        *(*common, "-subj", "/CN=test server", *issued, "-keyout", key, "-out", certificate),
        *("-addext", "basicConstraints=critical,CA:FALSE"),
    )
    return Certificates(authority, certificate, key)


def _run_openssl(*words: object) -> None:
    """Run the machine's OpenSSL, or Debian's if it has none."""
    found = shutil.which("openssl")
    openssl = [found] if found else debian.linked_command("openssl-13", ["openssl"], "bin/openssl")
    subprocess.run([*openssl, *map(str, words)], check=True, capture_output=True)
