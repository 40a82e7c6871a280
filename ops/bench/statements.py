"""The SQL of a page by pgbench: the hypertable against a plain table with the same rows."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

from ops.bench import filling
from ops.bench.bench import Bench
from ops.bench.errors import BenchError
from ops.bench.figures import Figure, ratios
from ops.bench.rounds import alternate
from tracker.embedded.packages import find_programs
from tracker.queries.prices import PAGE_STATEMENTS
from tracker.web.answer.formats import MEDIA_TYPES
from tracker.web.answer.lines import Form
from tracker.web.reading.database import SESSION

_TEMPLATE = Form(MEDIA_TYPES["json"]).template("btc_usd")
_TEXTS = {"ticker": "btc_usd", **_TEMPLATE}
# pgbench draws numbers only: the server makes the query of them, as JSON.
_QUERY = {
    "place": "0",
    "ticker": ":ticker::text",
    "since": "'0001-01-01'",  # the API's first minute: such a page has no lower bound
    "until": "to_timestamp(:until)",
    "count": ":count::integer",
    **{name: f":{name}::text" for name in _TEMPLATE},
}
_DRAW = """\
\\set until random(:first, :last) / 60 * 60
\\set count 50
"""


def page(bench: Bench) -> Iterator[Figure]:
    """50 rows at a random depth, prepared as the API's connections have it."""
    database = bench.database("deep")
    filling.copy_plainly(database)
    sides = []
    for table in ("prices", "plain"):
        script = bench.folder / f"{table}.pgbench"
        script.write_text(script_of(table))
        sides.append(partial(_rate, bench, script))
    ours, plain = alternate(bench.scale.shots, *sides)
    yield Figure(
        what="SQL of a page, hypertable against a plain table",
        values=ratios(ours, plain),
        wanted=0.7,
        note=f"{median(ours):,.0f}/s against {median(plain):,.0f}/s",
    )


def script_of(table: str) -> str:
    """The statement of a page as pgbench takes it, from *table*; moments are Unix times there."""
    statement = PAGE_STATEMENTS[False, False].decode()
    lines = [line for line in statement.splitlines() if not line.startswith("--")]
    text = "\n".join(lines).replace("FROM prices", f"FROM {table}")
    members = ", ".join(f"'{name}', {value}" for name, value in _QUERY.items())
    batch = f"json_build_array(json_build_object({members}))"
    text = text.replace("%(batch)s::json", batch)
    text = re.sub(r"%\((\w+)\)s", r":\1", text)
    return f"{_DRAW}{text};\n"


def _rate(bench: Bench, script: Path) -> float:
    """Pages a second, over four connections."""
    database = bench.database("deep")
    ends = _moments(bench)
    words = [
        *(str(find_programs(database).postgres / "pgbench"), "--no-vacuum", "--protocol=prepared"),
        *("--client=4", "--jobs=1", f"--time={max(1, round(bench.scale.seconds))}"),
        *(f"--define=first={ends[0]}", f"--define=last={ends[1]}"),
        *(f"--define={name}={value}" for name, value in _TEXTS.items()),
        *(f"--file={script}", database.database_dsn),
    ]
    env = {**os.environ, "PGOPTIONS": SESSION}
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=env)
    found = re.search(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)
    if done.returncode or not found:
        raise BenchError(f"pgbench: {' '.join(done.stderr.split())}")
    return float(found[1])


def _moments(bench: Bench) -> tuple[int, int]:
    """Between which every page is full."""
    now = int(time.time())
    return now - (bench.scale.minutes - 1000) * 60, now - 3600
