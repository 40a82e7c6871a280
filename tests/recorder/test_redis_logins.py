"""Redis as others run it: passwords with any character, users with few rights, TLS, IPv6."""

import asyncio
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import redis
import yaml

from ops.bench.processes import free_ports
from tests.support.api import serve_api
from tests.support.certificates import Certificates, make_certificates
from tests.support.commands import run_command
from tests.support.database import read_polls
from tests.support.logs import capture_log
from tests.support.redis import run_redis
from tests.support.waiting import current_minute, wait_until
from tests.support.worker import running_worker, send_tick
from tracker.embedded.packages import find_programs
from tracker.redis import connect_counts, connect_queue, describe_redis_error
from tracker.settings import CHECKOUT, Settings
from tracker.simulator import Simulator
from tracker.web.queue_probe import QueueProbe

pytestmark = pytest.mark.slow

PASSWORD = " a b'\"%40@:/?#[]\\é€\U0001f511$ "
ROLE = "roleü@:%"  # its rights are those of ops/README.md


def has_ipv6() -> bool:
    """Whether the loopback has an IPv6 address."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class SecureRedis:
    """A Redis that requires a password, with and without TLS.

    settings: without host, login and TLS.
    """

    port: int
    tls_port: int
    certificates: Certificates
    settings: Settings

    def plain(self, **changes: object) -> Settings:
        """Settings that connect without TLS, by default to 127.0.0.1."""
        address = {"redis_host": "127.0.0.1", "redis_port": self.port}
        return self.settings.changed(**{**address, "redis_password": PASSWORD, **changes})

    def encrypted(self, **changes: object) -> Settings:
        """Settings that connect by TLS, and trust its authority."""
        tls = {"redis_tls": True, "redis_tls_ca_file": self.certificates.authority}
        return self.plain(redis_port=self.tls_port, **{**tls, **changes})


@pytest.fixture(scope="module")
def secure(servers: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureRedis]:
    """Such a Redis, also on ::1, with a user that may do no more than ops/README.md says."""
    certificates = make_certificates(tmp_path_factory.mktemp("tls"), "127.0.0.1", "::1")
    port, tls_port = free_ports(2)
    words = [
        *("--port", port, "--tls-port", tls_port, "--bind", "127.0.0.1", "127.0.0.2", "-::1"),
        *("--tls-cert-file", certificates.certificate, "--tls-key-file", certificates.key),
        *("--tls-ca-cert-file", certificates.authority, "--tls-auth-clients", "no", "--save", ""),
    ]
    with run_redis(find_programs(servers).redis, *words), redis.Redis(port=port) as client:
        wait_until(lambda: responds(client))
        client.execute_command(
            *("ACL", "SETUSER", ROLE, "on", f">{PASSWORD}", "~dramatiq*", "~tracker:*"),
            *("+@all", "-@admin", "-@dangerous", "+info"),
        )
        client.execute_command("ACL", "SETUSER", "nobody", "on", f">{PASSWORD}")
        client.config_set("requirepass", PASSWORD)
        yield SecureRedis(port, tls_port, certificates, servers)


def responds(client: redis.Redis) -> bool:
    """Whether Redis responds."""
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def use_both_clients(settings: Settings) -> None:
    """Connect as queue and as counter of requests. Raises RedisError."""

    async def count() -> None:
        client = connect_counts(settings, 5, 2)
        try:
            await client.incr("tracker:requests:test")
        finally:
            await client.connection_pool.disconnect()

    with connect_queue(settings) as client:
        client.lpush("dramatiq:test", "1")
    asyncio.run(count())


LOGINS = {
    "password": {},
    "user": {"redis_user": ROLE},
    "name": {"redis_host": "localhost"},
    "ipv6": {"redis_host": "::1"},
    "ipv6 in brackets": {"redis_host": "[::1]"},
}


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("connect", [SecureRedis.plain, SecureRedis.encrypted])
def test_both_clients_log_in(
    secure: SecureRedis, login: str, connect: Callable[..., Settings]
) -> None:
    if "ipv6" in login and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    use_both_clients(connect(secure, **LOGINS[login]))


def test_password_file_has_the_password(secure: SecureRedis, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n", encoding="utf-8")
    use_both_clients(secure.plain(redis_password="", redis_password_file=file))


def test_unverified_certificate_is_accepted(secure: SecureRedis) -> None:
    changes = {"redis_tls_ca_file": None, "redis_tls_verify": False}
    use_both_clients(secure.encrypted(**changes))


REFUSALS = {
    "wrong password": (SecureRedis.plain, {"redis_password": "x"}, "REDIS_USER, REDIS_PASSWORD"),
    "no password": (SecureRedis.plain, {"redis_password": ""}, "REDIS_PASSWORD"),
    "unknown authority": (
        SecureRedis.encrypted,
        {"redis_tls_ca_file": None},
        "REDIS_TLS_CA_FILE, REDIS_TLS_VERIFY",
    ),
    "other host name": (
        SecureRedis.encrypted,
        {"redis_host": "127.0.0.2"},
        "REDIS_TLS_CA_FILE, REDIS_TLS_VERIFY",
    ),
    "user without rights": (SecureRedis.plain, {"redis_user": "nobody"}, "REDIS_USER"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusal_names_the_variable(secure: SecureRedis, case: str) -> None:
    connect, changes, variables = REFUSALS[case]
    with pytest.raises(redis.RedisError) as caught:
        use_both_clients(connect(secure, **changes))
    text = describe_redis_error(caught.value)
    assert text.endswith(f" ({variables})")
    assert "\n" not in text


def test_worker_polls_as_user_with_few_rights(
    secure: SecureRedis, conn: psycopg.Connection, live_exchange: Simulator
) -> None:
    """From the scheduler's message to the stored price; by TLS."""
    settings = secure.encrypted(redis_user=ROLE, client_base_url=live_exchange.url)
    with running_worker(settings):
        send_tick(settings, current_minute(10))
        wait_until(lambda: len(read_polls(conn)) == len(settings.tickers))


