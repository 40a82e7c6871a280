"""The files of Grafana, Loki and Alloy agree with each other and with the tracker."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.dashboards import BOARDS, panels, queries
from tracker.settings import CHECKOUT

OPS = CHECKOUT / "ops"
COMPOSE: dict[str, Any] = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())
PROFILE = {
    name: service
    for name, service in COMPOSE["services"].items()
    if service.get("profiles") == ["monitoring"]
}
IMAGES = {
    "prometheus": "prom/prometheus:v3.15.0",
    "alertmanager": "prom/alertmanager:v0.34.1",
    "loki": "grafana/loki:3.7.8",
    "alloy": "grafana/alloy:v1.20.1",
    "grafana": "grafana/grafana:13.3.0",
    "postgres_exporter": "prometheuscommunity/postgres-exporter:v0.20.1",
    "redis_exporter": "oliver006/redis_exporter:v1.93.0",
    "monitoring_roles": COMPOSE["services"]["db"]["image"],
}
RECORDED = CHECKOUT / "tests/net/behaviour"
ALLOY = (OPS / "alloy/config.alloy").read_text()


def load_yaml(path: str) -> Any:
    return yaml.safe_load((OPS / path).read_text())


def data_sources() -> dict[str, dict[str, Any]]:
    found = load_yaml("grafana/provisioning/datasources/sources.yml")["datasources"]
    return {source["uid"]: source for source in found}


def test_profile_has_every_service_with_its_tag() -> None:
    """None of them starts without the profile."""
    assert {name: service["image"] for name, service in PROFILE.items()} == IMAGES


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_service_is_confined_and_watched(name: str) -> None:
    """Alloy alone keeps capabilities, because root without them cannot write to its volume."""
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ([] if name == "alloy" else ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[^:]+:[^:]*[0-9]+\.[0-9]+[^:]*", service["image"])
    ends = service["restart"] == "no"
    ours = service["image"].startswith("deribit-price-tracker:")  # the image has the check
    assert ("healthcheck" in service) != (ends or ours or name == "redis_exporter")


def test_ports_are_published_on_loopback_only() -> None:
    """Grafana at 3001 and Loki, which has no authentication, at 3100."""
    published = {name: service["ports"] for name, service in PROFILE.items() if "ports" in service}
    assert published == {"grafana": ["127.0.0.1:3001:3000"], "loki": ["127.0.0.1:3100:3100"]}


def test_anonymous_access_requires_debug() -> None:
    """It is read-only."""
    grafana = PROFILE["grafana"]["environment"]
    assert grafana["GF_AUTH_ANONYMOUS_ENABLED"] == "${DEBUG:-false}"
    assert grafana["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert "GF_SECURITY_ADMIN_PASSWORD" not in grafana


def test_secrets_are_declared_and_generated() -> None:
    """As files, by ops/monitoring."""
    used = {secret for service in PROFILE.values() for secret in service.get("secrets", ())}
    assert used == set(COMPOSE["secrets"])
    script = (OPS / "monitoring").read_text()
    for name, secret in COMPOSE["secrets"].items():
        assert secret["file"] == f".local/secrets/{name}"
        assert name in script


def test_mounted_files_exist() -> None:
    """Docker would create a missing path as an empty folder."""
    mounts = [each for service in PROFILE.values() for each in service.get("volumes", ())]
    ours = [each.split(":") for each in mounts if each.startswith("./")]
    assert len(ours) == 7
    assert all((CHECKOUT / place).exists() and mode == "ro" for place, _, mode in ours)


def test_volumes_are_declared() -> None:
    """Persistent data is in named volumes."""
    named = {
        each.partition(":")[0]
        for service in PROFILE.values()
        for each in service.get("volumes", ())
        if not each.startswith((".", "/"))
    }
    passwords = {"password_owner", "password_redis"}
    assert named == {"prometheus", "alertmanager", "loki", "alloy", "grafana", *passwords}
    assert named <= set(COMPOSE["volumes"])


def test_addresses_are_services() -> None:
    """Prometheus and Grafana connect to services of compose.yaml."""
    prometheus = load_yaml("prometheus/prometheus.yml")
    static = [
        each for job in prometheus["scrape_configs"] for each in job.get("static_configs", ())
    ]
    looked_up = [
        each for job in prometheus["scrape_configs"] for each in job.get("dns_sd_configs", ())
    ]
    hosts = {target.partition(":")[0] for each in static for target in each["targets"]}
    hosts |= {name for each in looked_up for name in each["names"]}
    hosts |= {source["url"].split("/")[-1].partition(":")[0] for source in data_sources().values()
              if source["url"].startswith("http")}  # fmt: skip
    hosts |= set(re.findall(r"http://(\w+):", ALLOY))
    assert hosts - {"127.0.0.1"} <= set(COMPOSE["services"])
    environment = COMPOSE["services"]["worker"]["environment"]
    ports = {each["names"][0]: each["port"] for each in looked_up}
    assert ports == {"web": environment["WEB_PORT"], "worker": environment["WORKER_METRICS_PORT"]}


def test_grafana_has_a_database_role() -> None:
    """From variables of its container; the password is in a file."""
    timescale = data_sources()["timescaledb"]
    environment = PROFILE["grafana"]["environment"]
    given = {timescale["url"], timescale["user"], timescale["jsonData"]["database"]}
    assert given == {"$TRACKER_DB_URL", "$TRACKER_DB_USER", "$TRACKER_DB_NAME"}
    assert {name.removeprefix("$") for name in given} <= set(environment)
    assert timescale["type"] == "grafana-postgresql-datasource"
    assert timescale["secureJsonData"] == {"password": "$__file{/run/secrets/grafana_db_password}"}
    assert environment["TRACKER_DB_USER"] == "grafana"


def test_dashboards_use_configured_sources() -> None:
    """By uid and type, in every panel, target and variable."""
    known = {uid: source["type"] for uid, source in data_sources().items()}
    for board in BOARDS.values():
        targets = [target for panel in panels(board) for target in panel["targets"]]
        variables = [each for each in board["templating"]["list"] if each["type"] == "query"]
        for each in (*panels(board), *targets, *variables):
            assert known[each["datasource"]["uid"]] == each["datasource"]["type"]


def test_titles_and_ids_of_dashboards_are_unique() -> None:
    """Also the ids of panels, and refIds within a panel."""
    assert {board["title"] for board in BOARDS.values()} == {"Prices", "Service", "Logs"}
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS)
    for board in BOARDS.values():
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        for panel in panels(board):
            refs = [target["refId"] for target in panel["targets"]]
            assert len(set(refs)) == len(refs) > 0
    assert (OPS / "grafana/dashboards/service.json").exists()  # the home page


def stage_names(name: str) -> set[str]:
    """The names that a stage of Alloy's pipeline maps."""
    [mapping] = re.findall(rf"stage\.{name} \{{\s*\w+ = \{{([^}}]*)\}}", ALLOY)
    return set(re.findall(r"(\w+)\s*=", mapping))


