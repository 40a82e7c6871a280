"""The real Prometheus and its exporters, scraping a running tracker."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml
from psycopg.conninfo import conninfo_to_dict

from ops.bench.processes import free_ports
from tests.support.debian import program_path
from tests.support.recipes import RunningRecipe
from tracker.embedded.account import bind_to_parent
from tracker.settings import CHECKOUT

OPS = CHECKOUT / "ops"
_PROGRAMS = ("postgres", "redis", "host", "prometheus")


class Prometheus:
    """A client of a running Prometheus."""

    def __init__(self, port: int) -> None:
        """Connect to the one on *port*."""
        self._prometheus = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1")

    def close(self) -> None:
        """Close the connection."""
        self._prometheus.close()

    def query_api(self, path: str, **params: str) -> Any:
        """The data of a response of Prometheus' API; None while it is unavailable."""
        try:
            response = self._prometheus.get(path, params=params)
        except httpx.TransportError:
            return None
        return response.json()["data"] if response.is_success else None

    def values(self, expression: str) -> list[float]:
        """The current value of *expression* for every series."""
        data = self.query_api("/query", query=expression)
        return [float(series["value"][1]) for series in data["result"]] if data else []

    def firing(self, alert: str) -> set[str]:
        """The tickers whose *alert* fires."""
        data = self.query_api("/alerts") or {"alerts": []}
        labels = [each["labels"] for each in data["alerts"] if each["state"] == "firing"]
        return {each["ticker"] for each in labels if each["alertname"] == alert}


@contextmanager
def run_prometheus(tracker: RunningRecipe, folder: Path, worker: int) -> Iterator[Prometheus]:
    """Scrape *tracker*, whose worker serves metrics on port *worker*."""
    ports = dict(zip(_PROGRAMS, free_ports(len(_PROGRAMS)), strict=True))
    targets = ports | {"web": int(tracker.env["WEB_PORT"]), "worker": worker}
    home = Path(str(conninfo_to_dict(tracker.just("dsn").stdout.strip())["host"]))
    commands = {
        "postgres": [
            program_path("prometheus-postgres-exporter"),
            *("--no-collector.stat_user_tables", "--no-collector.statio_user_tables"),
        ],
        "redis": [program_path("prometheus-redis-exporter")],
        "host": [
            program_path("prometheus-node-exporter"),
            "--collector.filesystem.fs-types-exclude=^(tmpfs|proc|sysfs|cgroup2?)$",
        ],
        "prometheus": _prometheus_command(folder, targets),
    }
    environment = {
        "DATA_SOURCE_NAME": f"host={home} user=exporter dbname=tracker_demo",
        "REDIS_ADDR": f"unix://{home}/redis.sock",
    }
    with ExitStack() as stack:
        for name, command in commands.items():
            listen = f"--web.listen-address=127.0.0.1:{ports[name]}"
            log = folder / f"{name}.log"
            stack.enter_context(_run_program([*command, listen], environment, log))
        prometheus = Prometheus(ports["prometheus"])
        stack.callback(prometheus.close)
        yield prometheus


def write_test_config(folder: Path, targets: Mapping[str, int]) -> Path:
    """A copy of the shipped configuration that scrapes each second and fires without delay.

    The jobs and rules are the same; the addresses are *targets*.
    """
    config = yaml.safe_load((OPS / "prometheus/prometheus.yml").read_text())
    config["global"] = {
        "scrape_interval": "1s",
        "scrape_timeout": "1s",
        "evaluation_interval": "1s",
    }
    del config["alerting"]
    for job in config["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        job.pop("metrics_path", None)
        job["static_configs"] = [{"targets": [f"127.0.0.1:{targets[job['job_name']]}"]}]
    rules = yaml.safe_load((OPS / "prometheus/rules.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
    (folder / "rules.yml").write_text(yaml.safe_dump(rules))
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    return folder / "prometheus.yml"


def _prometheus_command(folder: Path, targets: Mapping[str, int]) -> list[str]:
    return [
        program_path("prometheus"),
        f"--config.file={write_test_config(folder, targets)}",
        f"--storage.tsdb.path={folder}/prometheus",
        "--log.level=warn",
    ]


@contextmanager
def _run_program(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as stream:
        process = subprocess.Popen(
            bind_to_parent(command, signal.SIGKILL),
            env=os.environ | environment,
            stdout=stream,
            stderr=stream,
        )
    try:
        yield
        assert process.poll() is None, f"it ended:\n{log.read_text(errors='replace')}"
    finally:
        process.terminate()
        process.wait(30)
