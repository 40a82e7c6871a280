"""The wheel, installed outside the checkout, as a user without any environment runs it."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from ops.bench.processes import free_ports
from tests.support.processes import NOBODY, as_nobody, process_tree, wait_until_dead
from tests.support.waiting import wait_until
from tracker import __version__, migrations
from tracker.settings import CHECKOUT, Settings
from tracker.web import site

pytestmark = pytest.mark.slow

TIMEOUT = 60.0  # seconds
STRANGERS = ("tracker.py", "logging.py", "psycopg.py")  # modules of the user, not ours


@dataclass(frozen=True)
class Installed:
    """The installed command, the user's home, and the folder where it runs."""

    program: Path
    home: Path
    folder: Path

    def start(self, *words: str, **variables: str) -> "subprocess.Popen[str]":
        """`tracker` with *words*, in an environment of *variables* alone; as root, as nobody."""
        prefix = as_nobody() if os.getuid() == 0 else []
        return subprocess.Popen(
            [*prefix, str(self.program), *words],
            cwd=self.folder,
            env={"HOME": str(self.home), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str, **variables: str) -> tuple[int, str]:
        """Its exit status and output."""
        with self.start(*words, **variables) as process:
            output, _ = process.communicate(timeout=TIMEOUT)
        return process.returncode, output


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from this checkout by pip, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", f"--wheel-dir={folder}", str(CHECKOUT))
    [built] = folder.glob("*.whl")
    return built


def pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", *words, "--no-index", "--quiet"]
    subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def installed(wheel: Path, open_tmp: Path) -> Installed:
    """In a virtual environment that has only the dependencies of this one; `.env` names ports."""
    environment, home, folder = (open_tmp / name for name in ("installed", "user", "work"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    pip(f"--python={environment}", "install", "--no-deps", str(wheel))
    # A path in a .pth file does not process that folder's own .pth files, such as the checkout's.
    packages = sysconfig.get_path("purelib", vars={"base": str(environment)})
    Path(packages, "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    for name in (home, folder):
        name.mkdir()
        if os.getuid() == 0:
            os.chown(name, NOBODY, NOBODY)
    web, simulator = free_ports(2)
    (folder / ".env").write_text(
        f"WEB_PORT={web}\nSIMULATOR_PORT={simulator}\nTRACKER_CACHE={Settings.load().cache}\n"
    )
    for name in STRANGERS:
        (folder / name).write_text("raise SystemExit('a module of the working folder')\n")
    return Installed(environment / "bin/tracker", home, folder)


@pytest.fixture(scope="module")
def demo(installed: Installed) -> Iterator[httpx.Client]:
    """A client of a running `tracker demo` with a first price."""
    port = (installed.folder / ".env").read_text().split()[0].partition("=")[2]
    with (
        installed.start("demo") as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client,
    ):
        try:
            wait_until(lambda: process.poll() is not None or has_price(client), TIMEOUT)
            assert process.poll() is None, process.stdout and process.stdout.read()
            yield client
        finally:
            pids = process_tree(process.pid)
            process.terminate()
            process.communicate(timeout=TIMEOUT)
            wait_until_dead(pids)


def has_price(client: httpx.Client) -> bool:
    try:
        return client.get("/prices/last?ticker=btc_usd").status_code == 200
    except httpx.TransportError:
        return False


def test_version_is_that_of_the_checkout(installed: Installed) -> None:
    assert installed.run("--version") == (0, f"tracker {__version__}\n")


def test_state_is_in_the_data_folder_of_the_user(installed: Installed, demo: httpx.Client) -> None:
    """XDG's default, because the environment names none."""
    assert (installed.home / ".local/share/deribit-price-tracker/demo/redis").is_dir()
    assert {path.name for path in installed.folder.iterdir()} == {".env", *STRANGERS}
    assert demo.get("/health/live").status_code == 200


def test_pages_and_their_files_are_in_the_wheel(demo: httpx.Client) -> None:
    paths = ["/", "/docs", "/problems", *(f"/page/{name}" for name in site.file_names())]
    assert {path: demo.get(path).status_code for path in paths} == dict.fromkeys(paths, 200)
    assert "swagger-ui.js" in site.file_names()


@pytest.mark.usefixtures("demo")
@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("last btc_usd --format csv", "btc_usd,"),
        ("psql -AtXc SELECT(current_database())", "tracker_demo\n"),
        ("backup all.zip", "to all.zip\n"),
        ("export all.csv", "prices to all.csv\n"),
    ],
)
def test_command_finds_the_running_demo(installed: Installed, words: str, text: str) -> None:
    status, output = installed.run(*words.split())

    assert (status, text in output) == (0, True), output
    for name in ("all.zip", "all.csv"):
        (installed.folder / name).unlink(missing_ok=True)


@pytest.mark.usefixtures("demo")
def test_migrations_are_in_the_wheel(installed: Installed) -> None:
    sockets = installed.home / ".local/share/deribit-price-tracker/demo/run"
    variables = {"POSTGRES_HOST": str(sockets), "POSTGRES_DB": "tracker_demo"}

    assert installed.run("rollback", "5", **variables)[0] == 0
    applied = installed.run("migrate", **variables)

    names = migrations.names()[5:]
    assert applied == (0, "".join(f"applied {name}\n" for name in names))


def test_state_of_a_user_without_a_home_is_in_the_working_folder(installed: Installed) -> None:
    status, output = installed.run("migrate", HOME="/nonexistent")

    assert status == 1
    assert f"no database runs in {installed.folder}/.local;" in output


def test_messages_name_commands_that_exist_without_a_checkout(installed: Installed) -> None:
    variables = {"XDG_DATA_HOME": str(installed.home / "elsewhere")}

    status, output = installed.run("migrate", **variables)
    assert status == 1
    assert output.endswith("; `tracker infra` starts the embedded servers\n")

    status, output = installed.run("new-migration", "add a column")
    assert (status, output) == (1, "tracker: new-migration: needs a checkout of the project\n")
