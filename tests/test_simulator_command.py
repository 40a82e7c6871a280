"""The command line and the server: what they take, how they start, and how they end."""

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
from tracker.simulator import Options, add_arguments, run, serve
from tracker.simulator.faultspec import KINDS
from tracker.simulator.walk import price_at

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = """
import argparse, sys
from tracker.simulator import add_arguments, run
parser = argparse.ArgumentParser()
add_arguments(parser)
run(parser.parse_args(sys.argv[1:]), port=0)
"""


def parse(*words: str) -> argparse.Namespace:
    """The options in *words*."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


@contextmanager
def started(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A simulator as a process of its own, and its base address, from the line it prints."""
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


def test_every_option_is_obeyed() -> None:
    """Seed, further names, a clock, a net and a fault, all from the command line."""
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
def test_a_signal_ends_it_with_calls_hanging(number: signal.Signals) -> None:
    """It ends, quietly, though a client still waits for an answer that never comes."""
    with started("--fault", "timeout") as (process, url):
        host, port = httpx.URL(url).host, httpx.URL(url).port
        with socket.create_connection((host, port or 0)) as client:
            client.sendall(b"GET /api/v2/public/get_time HTTP/1.1\r\nHost: x\r\n\r\n")
            while not httpx.get(url.replace("/api/v2", "/admin/counts")).json()["total"]:
                time.sleep(0.01)

            process.send_signal(number)
            output, complaints = process.communicate(timeout=10)

    assert (output, complaints) == ("", "")
    assert process.returncode in (0, -number)


@pytest.mark.parametrize(
    "words",
    [
        ["--index", "BTC_USD"],
        ["--index", "btc"],
        ["--port", "65536"],
        ["--seed", "x"],
    ],
)
def test_a_malformed_option_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, and a line that names the option."""
    with pytest.raises(SystemExit) as caught:
        parse(*words)

    assert caught.value.code == 2
    assert f"argument {words[0]}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--fault", "flood"], "--fault flood: kind: is not a kind"),
        (["--fault", "latency:delay=x"], "delay: must be a number"),
        (["--fault", "reset:index=nope_usd"], "index: is not a known index"),
        (["--fault", "reset:calls"], "calls: must be 1 or more"),
    ],
)
def test_a_bad_value_stops_the_start(words: list[str], complaint: str) -> None:
    """One clear error, before anything listens."""
    with pytest.raises(SettingsError, match=complaint):
        run(parse(*words), port=0)


def test_a_taken_port_stops_the_start() -> None:
    """The error names the port."""
    with serve() as exchange, pytest.raises(SettingsError, match=f"port {exchange.port}"):
        run(parse("--port", str(exchange.port)), port=0)


def test_the_help_names_every_kind_of_fault(capsys: pytest.CaptureFixture[str]) -> None:
    """--help is complete."""
    with pytest.raises(SystemExit):
        parse("--help")

    shown = capsys.readouterr().out
    assert all(kind in shown for kind in KINDS)


def used() -> tuple[int, int]:
    """Threads and open files of this process."""
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


def test_serving_leaks_nothing() -> None:
    """Threads and sockets are gone at the end, though calls were hanging."""
    hang: list[Exception] = []

    def call(url: str) -> None:
        try:
            httpx.get(f"{url}/public/get_time", timeout=20)
        except httpx.TransportError as error:
            hang.append(error)

    def once() -> None:
        with serve(Options()) as exchange:
            httpx.post(f"{exchange.admin_url}/faults", json={"kind": "timeout"})
            callers = [threading.Thread(target=call, args=[exchange.url]) for _ in range(3)]
            for caller in callers:
                caller.start()
            while json.loads(httpx.get(f"{exchange.admin_url}/counts").content)["total"] < 3:
                time.sleep(0.01)
        for caller in callers:
            caller.join()

    once()
    before = used()
    once()

    assert used() == before
    assert len(hang) == 6


def test_two_may_run_side_by_side() -> None:
    """Each has its own port, seed and faults."""
    with serve(Options(seed=1)) as one, serve(Options(seed=2)) as other:
        httpx.post(f"{one.admin_url}/faults", json={"kind": "maintenance"})
        statuses = [httpx.get(f"{each.url}/public/status").status_code for each in (one, other)]

    assert one.port != other.port
    assert statuses == [503, 200]
