"""The shipped compose.yaml on a private engine, with a simulated exchange."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import yaml

from ops.bench.processes import free_ports
from tests.support.compose.engine import Engine
from tracker.settings import CHECKOUT

TIMEOUT = 120.0  # seconds
PROJECT = "deribit-price-tracker"
TICKERS = ("btc_usd", "eth_usd")
TRACKER = ("web", "worker", "scheduler")
STEADY = ("db", "redis", *TRACKER)
MONITORS = ("prometheus", "alertmanager", "postgres_exporter", "redis_exporter")
EMPTY = ("grafana", "loki", "alloy")  # what has their names does nothing
Row = dict[str, Any]


@dataclass(frozen=True)
class Stack:
    """The stack of *folder*, a copy of the checkout."""

    engine: Engine
    folder: Path

    def compose(self, *words: str) -> str:
        """The output of `docker compose`."""
        profile = ("--profile", "monitoring")
        return self.engine.run("docker", "compose", *profile, *words, cwd=self.folder)

    def just(self, *words: str) -> str:
        """The output of a recipe; the first one makes the folder's own `.venv`, in 20 s."""
        return self.engine.run("ops/just", *words, cwd=self.folder)

    def up(self, *shipped_services: str, build: bool = False) -> None:
        """Start *services* and their dependencies, and wait until all are healthy."""
        options = ("--build",) if build else ()
        self.compose("up", "--detach", "--wait", *options, *shipped_services)

    def docker(self, *words: str) -> str:
        """The output of `docker`."""
        return self.engine.docker(*words)

    def name(self, service: str, number: int = 1) -> str:
        """The container of *service*."""
        return f"{PROJECT}-{service}-{number}"

    def states(self) -> dict[str, str]:
        """The state of each container by name: `healthy`, `running`, `exited 0` …"""
        lines = self.compose("ps", "--all", "--format", "json").splitlines()
        return {row["Name"]: _container_state(row) for row in map(json.loads, lines)}

    def state(self, service: str) -> str:
        """The state of the only container of *service*."""
        return self.states()[self.name(service)]

    def inspect(self, service: str) -> Any:
        """The engine's description of the container of *service*."""
        return json.loads(self.docker("inspect", self.name(service)))[0]

    def get_json(self, service: str, port: int, path: str, number: int = 1, **query: str) -> Any:
        """The response of a published *port* to GET *path*; None without a success."""
        try:
            where = self.compose("port", "--index", str(number), service, str(port))
            response = httpx.get(f"http://{where}{path}", params=query, timeout=10)
            return response.json() if response.is_success else None
        except (httpx.HTTPError, AssertionError):
            return None

    def api(self, path: str, number: int = 1, **query: Any) -> Any:
        """The API's response; None without a success."""
        return self.get_json("web", 8000, path, number, **query)

    def series(self, query: str) -> list[dict[str, str]]:
        """The labels of each series that Prometheus finds by *query*."""
        response = self.get_json("prometheus", 9090, "/api/v1/query", query=query)
        return [series["metric"] for series in response["data"]["result"]] if response else []

    def psql(self, statement: str) -> None:
        """Run *statement* in the database's container."""
        program = ("psql", "--no-psqlrc", "--username", "postgres", "--dbname", "postgres")
        self.docker("exec", self.name("db"), *program, "--command", statement)

    def query(self, statement: str) -> str:
        """The rows of *statement* in the tracker's database, as text."""
        program = ("psql", "--no-psqlrc", "-At", "--username", "postgres", "--dbname", "tracker")
        return self.docker("exec", self.name("db"), *program, "--command", statement)

    def prices(self, ticker: str) -> dict[str, Row]:
        """The newest prices of *ticker* by their minute."""
        query: dict[str, Any] = {"ticker": ticker, "limit": 1000, "include": "source,observed_at"}
        return {row["created_at"]: row for row in self.api("/v1/prices", **query) or ()}

    def is_polled(self, minute: datetime) -> bool:
        """Whether every ticker's price of *minute* was polled."""
        name = f"{minute:%Y-%m-%dT%H:%M:00Z}"
        response = [self.prices(ticker).get(name, {}) for ticker in TICKERS]
        return [row.get("source") for row in response] == ["poll"] * len(TICKERS)

    def count_requests(self) -> int:
        """The number of requests that the exchange has received."""
        counts = self.get_json("exchange", 8090, "/admin/counts")
        return counts["total"] if counts else 0

    def wait_until(self, condition: Callable[[], object], timeout: float = TIMEOUT) -> None:
        """Wait until *condition* is true; fails with the logs after *timeout* seconds."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"still waiting:\n{self.logs()}"
            time.sleep(0.3)

    def logs(self) -> str:
        """The states and the newest log lines."""
        return f"{self.states()}\n{self.compose('logs', '--no-color', '--tail', '25')}"


@contextmanager
def run_stack(engine: Engine) -> Iterator[Stack]:
    """A project without images or containers; everything of it is removed at the end."""
    folder = engine.folder / "checkout"
    _copy_checkout(folder)
    [port] = free_ports(1)
    own = {
        "COMPOSE_FILE": "compose.yaml:tests/compose/override.yaml",
        "COMPOSE_PROJECT_NAME": PROJECT,
        "CLIENT_BASE_URL": "http://exchange:8090/api/v2",
        "WEB_PORT": f"{port}-{port + 1}",
    }
    stack = Stack(replace(engine, env=dict(engine.env) | own), folder)
    try:
        yield stack
    finally:
        stack.compose("down", "--volumes", "--timeout", "10")


@contextmanager
def renamed_database(stack: Stack) -> Iterator[None]:
    """Stop the tracker and rename its database in the block."""
    stack.compose("stop", *TRACKER)
    stack.psql("ALTER DATABASE tracker RENAME TO tracker_old")
    try:
        yield
    finally:
        stack.compose("stop", *TRACKER)
        stack.psql("DROP DATABASE IF EXISTS tracker")
        stack.psql("ALTER DATABASE tracker_old RENAME TO tracker")
        stack.up(*STEADY)


def list_resources(engine: Engine) -> str:
    """The containers, networks and volumes that exist."""
    networks = "type=custom"
    return (
        engine.docker("ps", "--all", "--quiet")
        + engine.docker("network", "ls", "--quiet", "--filter", networks)
        + engine.docker("volume", "ls", "--quiet")
    )


def shipped_services() -> dict[str, Any]:
    """The services of compose.yaml."""
    shipped: dict[str, Any] = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())
    return shipped["services"]  # type: ignore[no-any-return] # as Compose has it


def _copy_checkout(folder: Path) -> None:
    """Copy what is or may be committed, as a checkout under umask 077 has it.

    No `.env`, and no generated file.
    """
    listed = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = subprocess.run(listed, check=True, capture_output=True, text=True, cwd=CHECKOUT)
    for name in filter(None, names.stdout.split("\0")):
        if (CHECKOUT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, folder / name)
    for path in folder.rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)
    secrets = folder / ".local/secrets"
    secrets.mkdir(parents=True)
    for name in yaml.safe_load((CHECKOUT / "compose.yaml").read_text())["secrets"]:
        (secrets / name).write_text(f"{name}-of-a-test\n")


def _container_state(row: Row) -> str:
    if row["State"] == "exited":
        return f"exited {row['ExitCode']}"
    return row["Health"] or row["State"]  # type: ignore[no-any-return] # as Compose has it
