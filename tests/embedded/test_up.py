"""`up`: its messages, what it refuses, and the environment of its processes."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from queue import Queue
from threading import Event
from typing import IO

import pytest

from ops.bench.processes import free_ports
from tests.support.commands import start_tracker
from tests.support.waiting import wait_until
from tracker.embedded.account import run_command
from tracker.embedded.home import servers_are_ready, start_background, stop_background
from tracker.embedded.log import SUPERVISOR_NAME, Log
from tracker.embedded.servers import check_port
from tracker.embedded.up import app_processes, check_exchange, run_demo, run_tracker
from tracker.errors import EmbeddedError
from tracker.settings import CHECKOUT, Settings

pytestmark = pytest.mark.slow


@pytest.fixture
def used_port() -> Iterator[int]:
    """A port in use."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def own(settings: Settings) -> Iterator[Settings]:
    """Settings of `up` with its own home and an unreachable exchange."""
    own = settings.changed(
        tracker_home=settings.home.parent / "up",
        web_port=free_ports(1)[0],
        client_base_url="http://127.0.0.1:9/api/v2",
    )
    yield own
    stop_background(own)


def test_used_port_is_named_with_its_variable(
    own: Settings, used_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_tracker(own.changed(web_port=used_port)) == 1
    assert run_demo(own.changed(simulator_port=used_port)) == 1

    shown = capsys.readouterr()
    assert re.findall(r"^tracker: (\w+): port (\d+) .* in use", shown.err, re.MULTILINE) == [
        ("WEB_PORT", str(used_port)),
        ("SIMULATOR_PORT", str(used_port)),
    ]
    assert shown.out == ""


def test_used_metrics_port_is_named_with_its_variable(
    own: Settings, used_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the start, and by a worker whose port is taken later."""
    used = own.changed(worker_metrics_port=used_port)
    assert run_tracker(used) == 1
    worker = subprocess.run(
        [sys.executable, "-m", "tracker", "worker"],
        env=used.environment(), cwd=CHECKOUT, check=False, capture_output=True, text=True,
    )  # fmt: skip

    assert worker.returncode == 1
    line = rf"tracker: WORKER_METRICS_PORT: .*port {used_port} of .* in use.*\n"
    for text in (capsys.readouterr().err, worker.stderr):
        assert re.fullmatch(line, text)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"simulator_port": 8000}, "WEB_PORT and SIMULATOR_PORT are both 8000"),
        ({"worker_metrics_port": 8000}, "WEB_PORT and WORKER_METRICS_PORT are both 8000"),
        ({"worker_metrics_port": 8090}, "WORKER_METRICS_PORT and SIMULATOR_PORT are both 8090"),
        ({"embedded_postgres_port": 8000}, "WEB_PORT and EMBEDDED_POSTGRES_PORT are both 8000"),
    ],
)
def test_equal_ports_are_refused(
    own: Settings, capsys: pytest.CaptureFixture[str], changes: dict[str, int], names: str
) -> None:
    assert run_demo(own.changed(web_port=8000, **changes)) == 1

    assert capsys.readouterr().err == f"tracker: {names}: set another port\n"


def test_address_of_another_machine_is_refused(
    own: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_tracker(own.changed(web_host="192.0.2.1")) == 1

    message = "tracker: WEB_HOST: 192.0.2.1 is not an address of this machine\n"
    assert capsys.readouterr().err == message
    with pytest.raises(EmbeddedError, match=r"^SIMULATOR_PORT: 192\.0\.2\.1 is not an address"):
        check_port("SIMULATOR_PORT", "192.0.2.1", 8090)


def test_unreachable_exchange_is_reported() -> None:
    messages: Queue[str] = Queue()

    check_exchange("http://127.0.0.1:9/api/v2", messages.put)

    text = messages.get(timeout=60)
    assert re.search(r"http://127\.0\.0\.1:9/api/v2 .*refused.*ops/just demo", text)
    assert "\n" not in text


def test_hanging_name_lookup_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lookup has no timeout of its own, and may take minutes without a name server."""
    messages: Queue[str] = Queue()
    released = Event()

    def look_up(*_: object, **__: object) -> None:
        released.wait()
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", look_up)

    check_exchange("http://exchange.example/api/v2", messages.put, timeout=0.2)

    assert "(no response within 0.2 s)" in messages.get(timeout=60)
    released.set()


@pytest.mark.parametrize("simulated", [False, True])
def test_app_processes_load_the_same_settings(own: Settings, *, simulated: bool) -> None:
    """With the password instead of its file, which only root may be able to read."""
    secret = own.home.parent / "secret"
    secret.write_text("hunter2\n")
    secret.chmod(0o600)
    odd = own.changed(
        tickers=("btc_usd", "sol_usdc"),
        debug=True,
        postgres_db="other",
        postgres_password_file=secret,
    )
    log = Log(BytesIO(), [SUPERVISOR_NAME])
    process = app_processes(odd, log, simulated=simulated)[-1]
    script = (
        "from tracker.settings import Settings; s = Settings.load();"
        "print(s.database_dsn, s.broker_url, s.home, s.cache, s.tickers, s.debug, s.web_port)"
    )

    assert "POSTGRES_PASSWORD_FILE" not in process.env
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**process.env},
        cwd=process.cwd,
        check=True,
        capture_output=True,
        text=True,
    )

    assert done.stdout.strip() == " ".join(
        map(str, (odd.database_dsn, odd.broker_url, odd.home, odd.cache, odd.tickers, True,
                  odd.web_port))
    )  # fmt: skip


