"""Generates clients from the OpenAPI document of a demo, type-checks them, and calls the demo.

`python -m ops.clients` needs node (18 or newer) and npm on PATH; on Debian: apt install npm. The
generators are in .local/clients; CLIENTS names another folder. Their versions are locked in
ops/lock/clients.txt and package-lock.json. check.py and check.ts are what a user would write: no
generator has an option, and no value a cast.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping
from pathlib import Path

from ops.bench.processes import free_ports, running
from tracker.settings import CHECKOUT, Settings

FOLDER = Path(__file__).parent
LOCK = CHECKOUT / "ops" / "lock" / "clients.txt"
PACKAGES = ("package.json", "package-lock.json")
TRACKER = Path(sys.executable).with_name("tracker")

# The prices that check.py and check.ts expect: of ten minutes, but two are missing.
SOURCES = dict.fromkeys((0, 1, 2, 3, 4, 6, 9), "poll") | {5: "chart"}
HISTORY = "ticker,created_at,price,source\n" + "".join(
    f"btc_usd,2024-01-15T12:{minute:02}Z,10{minute}.50,{source}\n"
    for minute, source in sorted(SOURCES.items())
)


def main() -> None:
    """Check the clients of each language."""
    place = Path(os.environ.get("CLIENTS", CHECKOUT / ".local" / "clients"))
    place.mkdir(parents=True, exist_ok=True)
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise SystemExit(f"no {program} on PATH; on Debian: apt install npm")
    install_python(place)
    install_typescript(place)
    with tempfile.TemporaryDirectory(prefix="tracker-clients-") as folder:
        Path(folder).chmod(0o755)  # for root, the servers run as another user
        run_checks(place, Path(folder))


def install_python(place: Path) -> None:
    """The generator and mypy, in a virtual environment of their own."""
    installed = place / "installed.txt"
    if installed.exists() and installed.read_bytes() == LOCK.read_bytes():
        return
    print(f"Installing ops/lock/{LOCK.name} into {place}")
    venv.create(place / "venv", clear=True, with_pip=True)
    pip = [place / "venv/bin/python", "-m", "pip", "--disable-pip-version-check", "--no-input"]
    run(*pip, "install", "--quiet", "--only-binary", ":all:", "--require-hashes", "-r", LOCK)
    shutil.copy(LOCK, installed)


def install_typescript(place: Path) -> None:
    """The generator, the client that its types are for, and the compiler."""
    if all(
        (place / name).exists() and (place / name).read_bytes() == (FOLDER / name).read_bytes()
        for name in PACKAGES
    ):
        return
    print(f"Installing ops/clients/{PACKAGES[1]} into {place}")
    for name in PACKAGES:
        shutil.copy(FOLDER / name, place)
    run("npm", "ci", "--prefix", place, "--ignore-scripts", "--no-audit", "--no-fund")


def run_checks(place: Path, folder: Path) -> None:
    """Start a demo in *folder*, import HISTORY, and check both clients."""
    web, simulator = free_ports(2)
    env = os.environ | {
        "TRACKER_HOME": str(folder / "home"),
        "TRACKER_CACHE": str(Settings.load().cache),
        "WEB_PORT": str(web),
        "SIMULATOR_PORT": str(simulator),
        "POSTGRES_HOST": "",
        "REDIS_HOST": "",
    }
    url = f"http://127.0.0.1:{web}"
    demo = [str(TRACKER), "demo"]
    with running(demo, env, folder / "demo.log", ready=f"{url}/health/ready"):
        (folder / "history.csv").write_text(HISTORY)
        run(TRACKER, "import", folder / "history.csv", env=env)
        check_python(place, folder, f"{url}/v1")
        check_typescript(place, folder, f"{url}/v1")


def check_python(place: Path, folder: Path, url: str) -> None:
    """Generate with openapi-python-client, check with mypy, and call."""
    print("Python: openapi-python-client")
    programs = place / "venv/bin"
    env = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "MYPYPATH": str(folder / "py")}
    command = [programs / "openapi-python-client", "generate", "--url", f"{url}/openapi.json"]
    run(*command, "--output-path", folder / "py", env=env)
    run(programs / "mypy", "--strict", FOLDER / "check.py", cwd=folder, env=env)
    env["PYTHONPATH"] = str(folder / "py")
    run(programs / "python", FOLDER / "check.py", url, env=env)


def check_typescript(place: Path, folder: Path, url: str) -> None:
    """Generate with openapi-typescript, compile with tsc, and call."""
    print("TypeScript: openapi-typescript and openapi-fetch")
    programs, source = place / "node_modules/.bin", folder / "ts"
    source.mkdir()
    (source / "node_modules").symlink_to(place / "node_modules")
    shutil.copy(FOLDER / "package.json", source)
    shutil.copy(FOLDER / "check.ts", source)
    run(programs / "openapi-typescript", f"{url}/openapi.json", "-o", source / "schema.d.ts")
    options = ["--strict", "--noUncheckedIndexedAccess", "--target", "es2022"]
    modules = ["--module", "nodenext", "--types", "node"]
    run(programs / "tsc", *options, *modules, "check.ts", "schema.d.ts", cwd=source)
    run("node", "check.js", url, cwd=source)


def run(
    *command: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> None:
    """Run a command. Raises SystemExit if it fails."""
    done = subprocess.run(command, env=env, cwd=cwd, check=False)
    if done.returncode:
        raise SystemExit(f"{Path(command[0]).name} failed with {done.returncode}")


if __name__ == "__main__":
    main()
