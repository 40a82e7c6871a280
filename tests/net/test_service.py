"""The running parts as monitoring sees them: metrics, log fields, and refusals to start."""

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.net import setting_cases
from tests.net.commands import Command, Transcript, normalize
from tests.net.product import CHECKOUT, Product, Web, free_port
from tests.net.recordings import check

pytestmark = pytest.mark.slow

EVENT_TIMEOUT = 60.0  # seconds
LATEST_SECOND = 45  # of a minute, in which a tick's polls still have time
OWN_QUEUE = {"REDIS_DB": "14", "REDIS_CELERY_BROKER_DB": "15"}
UNKNOWN_INDEX = "nope_usd"
REQUESTS = (
    *(
        "/v1/prices?ticker=btc_usd",
        "/prices?ticker=btc_usd&limit=0",
        "/v1/prices/last?ticker=btc_usd",
    ),
    *("/v1/tickers", "/health/live", "/health/ready", "/docs", "/openapi.json", "/nowhere", "/"),
    *(
        "/v1/prices/candles?ticker=btc_usd",
        "/v1/prices/gaps?ticker=btc_usd",
        "/metrics",
        "/udf/time",
    ),
)
RECORDED_LABELS = ("outcome", "endpoint", "queue", "ticker", "method", "status")


@dataclass(frozen=True, slots=True)
class Parts:
    """What the parts of a tracker left behind.

    logs: the log of each part, a JSON object a line.
    metrics: what the API and the worker served to Prometheus.
    """

    logs: dict[str, list[dict[str, Any]]]
    metrics: dict[str, str]


@pytest.fixture(scope="module")
def parts(empty_product: Product) -> Iterator[Parts]:
    """All parts against the simulator, until a minute is polled and holes are repaired."""
    simulator_port, metrics_port = free_port(), free_port()
    variables = {
        "CLIENT_BASE_URL": f"http://127.0.0.1:{simulator_port}/api/v2",
        "TICKERS": f"btc_usd,{UNKNOWN_INDEX}",
        "LOG_FORMAT": "json",
        "WORKER_METRICS_PORT": str(metrics_port),
        **OWN_QUEUE,
    }
    with empty_product.database("net_service") as database, ExitStack() as stack:
        product = database.changed(**variables)
        start = stack.enter_context
        start(product.background("simulate", "--port", str(simulator_port)))
        wait_for(lambda: is_listening(simulator_port))
        web = start(product.web())
        worker = start(product.background("worker"))
        if (late := datetime.now(UTC).second - LATEST_SECOND) > 0:
            time.sleep(60 - LATEST_SECOND - late)
        scheduler = start(product.background("scheduler"))
        conn = start(psycopg.connect(product.dsn, autocommit=True))
        wait_for(lambda: count(conn, "prices WHERE source = 'poll'") > 0)
        wait_for(lambda: count(conn, "prices WHERE source = 'chart'") > 0)
        wait_for(lambda: count(conn, "misses") > 0)
        wait_for(lambda: {"INFO", "WARNING"} <= levels_of_charts(worker))
        for path in REQUESTS:
            httpx.get(f"{web.url}{path}")
        metrics = {
            "web": httpx.get(f"{web.url}/metrics").text,
            "worker": httpx.get(f"http://127.0.0.1:{metrics_port}/metrics").text,
        }
        running = {"web": web, "worker": worker, "scheduler": scheduler}
        for part in running.values():
            part.stop()
        logs = {name: read_log(part) for name, part in running.items()}
        statuses = {name: part.process.returncode for name, part in running.items()}
        assert statuses == {"web": 0, "worker": 0, "scheduler": 0}
        yield Parts(logs, metrics)


def count(conn: psycopg.Connection, rows: str) -> int:
    """How many *rows*, a table and perhaps a condition, there are."""
    found = conn.execute(f"SELECT count(*) FROM {rows}".encode()).fetchone()
    return int(found[0]) if found else 0


def levels_of_charts(worker: Web) -> set[str]:
    """The levels of the log's lines that are about a chart: one is filled in, one is refused."""
    return {line["level"] for line in read_log(worker) if "chart" in line}


def is_listening(port: int) -> bool:
    """Whether a client can connect to *port*."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until *condition* holds."""
    deadline = time.monotonic() + EVENT_TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def read_log(part: Web) -> list[dict[str, Any]]:
    """The lines of its log."""
    whole = part.log.read_text().rpartition("\n")[0]  # the last line may be half written
    return [json.loads(line) for line in whole.splitlines()]