def logged_fields() -> set[str]:
    """The names of all logged fields, as the net records them."""
    lines = [
        line.partition(": ")[2].split()
        for part in ("web", "worker", "scheduler")
        for line in json.loads((RECORDED / f"service_log_{part}.json").read_text())["fields"]
    ]
    return {name for line in lines for name in line if name.islower()}


def test_alloy_extracts_every_logged_field() -> None:
    """Every field becomes structured metadata but the price, and only the level a label."""
    elsewhere = {"request_id", "until"}  # of failed requests and of retention, which log rarely
    common = {"time", "level", "message"}
    assert stage_names("labels") == {"level"}
    assert stage_names("structured_metadata") == logged_fields() - {"price"} - common | elsewhere
    assert stage_names("json") == stage_names("structured_metadata") | {"time", "level"}


def test_log_queries_use_labels_and_metadata_of_alloy() -> None:
    """Labels in the selector, structured metadata in filters."""
    targets = set(re.findall(r'target_label\s*=\s*"(\w+)"', ALLOY))
    labels = targets | stage_names("labels")
    for query in queries("loki", "expr"):
        [selector] = re.findall(r"\{([^}]*)\}", query.text)
        assert set(re.findall(r"(\w+)=~", selector)) <= labels
        assert set(re.findall(r"\| (\w+)=~", query.text)) <= stage_names("structured_metadata")
        assert set(re.findall(r"sum by \((\w+)\)", query.text)) <= labels


def test_loki_applies_retention() -> None:
    """It requires three settings; structured metadata requires the schema."""
    loki = load_yaml("loki/loki.yml")
    assert loki["limits_config"]["retention_period"] == "744h"
    assert loki["compactor"]["retention_enabled"] is True
    assert loki["compactor"]["delete_request_store"] == "filesystem"
    [schema] = loki["schema_config"]["configs"]
    assert (schema["schema"], schema["store"]) == ("v13", "tsdb")


def test_prometheus_scrapes_component_of_alloy() -> None:
    """The path contains its name."""
    jobs = {
        job["job_name"]: job for job in load_yaml("prometheus/prometheus.yml")["scrape_configs"]
    }
    component = jobs["host"]["metrics_path"].split("/")[-2]
    kind, _, label = component.rpartition(".")
    assert f'{kind} "{label}" {{' in ALLOY


def test_monitoring_without_docker_is_refused(tmp_path: Path) -> None:
    """With one line and exit status 1."""
    absent = tmp_path / "docker"
    absent.write_text("#!/bin/sh\nexit 1\n")
    absent.chmod(0o755)
    completed = subprocess.run(
        [OPS / "monitoring"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (completed.returncode, completed.stdout) == (1, "")
    assert "requires Docker Compose" in completed.stderr
    assert (OPS / "README.md").read_text().count("## Monitoring") == 1


@pytest.mark.parametrize("recipe", ["monitoring", "down-monitoring"])
def test_recipes_start_and_stop_every_service(recipe: str) -> None:
    """The roles are a dependency of the others."""
    place = OPS / "monitoring" if recipe == "monitoring" else CHECKOUT / "Justfile"
    action = "up --detach" if recipe == "monitoring" else "stop"
    text = place.read_text().replace("\\\n", "")
    [names] = re.findall(rf"--profile monitoring {action}([ \w]*)", text)
    assert set(names.split()) == set(PROFILE) - {"monitoring_roles"}
