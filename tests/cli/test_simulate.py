"""`tracker simulate` and the server: options, start and shutdown."""

import argparse
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tracker.errors import SettingsError
from tracker.simulator import Options, add_arguments, price_at, run_simulator, running_simulator
from tracker.simulator.faults import KINDS

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import argparse, sys
from tracker.simulator import add_arguments, run_simulator
parser = argparse.ArgumentParser()
add_arguments(parser)
run_simulator(parser.parse_args(sys.argv[1:]), port=0)
"""


def parse(*words: str) -> argparse.Namespace:
    """The parsed options."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


@contextmanager
def started(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A simulator in its own process, and its base URL from the line that it prints."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SCRIPT, *words],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            yield process, line.split()[3]
        finally:
            process.kill()


def test_options_set_seed_index_clock_net_and_fault() -> None:
    words = ["--seed", "9", "--index", "my-coin_usd", "--testnet", "--clock-offset", "-86400",
             "--fault", "rate_limit:calls=1,retry_after=3,index=btc_usd"]  # fmt: skip

    with started(*words) as (_, url), httpx.Client(base_url=url) as http:
        limited = http.get("/public/get_index_price?index_name=btc_usd")
        body = http.get("/public/get_index_price?index_name=my-coin_usd").json()

    assert (limited.status_code, limited.headers["retry-after"]) == (429, "3")
    assert body["testnet"] is True
    assert abs(body["usOut"] / 1e6 + 86_400 - time.time()) < 3_600
    second = body["usOut"] // 1_000_000
    assert body["result"]["index_price"] == float(price_at(9, "my-coin_usd", second))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_despite_pending_call(number: signal.Signals) -> None:
    """Without output."""
    with started("--fault", "timeout") as (process, url):
        host, port = httpx.URL(url).host, httpx.URL(url).port
        with socket.create_connection((host, port or 0)) as client:
            client.sendall(b"GET /api/v2/public/get_time HTTP/1.1\r\nHost: x\r\n\r\n")
            while not httpx.get(url.replace("/api/v2", "/admin/counts")).json()["total"]:
                time.sleep(0.01)

            process.send_signal(number)
            output, errors = process.communicate(timeout=10)

    assert (output, errors) == ("", "")
    assert process.returncode in (0, -number)


@pytest.mark.parametrize(
    "name",
    ["BTC_USD", "btc"],
)
def test_malformed_index_exits_2(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--index", name)

    assert caught.value.code == 2
    assert "argument --index" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--fault", "flood"], "--fault flood: kind: Input should be"),
        (["--fault", "latency:delay=x"], "delay: Input should be a valid number"),
        (["--fault", "reset:index=nope_usd"], "index: unknown index: 'nope_usd'"),
        (["--fault", "reset:calls"], "calls: Input should be a valid integer"),
    ],
)
def test_invalid_fault_prevents_start(words: list[str], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        run_simulator(parse(*words), port=0)


def test_help_lists_every_kind_of_fault(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--help")

    text = capsys.readouterr().out
    assert all(kind in text for kind in KINDS)


def count_resources() -> tuple[int, int]:
    """Threads and open files of this process."""
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


def test_shutdown_releases_threads_and_sockets() -> None:
    """Also with pending calls."""
    failed: list[Exception] = []

    def call(url: str) -> None:
        try:
            httpx.get(f"{url}/public/get_time", timeout=20)
        except httpx.TransportError as error:
            failed.append(error)

    def once() -> None:
        with running_simulator(Options()) as exchange:
            httpx.post(f"{exchange.admin_url}/faults", json={"kind": "timeout"})
            callers = [threading.Thread(target=call, args=[exchange.url]) for _ in range(3)]
            for caller in callers:
                caller.start()
            while json.loads(httpx.get(f"{exchange.admin_url}/counts").content)["total"] < 3:
                time.sleep(0.01)
        for caller in callers:
            caller.join()

    once()
    before = count_resources()
    once()

    assert count_resources() == before
    assert len(failed) == 6


def test_simulators_share_nothing() -> None:
    """Each has its own port and faults."""
    with running_simulator(Options(seed=1)) as one, running_simulator(Options(seed=2)) as other:
        httpx.post(f"{one.admin_url}/faults", json={"kind": "maintenance"})
        statuses = [httpx.get(f"{each.url}/public/status").status_code for each in (one, other)]

    assert one.port != other.port
    assert statuses == [503, 200]
