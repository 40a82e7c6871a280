"""The stack starts from nothing, is confined, and records a price."""

import json
from pathlib import Path

import pytest

from tests.support.compose.images import BASE
from tests.support.compose.stack import PROJECT, STEADY, TICKERS, TRACKER, Stack
from tracker import __version__

pytestmark = [pytest.mark.slow, pytest.mark.compose]

IMAGE = f"{PROJECT}:{__version__}"
MEGABYTE = 1_000_000
LONGEST_STOP = 12  # seconds, of a worker whose polls hang; test_worker_process measures it


def test_services_are_healthy(stack: Stack) -> None:
    states = stack.states()
    assert {states[stack.name(service)] for service in STEADY} == {"healthy"}
    assert {states[stack.name(service)] for service in ("passwords", "migrate")} == {"exited 0"}


def test_price_reaches_the_api_unchanged(stack: Stack) -> None:
    for ticker in TICKERS:
        stack.wait_until(lambda ticker=ticker: stack.api("/v1/prices/last", ticker=ticker))
        price = stack.api("/v1/prices/last", ticker=ticker)["price"]
        served = stack.get_json("exchange", 8090, "/admin/served", index=ticker)
        assert float(price) in {float(each["price"]) for each in served}
    stack.wait_until(lambda: stack.api("/health/ready"))


def test_image_adds_at_most_200_megabytes(stack: Stack) -> None:
    sizes = [json.loads(stack.docker("inspect", image))[0]["Size"] for image in (IMAGE, BASE)]
    assert 0 < sizes[0] - sizes[1] <= 200 * MEGABYTE


def test_image_is_labelled(stack: Stack) -> None:
    config = stack.inspect("web")["Config"]
    assert config["Image"] == IMAGE
    assert config["Labels"]["org.opencontainers.image.version"] == __version__
    assert config["Labels"]["org.opencontainers.image.licenses"] == "MIT"


def test_image_has_no_build_tools_but_the_page_packages(stack: Stack) -> None:
    tools = "gcc cc make pip pip3 npm node git curl wget patchelf just"
    look = f"for each in {tools}; do command -v $each; done; ls /app/.venv/npm/node_modules"
    found = stack.docker("exec", stack.name("web"), "bash", "-c", look).split()
    assert found == ["@scarf", "fancy-canvas", "lightweight-charts", "swagger-ui-dist"]
    assert stack.docker("exec", stack.name("web"), "python3", "-c", "import sys; print(sys.path)")


@pytest.mark.parametrize("service", [*TRACKER, "redis"])
def test_container_has_no_privileges(stack: Stack, service: str) -> None:
    look = "id --user --name; grep -E '^(Cap|NoNewPrivs)' /proc/self/status; touch /x /tmp/x /var/x"
    shown = stack.docker("exec", stack.name(service), "bash", "-c", f"{{ {look}; }} 2>&1 || true")
    user, *lines = shown.splitlines()
    assert user == ("tracker" if service in TRACKER else service)
    facts = dict(line.split(":\t") for line in lines if "\t" in line)
    assert facts.pop("NoNewPrivs") == "1"
    assert {int(value, 16) for value in facts.values()} == {0}
    assert shown.count("Read-only file system") == 3


def test_database_runs_without_privileges(stack: Stack) -> None:
    """Only its entrypoint has some, to change to another account."""
    pid = stack.inspect("db")["State"]["Pid"]
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    facts = dict(line.split(":\t", 1) for line in lines)
    assert int(facts["Uid"].split()[0]) != 0
    assert {int(facts[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}
    assert facts["NoNewPrivs"] == "1"
    assert stack.inspect("db")["HostConfig"]["ReadonlyRootfs"]


@pytest.mark.parametrize("service", STEADY)
def test_container_has_resource_limits(stack: Stack, service: str) -> None:
    found = stack.inspect(service)
    host, config = found["HostConfig"], found["Config"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert host["LogConfig"]["Config"] == {"max-file": "3", "max-size": "10m"}
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert config["StopTimeout"] > LONGEST_STOP


def test_only_the_api_is_published_on_loopback(stack: Stack) -> None:
    published = {
        service: stack.inspect(service)["HostConfig"]["PortBindings"] for service in STEADY
    }
    [[binding]] = published.pop("web").values()
    assert binding["HostIp"] == "127.0.0.1"
    assert not any(published.values())


def test_passwords_are_in_files_only(stack: Stack) -> None:
    password = "/run/password/password"
    found = {
        service: stack.docker("exec", stack.name(service), "cat", password)
        for service in ("db", "redis", "web", "worker")
    }
    assert {len(each) for each in found.values()} == {24}
    assert len(set(found.values())) == 4
    analyst = ("--entrypoint", "cat", "passwords", "/run/passwords/analyst/password")
    assert len(stack.compose("run", "--rm", *analyst)) == 24
    everything = [json.dumps(stack.inspect(service)) for service in STEADY]
    look = ("bash", "-c", "cat /proc/[0-9]*/cmdline || true")
    everything += [stack.docker("exec", stack.name(service), *look) for service in STEADY]
    text = "".join((*everything, stack.compose("logs")))
    assert not [service for service, each in found.items() if each in text]


def test_redis_requires_its_password(stack: Stack) -> None:
    assert "NOAUTH" in stack.docker("exec", stack.name("redis"), "redis-cli", "ping")


def test_services_log_in_as_separate_roles(stack: Stack) -> None:
    query = "SELECT DISTINCT usename FROM pg_stat_activity WHERE usename LIKE 'tracker%'"
    stack.wait_until(lambda: "tracker_web" in stack.query(query))
    login = (
        "import psycopg; psycopg.connect('host=db dbname=tracker user=postgres password=postgres')"
    )
    refused = stack.docker(
        *("exec", stack.name("web"), "bash", "-c"), f'python3 -c "{login}" 2>&1 || true'
    )
    assert "password authentication failed" in refused
