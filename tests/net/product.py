"""The product as an outsider runs it: its programs, its environment, its sockets.

The net (tests/net) imports nothing of the product. It starts a checkout, sends requests and runs
commands, and compares what it sees with recordings in the tree:

    pytest tests/net                              # this checkout
    NET_CHECKOUT=/path/to/other pytest tests/net  # another one, which has its own .venv
    NET_RECORD=1 pytest tests/net                 # write the recordings instead of comparing

tests/net/behaviour holds statuses, headers, bodies and structure; tests/net/texts holds messages
for people, which may be reworded. A commit that changes behaviour on purpose records again, so
that `git diff tests/net/behaviour` shows exactly what it changes.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

CHECKOUT = Path(os.environ.get("NET_CHECKOUT") or Path(__file__).parents[2]).resolve()
COMMAND_TIMEOUT = 120.0  # seconds
START_TIMEOUT = 60.0  # seconds
STOP_TIMEOUT = 20.0  # seconds

# All that a program gets of our environment; the rest could change its behaviour.
_INHERITED = ("PATH", "HOME", "USER", "XDG_CACHE_HOME", "TRACKER_CACHE", "DEBIAN_MIRROR")
_FIXED = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC", "COLUMNS": "80"}


@dataclass(frozen=True, slots=True)
class Web:
    """A running API.

    url: where it listens.
    log: its standard output and error.
    """

    url: str
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def host(self) -> str:
        """The host and port of the URL."""
        return self.url.removeprefix("http://")

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rpartition(":")[2])

    def stop(self) -> None:
        """Ask it to stop, and wait for it."""
        self.process.terminate()
        self.process.wait(STOP_TIMEOUT)


@dataclass(frozen=True, slots=True)
class Product:
    """A checkout with servers and a home of its own.

    folder: a temporary folder that other accounts may enter.
    environment: all variables that its programs see.
    """

    folder: Path
    environment: dict[str, str]

    @property
    def program(self) -> Path:
        """The `tracker` program."""
        return CHECKOUT / ".venv" / "bin" / "tracker"

    @property
    def dsn(self) -> str:
        """The connection string of the database, as its owner."""
        return self.done("dsn").stdout.strip()

    def changed(self, **variables: str) -> "Product":
        """The same servers, other settings: capital names, such as WEB_PORT="8001"."""
        return replace(self, environment={**self.environment, **variables})

    def run(
        self, *arguments: str, stdin: str | None = None, timeout: float = COMMAND_TIMEOUT
    ) -> subprocess.CompletedProcess[str]:
        """Run `tracker` with *arguments* to its end, whatever its exit status."""
        return subprocess.run(
            [self.program, *arguments],
            check=False,
            input=stdin or "",
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=self.folder,
            timeout=timeout,
        )

    def done(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `tracker` with *arguments*. Fails unless it succeeds."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"tracker {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done

    @contextmanager
    def web(self) -> Iterator[Web]:
        """`tracker web` on a free port, until the end of the block."""
        with self.background("web", WEB_HOST="127.0.0.1", WEB_PORT=str(free_port())) as web:
            deadline = time.monotonic() + START_TIMEOUT
            while not _listening(web.port):
                assert web.process.poll() is None, web.log.read_text()
                assert time.monotonic() < deadline, web.log.read_text()
                time.sleep(0.02)
            yield web

    @contextmanager
    def background(self, *arguments: str, **variables: str) -> Iterator[Web]:
        """`tracker` with *arguments* in the background, until the end of the block."""
        log = Path(tempfile.mkstemp(prefix=f"{arguments[0]}-", suffix=".log", dir=self.folder)[1])
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [self.program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**self.environment, **variables},
                cwd=self.folder,
            )
        started = Web(f"http://127.0.0.1:{variables.get('WEB_PORT', '0')}", log, process)
        try:
            yield started
        finally:
            if process.poll() is None:
                started.stop()

    @contextmanager
    def database(self, name: str) -> Iterator["Product"]:
        """The same servers with another, migrated database, dropped at the end of the block."""
        dsn, other = self.dsn, self.changed(POSTGRES_DB=name)
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute(f'CREATE DATABASE "{name}"')
        try:
            other.done("migrate")
            yield other
        finally:
            with psycopg.connect(dsn, autocommit=True) as conn:
                conn.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def running_product() -> Iterator[Product]:
    """A product with running servers and a migrated, empty database, until the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="tracker-net-"))
    folder.chmod(0o755)  # as root, the servers run as another account
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    product = Product(folder, {**inherited, **_FIXED, "TRACKER_HOME": str(folder / "home")})
    try:
        try:
            product.done("infra")
            product.done("migrate")
            yield product
        finally:
            product.done("down-infra")
    finally:
        shutil.rmtree(folder)


def free_port() -> int:
    """A port of the loopback address on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _listening(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False