def test_state_of_redis_is_up_for_user_with_few_rights(secure: SecureRedis) -> None:
    assert asyncio.run(QueueProbe(secure.encrypted(redis_user=ROLE)).check()) == ""


def test_refused_login_is_no_silence_of_redis(secure: SecureRedis) -> None:
    failure = asyncio.run(QueueProbe(secure.plain(redis_password="x")).check())
    assert failure.startswith("refuses the login: ")
    assert failure.endswith(" (REDIS_USER, REDIS_PASSWORD)")


def test_requests_are_counted_as_user_with_few_rights(secure: SecureRedis) -> None:
    settings = secure.encrypted(redis_user=ROLE, rate_limit="2/hour")
    with serve_api(settings) as client:
        wait_until(lambda: client.get("/udf/config").status_code == 429)


def test_uncounted_requests_are_logged_with_the_variable(secure: SecureRedis) -> None:
    settings = secure.plain(redis_password="x", rate_limit="2/hour")
    with capture_log("WARNING", "{message}") as lines, serve_api(settings) as client:
        statuses = [client.get("/udf/config").status_code for _ in range(3)]
    assert statuses == [200] * 3
    [line] = [line for line in lines if line.startswith("requests are not limited")]
    assert line.endswith("(REDIS_USER, REDIS_PASSWORD)\n")


def test_scheduler_ends_with_the_variable(secure: SecureRedis) -> None:
    settings = secure.plain(redis_password="x", log_format="plain")
    status, output, _ = run_command(settings, "scheduler")
    assert status == 1
    assert output.endswith("(REDIS_USER, REDIS_PASSWORD)\n")
    assert output.count("\n") == 1


def test_embedded_redis_ignores_the_login(database: Settings) -> None:
    """Its children know its socket by name."""
    embedded = database.changed(redis_user="x", redis_password="y", redis_tls=True)
    for host in ("", str(embedded.sockets / "redis.sock")):
        with connect_queue(embedded.changed(redis_host=host)) as client:
            assert client.ping()


@pytest.mark.parametrize("given", ["", PASSWORD])
def test_clients_log_in_with_the_password_of_compose(
    given: str, servers: Settings, tmp_path: Path
) -> None:
    """What the service `passwords` writes, without Docker; a second start changes nothing."""
    compose = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())
    script = compose["services"]["passwords"]["entrypoint"][-1].replace("$$", "$")
    folder = tmp_path / "redis"
    folder.mkdir()
    written = [write_passwords(script, tmp_path, given) for _ in range(2)]
    assert written[0] == written[1]

    [port] = free_ports(1)
    words = ("--port", port, "--aclfile", folder / "users.acl", "--save", "")
    settings = servers.changed(
        redis_host="127.0.0.1", redis_port=port, redis_password_file=folder / "password"
    )
    password = settings.redis_password.get_secret_value()
    with (
        run_redis(find_programs(servers).redis, *words),
        redis.Redis(port=port, password=password) as client,
        redis.Redis(port=port) as stranger,
    ):
        wait_until(lambda: responds(client))
        use_both_clients(settings)
        with pytest.raises(redis.AuthenticationError):
            stranger.ping()
    assert len(password) == len(given or "x" * 24)
    assert json.loads((folder / "exporter.json").read_text()) == {"redis://redis:6379": password}


def write_passwords(script: str, folder: Path, password: str) -> dict[str, str]:
    """The files of Redis after *script* has run with *password* as `REDIS_PASSWORD`."""
    env = {"PATH": os.environ["PATH"], "POSTGRES_PASSWORD": "", "REDIS_PASSWORD": password}
    script = script.replace("/run/passwords", str(folder))
    subprocess.run(["sh", "-c", script], env=env, check=True)
    return {path.name: path.read_text() for path in (folder / "redis").iterdir()}
