"""The real Prometheus and its exporters, over a running tracker."""

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
from tests.support.debian import program
from tests.support.running import Running
from tracker.embedded.account import bind_to_parent
from tracker.settings import CHECKOUT

OPS = CHECKOUT / "ops"
_STARTED = ("postgres", "redis", "host", "prometheus")


class Watch:
    """A Prometheus that runs."""

    def __init__(self, port: int) -> None:
        """Ask the one on *port*."""
        self._prometheus = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1")

    def close(self) -> None:
        """Ask no more."""
        self._prometheus.close()

    def asked(self, path: str, **params: str) -> Any:
        """What Prometheus' API says; None while it does not answer."""
        try:
            answer = self._prometheus.get(path, params=params)
        except httpx.TransportError:
            return None
        return answer.json()["data"] if answer.is_success else None

    def values(self, expression: str) -> list[float]:
        """What *expression* is now, of every series."""
        found = self.asked("/query", query=expression)
        return [float(series["value"][1]) for series in found["result"]] if found else []

    def firing(self, alert: str) -> set[str]:
        """The tickers of which *alert* fires."""
        found = self.asked("/alerts") or {"alerts": []}
        labels = [each["labels"] for each in found["alerts"] if each["state"] == "firing"]
        return {each["ticker"] for each in labels if each["alertname"] == alert}


@contextmanager
def watched(tracker: Running, folder: Path, worker: int) -> Iterator[Watch]:
    """Watch *tracker*, whose worker answers on port *worker*."""
    ports = dict(zip(_STARTED, free_ports(len(_STARTED)), strict=True))
    targets = ports | {"web": int(tracker.env["WEB_PORT"]), "worker": worker}
    home = Path(conninfo_to_dict(tracker.just("dsn").stdout.strip())["host"])
    commands = {
        "postgres": [
            program("prometheus-postgres-exporter"),
            *("--no-collector.stat_user_tables", "--no-collector.statio_user_tables"),
        ],
        "redis": [program("prometheus-redis-exporter")],
        "host": [
            program("prometheus-node-exporter"),
            "--collector.filesystem.fs-types-exclude=^(tmpfs|proc|sysfs|cgroup2?)$",
        ],
        "prometheus": _prometheus(folder, targets),
    }
    environment = {
        "DATA_SOURCE_NAME": f"host={home} user=exporter dbname=tracker_demo",
        "REDIS_ADDR": f"unix://{home}/redis.sock",
    }
    with ExitStack() as stack:
        for name, command in commands.items():
            listen = f"--web.listen-address=127.0.0.1:{ports[name]}"
            log = folder / f"{name}.log"
            stack.enter_context(_running([*command, listen], environment, log))
        watch = Watch(ports["prometheus"])
        stack.callback(watch.close)
        yield watch


def shipped(folder: Path, targets: Mapping[str, int]) -> Path:
    """A copy of the shipped configuration: the same jobs, the same rules without their patience.

    It asks each second and at other addresses, and a rule fires as soon as its expression holds.
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


def _prometheus(folder: Path, targets: Mapping[str, int]) -> list[str]:
    return [
        program("prometheus"),
        f"--config.file={shipped(folder, targets)}",
        f"--storage.tsdb.path={folder}/prometheus",
        "--log.level=warn",
    ]


@contextmanager
def _running(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[None]:
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