@pytest.mark.skipif(os.getuid() != 0, reason="only root starts processes as another user")
def test_unprivileged_processes_listen_on_privileged_port(own: Settings) -> None:
    """As root's do, which WEB_PORT=80 needs."""
    log = Log(BytesIO(), [SUPERVISOR_NAME])
    account = app_processes(own.changed(web_port=871), log)[-1].account
    script = "import os, socket; socket.create_server(('127.0.0.1', 871)); print(os.getuid())"

    assert int(run_command([sys.executable, "-c", script], account)) != 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root starts processes as another user")
@pytest.mark.parametrize("name", ["web", "worker", "scheduler", "simulate"])
def test_process_started_by_root_changes_its_user(own: Settings, name: str) -> None:
    """Without `up` too; the one that ends at once, without its servers, has changed it before."""
    alone = own.changed(redis_host="127.0.0.1", redis_port=1)
    with start_tracker(name, env=alone.environment()) as process:
        wait_until(lambda: process_uids(process.pid).isdisjoint({0}))


@pytest.mark.skipif(os.getuid() != 0, reason="only root starts processes as another user")
def test_process_has_passwords_that_only_root_may_read(own: Settings) -> None:
    secret = own.home.parent / "secret"
    secret.write_text("hunter2\n")
    secret.chmod(0o600)
    odd = own.changed(postgres_password_file=secret, redis_host="127.0.0.1", redis_port=1)
    with start_tracker("simulate", "--port", "0", env=odd.environment()) as process:
        assert process.stdout
        read_until(process.stdout, "simulated exchange at ")
        assert 0 not in process_uids(process.pid)


def process_uids(pid: int) -> set[int]:
    """The real, effective, saved and file system user of *pid*."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("Uid:"))
    return set(map(int, line.split()[1:]))


def test_running_servers_are_used_and_not_stopped(own: Settings) -> None:
    start_background(own)
    with subprocess.Popen(
        [sys.executable, "-m", "tracker", "up"],
        env=own.changed(web_host="127.0.0.2").environment(),
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        url = rf"page +http://127\.0\.0\.2:{own.web_port}/"
        read_until(process.stdout, url, "cannot reach", "using the servers", "worker .* polling")
        kill_worker(process.pid)
        read_until(process.stdout, "worker was killed by SIGKILL", "worker .* polling")
        started_at = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.stdout.read()

        assert process.wait(20) == 0
        assert time.monotonic() - started_at < 15
    assert servers_are_ready(own)


def read_until(stream: IO[str], *patterns: str) -> None:
    """Read until each pattern has matched a line."""
    missing = set(patterns)
    seen = []
    while missing:
        seen.append(stream.readline())
        assert seen[-1], "".join(seen)
        missing = {pattern for pattern in missing if not re.search(pattern, seen[-1])}


def kill_worker(supervisor: int) -> None:
    shown = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(supervisor)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    workers = [line.split()[0] for line in shown.stdout.splitlines() if line.endswith(" worker")]
    assert len(workers) == 1
    os.kill(int(workers[0]), signal.SIGKILL)
