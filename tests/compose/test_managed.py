"""compose.yaml with ops/compose.managed.yaml: as Compose merges them, and with such servers."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from ops.bench.processes import free_ports
from tests.support.certificates import make_certificates
from tests.support.compose.programs import prefix
from tests.support.compose.stack import PROJECT, TICKERS, TRACKER, Stack
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


@pytest.fixture(scope="module")
def managed(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A second project, whose PostgreSQL and Redis are not those of compose.yaml."""
    certificates = make_certificates(tmp_path_factory.mktemp("tls"), "pghost", "redishost")
    folder = stack.folder / ".local/certificates"
    folder.mkdir()
    for file in (certificates.authority, certificates.certificate, certificates.key):
        shutil.copy(file, folder)
        (folder / file.name).chmod(0o644)
    folder.chmod(0o755)
    own = {
        **MANAGED,
        "COMPOSE_FILE": f"{stack.engine.env['COMPOSE_FILE']}:ops/compose.managed.yaml"
        ":tests/compose/managed.yaml",
        "COMPOSE_PROJECT_NAME": f"{PROJECT}-managed",
        "WEB_PORT": str(free_ports(1)[0]),
        "POSTGRES_HOST": "pghost",
        "POSTGRES_PORT": "5432",
        "POSTGRES_SSLROOTCERT": f"/certificates/{certificates.authority.name}",
        "REDIS_HOST": "redishost",
        "REDIS_TLS_CA_FILE": f"/certificates/{certificates.authority.name}",
        "MONITORED_REDIS": "rediss://redishost:6379",
    }
    managed = replace(stack, engine=replace(stack.engine, env={**stack.engine.env, **own}))
    try:
        managed.up("pghost", "redishost")
        managed.up(*TRACKER, "exchange")
        yield managed
    finally:
        managed.compose("down", "--volumes", "--timeout", "10")
        shutil.rmtree(folder)


@pytest.mark.slow
def test_price_reaches_the_api_by_managed_servers(managed: Stack) -> None:
    for ticker in TICKERS:
        managed.wait_until(lambda ticker=ticker: managed.api("/v1/prices/last", ticker=ticker))
    managed.wait_until(lambda: managed.api("/health/ready"))
    query = (
        "SELECT string_agg(DISTINCT usename || ' ' || ssl, ',' ORDER BY usename || ' ' || ssl)"
        " FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename LIKE 'tracker%'"
    )
    program = ("psql", "--no-psqlrc", "-At", "--username", "owner", "--dbname", "tracker")
    found = managed.compose("exec", "--no-TTY", "pghost", *program, "--command", query)
    assert found == "tracker_web true,tracker_worker true"


@pytest.mark.slow
def test_monitoring_measures_managed_servers(managed: Stack) -> None:
    watchers = ("prometheus", "postgres_exporter", "redis_exporter")
    managed.compose("build", *watchers)
    # As `just monitoring` does: the checkout was made under umask 077.
    managed.engine.run("chmod", "-R", "a+rX", "ops/prometheus", cwd=managed.folder)
    managed.up(*watchers)
    managed.wait_until(lambda: managed.series("pg_up == 1") and managed.series("redis_up == 1"))
