"""The benchmark: `python -m ops.bench`. README.md tells what its lines mean."""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg

from ops.bench import (
    bulk,
    depth,
    inserting,
    machine,
    reading,
    recording,
    starting,
    statements,
    steady,
)
from ops.bench.bench import Bench
from ops.bench.errors import BenchError
from ops.bench.figures import Figure, table
from ops.bench.scale import FULL, QUICK
from tracker.errors import TrackerError
from tracker.settings import CHECKOUT

LINES: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "newest": reading.newest,
    "random": reading.scattered,
    "last": reading.last,
    "filtered": reading.filtered,
    "deep": depth.deep,
    "sql": statements.page,
    "candles": depth.candles,
    "export": bulk.export,
    "import": bulk.import_,
    "insert": inserting.insert,
    "tick": recording.tick,
    "crowd": steady.crowd,
    "memory": recording.memory,
    "demo": starting.demo,
    "large": depth.large,
}
_RESULTS = CHECKOUT / ".local/bench.json"


def main(words: Sequence[str]) -> int:
    """Measure, print the table, write the JSON: 1 if a line could not be measured."""
    options = _options(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing is left of us then either
    facts, failures = machine.facts(), dict[str, str]()
    figures: list[Figure] = []
    print("\n".join(f"{name}: {value}" for name, value in facts.items()), flush=True)
    try:
        with Bench.opened(QUICK if options.quick else FULL, facts) as bench:
            facts |= machine.servers(bench.empty("base_version"))
            for name in options.lines:
                try:
                    _measure(name, bench, figures)
                except (BenchError, TrackerError, psycopg.Error) as error:
                    failures[name] = str(error).strip()
                    print(f"{name}: {error}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        failures["interrupted"] = "what was measured until then is all there is"
        print("interrupted", file=sys.stderr)
    except (BenchError, TrackerError) as error:
        sys.exit(f"just bench: {error}")
    print("\n" + table(figures))
    _write(options.json, {"machine": facts, "failures": failures, "figures": figures})
    return 130 if "interrupted" in failures else int(bool(failures))


def _measure(name: str, bench: Bench, figures: list[Figure]) -> None:
    """Add the figures of that line to *figures*, and print them."""
    began = time.monotonic()
    for figure in LINES[name](bench):
        print(" | ".join(figure.cells), f"| {figure.note}", flush=True)
        figures.append(figure)
    bench.facts[f"measuring {name}"] = f"{time.monotonic() - began:.0f} s"


def _write(path: Path, found: dict[str, Any]) -> None:
    found["figures"] = [figure.facts for figure in found["figures"]]
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        sys.exit(f"just bench: {path}: {error.strerror}")
    print(f"\nwritten to {path}")


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="just bench", description=__doc__)
    add = parser.add_argument
    add("lines", nargs="*", metavar="LINE", help=f"all but large; of {', '.join(LINES)}")
    add("--quick", action="store_true", help="shorter rounds, fewer of them: two minutes")
    add(
        "--large",
        action="store_true",
        help="with 50 million rows too: a quarter of an hour more, 10 GB",
    )
    add("--json", type=_file, default=_RESULTS, metavar="FILE", help="%(default)s")
    options = parser.parse_args(words)
    if unknown := set(options.lines) - LINES.keys():
        parser.error(f"{', '.join(sorted(unknown))}: there are {', '.join(LINES)}")
    chosen = options.lines or [name for name in LINES if name != "large"]
    options.lines = [*chosen, *(["large"] if options.large and "large" not in chosen else [])]
    return options


def _file(text: str) -> Path:
    """A file that can be written: one learns that before half an hour of measuring."""
    try:
        with Path(text).open("a"):
            return Path(text)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
