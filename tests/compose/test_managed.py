"""compose.yaml with ops/compose.managed.yaml, as Compose merges them; no container runs."""

import json
import subprocess
from typing import Any

import pytest

from tests.support.compose.programs import prefix
from tracker.settings import CHECKOUT

pytestmark = pytest.mark.compose

MANAGED = {
    "POSTGRES_HOST": "one.example.org,two.example.org",
    "POSTGRES_PORT": "5432,5433",
    "POSTGRES_USER": "owner",
    "POSTGRES_PASSWORD": "a 'b' %\\é",
    "POSTGRES_SSLMODE": "verify-full",
    "REDIS_HOST": "::1",
    "REDIS_PASSWORD": "c 'd' %\\é",
    "REDIS_TLS": "true",
}


def run_config(variables: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """`docker compose config` with both files and *variables*."""
    files = ("-f", "compose.yaml", "-f", "ops/compose.managed.yaml")
    program = prefix() / "config" / "cli-plugins" / "docker-compose"
    return subprocess.run(
        [program, *files, "config", "--format", "json"],
        env=variables,
        cwd=CHECKOUT,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_processes_use_the_managed_servers() -> None:
    done = run_config(MANAGED)

    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    assert services.keys() == {"passwords", "migrate", "web", "worker", "scheduler"}
    shared = MANAGED.keys() - {"POSTGRES_USER", "POSTGRES_PASSWORD"}
    for name in services.keys() - {"passwords"}:
        environment = services[name]["environment"]
        assert {variable: environment[variable] for variable in shared} == {
            variable: MANAGED[variable] for variable in shared
        }
        assert environment["REDIS_PASSWORD_FILE"] == ""  # not that of the service redis
    assert services["passwords"]["environment"]["POSTGRES_PASSWORD"] == MANAGED["POSTGRES_PASSWORD"]
    assert services["migrate"]["environment"]["POSTGRES_USER"] == "owner"
    assert services["web"]["environment"]["POSTGRES_USER"] == "tracker_web"
    assert list(services["migrate"]["depends_on"]) == ["passwords"]
    assert list(services["worker"]["depends_on"]) == ["migrate"]


@pytest.mark.parametrize("name", ["POSTGRES_HOST", "POSTGRES_PASSWORD", "REDIS_HOST"])
def test_missing_variable_is_named(name: str) -> None:
    done = run_config({key: value for key, value in MANAGED.items() if key != name})

    assert done.returncode != 0
    assert f"required variable {name} is missing" in done.stderr
