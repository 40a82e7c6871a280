"""compose.yaml as it is shipped, on an engine of its own, with a simulated exchange beside it."""

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
from tests.compose.engine import Engine
from tracker.settings import CHECKOUT

PATIENCE = 120.0  # seconds
PROJECT = "deribit-price-tracker"
TICKERS = ("btc_usd", "eth_usd")
TRACKER = ("web", "worker", "scheduler")
STEADY = ("db", "redis", *TRACKER)
WATCHERS = ("prometheus", "alertmanager", "postgres_exporter", "redis_exporter")
EMPTY = ("grafana", "loki", "alloy")  # what has their names does nothing
Row = dict[str, Any]


@dataclass(frozen=True)
class Stack:
    """The stack of *folder*, a copy of the checkout."""

    engine: Engine
    folder: Path

    def compose(self, *words: str) -> str:
        """What `docker compose` prints."""
        profile = ("--profile", "monitoring")
        return self.engine.run("docker", "compose", *profile, *words, cwd=self.folder)

    def just(self, *words: str) -> str:
        """What a recipe prints; the first one makes the folder's own `.venv`, in 20 s."""
        return self.engine.run("ops/just", *words, cwd=self.folder)

    def up(self, *services: str, build: bool = False) -> None:
        """Start *services* and what they need, and wait until all of them are well."""
        options = ("--build",) if build else ()
        self.compose("up", "--detach", "--wait", *options, *services)

    def docker(self, *words: str) -> str:
        """What `docker` prints."""
        return self.engine.docker(*words)

    def name(self, service: str, number: int = 1) -> str:
        """The container of *service*."""
        return f"{PROJECT}-{service}-{number}"

    def states(self) -> dict[str, str]:
        """Each container by name: `healthy`, `running`, `exited 0` …"""
        lines = self.compose("ps", "--all", "--format", "json").splitlines()
        return {row["Name"]: _state(row) for row in map(json.loads, lines)}

    def state(self, service: str) -> str:
        """The state of the one container of *service*."""
        return self.states()[self.name(service)]

    def inspect(self, service: str) -> Any:
        """All that the engine knows of the container of *service*."""
        return json.loads(self.docker("inspect", self.name(service)))[0]

    def ask(self, service: str, port: int, path: str, number: int = 1, **query: str) -> Any:
        """The answer of a published *port* to a GET of *path*; None if there is none."""
        try:
            where = self.compose("port", "--index", str(number), service, str(port))
            answer = httpx.get(f"http://{where}{path}", params=query, timeout=10)
            return answer.json() if answer.is_success else None
        except (httpx.HTTPError, AssertionError):
            return None

    def api(self, path: str, number: int = 1, **query: str) -> Any:
        """The API's answer; None if it has none."""
        return self.ask("web", 8000, path, number, **query)

    def series(self, query: str) -> list[dict[str, str]]:
        """The labels of each series that Prometheus finds by *query*."""
        found = self.ask("prometheus", 9090, "/api/v1/query", query=query)
        return [series["metric"] for series in found["data"]["result"]] if found else []

    def psql(self, statement: str) -> None:
        """Run *statement* beside the database."""
        program = ("psql", "--no-psqlrc", "--username", "postgres", "--dbname", "postgres")
        self.docker("exec", self.name("db"), *program, "--command", statement)

    def prices(self, ticker: str) -> dict[str, Row]:
        """The newest prices of *ticker* by their minute."""
        query = {"ticker": ticker, "limit": "1000", "include": "source,observed_at"}
        return {row["created_at"]: row for row in self.api("/v1/prices", **query) or ()}

    def polled(self, minute: datetime) -> bool:
        """Whether every ticker's price of *minute* was polled, neither missed nor repaired."""
        name = f"{minute:%Y-%m-%dT%H:%M:00Z}"
        found = [self.prices(ticker).get(name, {}) for ticker in TICKERS]
        return [row.get("source") for row in found] == ["poll"] * len(TICKERS)

    def asked(self) -> int:
        """How often the exchange was asked for anything."""
        counts = self.ask("exchange", 8090, "/admin/counts")
        return counts["total"] if counts else 0

    def wait_for(self, what: Callable[[], object], patience: float = PATIENCE) -> None:
        """Wait until *what* is true; fails with the logs if it takes too long."""
        deadline = time.monotonic() + patience
        while not what():
            assert time.monotonic() < deadline, f"still waiting:\n{self.logs()}"
            time.sleep(0.3)

    def logs(self) -> str:
        """What all have said lately."""
        return f"{self.states()}\n{self.compose('logs', '--no-color', '--tail', '25')}"


@contextmanager
def composed(engine: Engine) -> Iterator[Stack]:
    """A project with nothing built or started yet; afterwards nothing of it is left."""
    folder = engine.folder / "checkout"
    _copy(folder)
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
def aside(stack: Stack) -> Iterator[None]:
    """The tracker is stopped, and its database has another name; then all is as before."""
    stack.compose("stop", *TRACKER)
    stack.psql("ALTER DATABASE tracker RENAME TO tracker_old")
    try:
        yield
    finally:
        stack.compose("stop", *TRACKER)
        stack.psql("DROP DATABASE IF EXISTS tracker")
        stack.psql("ALTER DATABASE tracker_old RENAME TO tracker")
        stack.up(*STEADY)


def left(engine: Engine) -> str:
    """Containers, networks and volumes that are there."""
    networks = "type=custom"
    return (
        engine.docker("ps", "--all", "--quiet")
        + engine.docker("network", "ls", "--quiet", "--filter", networks)
        + engine.docker("volume", "ls", "--quiet")
    )


def services() -> dict[str, Any]:
    """The services of compose.yaml."""
    shipped: dict[str, Any] = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())
    return shipped["services"]  # type: ignore[no-any-return] # as Compose has it


def _copy(folder: Path) -> None:
    """What is or may be committed; no `.env`, and nothing that changes meanwhile."""
    listed = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = subprocess.run(listed, check=True, capture_output=True, text=True, cwd=CHECKOUT)
    for name in filter(None, names.stdout.split("\0")):
        if (CHECKOUT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, folder / name)
    secrets = folder / ".local/secrets"
    secrets.mkdir(parents=True)
    for name in yaml.safe_load((CHECKOUT / "compose.yaml").read_text())["secrets"]:
        (secrets / name).write_text(f"{name}-of-a-test\n")


def _state(row: Row) -> str:
    if row["State"] == "exited":
        return f"exited {row['ExitCode']}"
    return row["Health"] or row["State"]  # type: ignore[no-any-return] # as Compose has it