@pytest.mark.parametrize("part", ["web", "worker"])
def test_metrics_have_recorded_names(parts: Parts, part: str) -> None:
    """Names, types, labels, and those values of labels that dashboards name; help is text."""
    families, helps = parse_metrics(parts.metrics[part])
    check(f"service_metrics_{part}", families, helps)


def parse_metrics(text: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Each family's type, samples with their labels, and values; and its help."""
    families: dict[str, Any] = {}
    helps: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, _, helps[name] = line.removeprefix("# HELP ").partition(" ")
            families[name] = {"type": "", "samples": {}, "values": {}}
        elif line.startswith("# TYPE "):
            families[name]["type"] = line.rpartition(" ")[2]
        else:
            _add_sample(families[name], line)
    for family in families.values():
        family["values"] = {label: sorted(found) for label, found in family["values"].items()}
    return families, helps


def _add_sample(family: dict[str, Any], line: str) -> None:
    name = re.split(r"[{ ]", line, maxsplit=1)[0]
    labels = dict(re.findall(r'([a-z_]+)="([^"]*)"', line))
    family["samples"][name] = sorted(labels)
    for label in set(labels) & set(RECORDED_LABELS) if not name.endswith("_created") else ():
        family["values"].setdefault(label, set()).add(labels[label])


@pytest.mark.parametrize("part", ["web", "worker", "scheduler"])
def test_logs_have_recorded_fields(parts: Parts, part: str) -> None:
    """Which fields lines of each level have; messages are texts."""
    compare_log(f"service_log_{part}", parts.logs[part])


def compare_log(name: str, lines: list[dict[str, Any]]) -> None:
    """Compare fields, and messages without numbers, with the recording *name*."""
    messages = {_without_numbers(line["message"]) for line in lines}
    check(name, {"fields": fields_of(lines)}, {"messages": sorted(messages)})


def fields_of(lines: Iterable[dict[str, Any]]) -> list[str]:
    """The process and level of lines, with their fields; each once."""
    return sorted(
        {f"{line['process']}: {line['level']} {' '.join(sorted(line))}" for line in lines}
    )


def _without_numbers(message: str) -> str:
    return re.sub(r"\d+(?:[.,:]\d+)*", "<n>", message)


def test_web_without_servers_logs_why(empty_product: Product) -> None:
    """Neither PostgreSQL nor Redis: it starts, and refuses requests."""
    product = empty_product.changed(
        POSTGRES_HOST="/nowhere", REDIS_HOST="/nowhere", RATE_LIMIT="9/minute", LOG_FORMAT="json"
    )
    with product.web() as web:
        statuses = {
            path: httpx.get(f"{web.url}{path}").status_code
            for path in (
                "/v1/prices?ticker=btc_usd",
                "/v1/tickers",
                "/health/ready",
                "/health/live",
            )
        }
        metrics = httpx.get(f"{web.url}/metrics").text
        wait_for(lambda: "WARNING" in web.log.read_text())
        web.stop()
        fields = fields_of(read_log(web))  # the messages are those of libraries
    samples = re.findall(
        r"^(tracker_(?:database_up|feed_current|http_requests_uncounted_total)) (\S+)",
        metrics,
        re.MULTILINE,
    )
    check("service_web_alone", {"statuses": statuses, "metrics": dict(samples), "fields": fields})


def test_part_that_cannot_start_logs_why(empty_product: Product) -> None:
    """A taken port, a queue that is unavailable: an exit status, and lines in the log."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = str(listener.getsockname()[1])
        cases = {
            "web, port taken": ("web", {"WEB_PORT": taken}),
            "worker, port taken": ("worker", {"WORKER_METRICS_PORT": taken}),
            "scheduler, no queue": ("scheduler", {"REDIS_HOST": "/nowhere"}),
            "simulate, port taken": ("simulate", {"SIMULATOR_PORT": taken}),
        }
        behaviour, texts = {}, {}
        for name, (part, variables) in cases.items():
            product = empty_product.changed(LOG_FORMAT="json", **OWN_QUEUE, **variables)
            done = product.run(part)
            lines = [json.loads(line) for line in done.stdout.splitlines()]
            behaviour[name] = {
                "status": done.returncode,
                "fields": [f"{line['level']} {' '.join(sorted(line))}" for line in lines],
            }
            texts[name] = {
                "messages": [_without_numbers(line["message"]) for line in lines],
                "stderr": normalize(product, done.stderr).replace(taken, "<port>"),
            }
    check("service_start_failures", behaviour, texts)


@pytest.mark.parametrize("form", ["plain", "text"])
def test_text_formats_are_recorded(empty_product: Product, form: str) -> None:
    """What a person reads of the scheduler's last line."""
    done = empty_product.changed(LOG_FORMAT=form, REDIS_HOST="/nowhere").run("scheduler")
    line = re.sub(r"\d\d:\d\d:\d\d", "<time>", done.stdout)
    check(f"service_log_{form}", {"status": done.returncode}, {"stdout": line})


def test_bad_settings_are_refused(empty_product: Product) -> None:
    """Every invalid variable has its line, so that one run tries many."""
    behaviour: dict[str, Any] = {}
    texts: dict[str, Any] = {}
    for number in range(max(map(len, setting_cases.BAD_VALUES.values()))):
        variables = {
            name: values[number]
            for name, values in setting_cases.BAD_VALUES.items()
            if number < len(values)
        }
        done = empty_product.changed(**variables).run("dsn")
        lines = done.stderr.removeprefix("tracker: ").splitlines()
        for name, value in variables.items():
            told = [line for line in lines if line.startswith(f"{name}: ")]
            case = f"{name}={value}"
            behaviour[case] = {"status": done.returncode, "lines": len(told), "stdout": done.stdout}
            texts[case] = told
        assert len(lines) == sum(len(texts[f"{name}={value}"]) for name, value in variables.items())
    check("service_bad_settings", behaviour, texts)


def test_bad_setting_stops_every_part(empty_product: Product) -> None:
    """One line, no traceback, exit status 1; the value of a password is not shown."""
    transcript = Transcript()
    for part in ("web", "worker", "scheduler", "simulate", "migrate", "prices btc_usd"):
        variables = {"WEB_PORT": "eighty", "POSTGRES_PASSWORD": "very-secret"}
        transcript.run(empty_product, part, Command(part, variables=variables))
    assert "very-secret" not in json.dumps(transcript.texts)
    transcript.check("service_bad_setting")


def test_good_settings_are_taken(empty_product: Product) -> None:
    """In each way that they may be written."""
    transcript = Transcript()
    for name, variables in setting_cases.GOOD_VALUES.items():
        transcript.run(empty_product, name, Command("dsn", variables=variables, is_data=True))
    password = empty_product.folder / "password"
    password.write_text("from a file\r\n")
    of_file = {"POSTGRES_HOST": "db", "POSTGRES_PASSWORD_FILE": str(password)}
    for name, variables in {
        "password of a file": of_file,
        "password of both": of_file | {"POSTGRES_PASSWORD": "stated"},
    }.items():
        transcript.run(empty_product, name, Command("dsn", variables=variables, is_data=True))
    transcript.check("service_good_settings")


def test_env_file_is_read_as_recorded(empty_product: Product) -> None:
    """`.env` in the checkout, here a copy of it; the environment comes first."""
    copied = empty_product.folder / "checkout"
    copied.mkdir()
    for name in ("tracker", "sql"):
        if (CHECKOUT / name).exists():
            shutil.copytree(CHECKOUT / name, copied / name)
    transcript = Transcript()
    for name, content in setting_cases.ENV_FILES.items():
        (copied / ".env").write_bytes(content)
        _add_run(transcript, empty_product, copied, name)
    (copied / ".env").write_bytes(setting_cases.ENV_FILES["value"])
    _add_run(transcript, empty_product.changed(POSTGRES_DB="of_environment"), copied, "both")
    (copied / ".env").unlink()
    (copied / ".env").mkdir()
    _add_run(transcript, empty_product, copied, "folder")
    transcript.check("service_env_file")


def _add_run(transcript: Transcript, product: Product, copied: Path, name: str) -> None:
    done = subprocess.run(
        [CHECKOUT / ".venv/bin/python", "-m", "tracker", "dsn"],
        env=product.environment,
        cwd=copied,
        capture_output=True,
        text=True,
        check=False,
    )
    transcript.add(
        name,
        done.returncode,
        normalize(product, done.stdout),
        normalize(product, done.stderr),
        is_data=True,
    )
