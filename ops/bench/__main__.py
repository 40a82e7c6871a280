"""The benchmark: `python -m ops.bench`. README.md explains its lines."""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from platform import python_version

import httpx
import psycopg

from ops.bench import database, recorder, requests, transfers
from ops.bench.processes import LOAD, SERVER, BenchError
from ops.bench.report import Figure, render_table
from ops.bench.servers import Bench, connect
from tracker.errors import TrackerError
from tracker.settings import CHECKOUT

LINES: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "newest": requests.newest,
    "random": requests.random_page,
    "last": requests.last_price,
    "filtered": requests.filtered,
    "deep": requests.deep,
    "sql": database.page,
    "candles": requests.candles,
    "export": transfers.export,
    "import": transfers.import_,
    "insert": database.insert,
    "tick": recorder.tick,
    "crowd": requests.crowd,
    "memory": recorder.memory,
    "demo": recorder.demo,
    "large": requests.large,
}
_PACKAGES = ("starlette", "uvicorn", "uvloop", "httptools", "psycopg", "psycopg-pool", "orjson")
_RESULTS = CHECKOUT / ".local/bench.json"


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table, write the JSON: 1 if a line could not be measured."""
    options = parse_options(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM cleans up, too
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"  # everything is on the loopback
    facts, failures, figures = describe_machine(), dict[str, str](), list[Figure]()
    print("\n".join(f"{name}: {value}" for name, value in facts.items()), flush=True)
    try:
        with Bench.opened(facts, quick=options.quick) as bench:
            facts |= describe_servers(bench)
            for name in options.lines:
                began = time.monotonic()
                try:
                    for figure in LINES[name](bench):
                        print(" | ".join(figure.cells), f"| {figure.note}", flush=True)
                        figures.append(figure)
                except (BenchError, TrackerError, psycopg.Error, httpx.HTTPError, OSError) as error:
                    failures[name] = str(error).strip()
                    print(f"{name}: {error}", file=sys.stderr, flush=True)
                facts[f"measuring {name}"] = f"{time.monotonic() - began:.0f} s"
    except KeyboardInterrupt:
        failures["interrupted"] = "only the lines before it were measured"
        print("interrupted", file=sys.stderr)
    except (BenchError, TrackerError) as error:
        sys.exit(f"just bench: {error}")
    print("\n" + render_table(figures))
    rows = [figure.facts for figure in figures]
    results = {"machine": facts, "failures": failures, "figures": rows}
    options.json.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    print(f"\nwritten to {options.json}")
    return 130 if "interrupted" in failures else int(bool(failures))


def describe_machine() -> dict[str, str]:
    """What a figure depends on besides the code, before anything runs."""
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    command = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty"]
    commit = subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()
    return {
        "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": commit or "unknown",
        "cpu": f"{cpu[1] if cpu else 'unknown'}, {len(os.sched_getaffinity(0))} cores",
        "load average at the start": " ".join(f"{each:.2f}" for each in os.getloadavg()),
        "cores": f"server {SERVER}, load {LOAD}; PostgreSQL and Redis on any",
        "python": python_version(),
        "packages": ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
    }


def describe_servers(bench: Bench) -> dict[str, str]:
    """The versions of PostgreSQL and TimescaleDB."""
    query = """
        SELECT current_setting('server_version'), extversion, current_setting('timescaledb.license')
          FROM pg_extension WHERE extname = 'timescaledb'
    """
    with connect(bench.empty("versions")) as conn:
        postgres, extension, license_ = conn.execute(query).fetchone() or ("?", "?", "?")
    return {"postgresql": postgres, "timescaledb": f"{extension} ({license_})"}


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Ends the program with status 2 for an unknown line or a file that cannot be written."""
    parser = argparse.ArgumentParser(prog="just bench", description=__doc__)
    add = parser.add_argument
    add("lines", nargs="*", metavar="LINE", help=f"all but large; of {', '.join(LINES)}")
    add("--quick", action="store_true", help="fewer and shorter rounds: three minutes")
    add("--large", action="store_true", help="50 million rows, too: 15 minutes more, 10 GB")
    add("--json", type=Path, default=_RESULTS, metavar="FILE", help="%(default)s")
    options = parser.parse_args(arguments)
    if unknown := set(options.lines) - LINES.keys():
        parser.error(f"unknown line {', '.join(sorted(unknown))}; the lines are {', '.join(LINES)}")
    try:
        _RESULTS.parent.mkdir(exist_ok=True)
        options.json.touch()
    except OSError as error:
        parser.error(f"--json {options.json}: {error.strerror}")
    chosen = options.lines or [name for name in LINES if name != "large"]
    options.lines = [*chosen, *(["large"] if options.large and "large" not in chosen else [])]
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
