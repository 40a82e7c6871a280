"""A million rows out and in, against psql's copy."""

import http.client
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import median

import psycopg

from ops.bench import filling
from ops.bench.bench import Bench, environment
from ops.bench.errors import BenchError
from ops.bench.figures import Figure, ratios
from ops.bench.machine import LOAD, pinned
from ops.bench.rounds import alternate
from ops.bench.scale import EXPORTED
from tracker.embedded.home import psql_command, psql_environment
from tracker.settings import Settings

_PIECE = 1 << 18  # bytes
_ROWS = "SELECT id, ticker, price, created_at FROM prices WHERE ticker = 'btc_usd'"
_LINES = """
    SELECT ticker, to_char(created_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS created_at, price
      FROM prices WHERE ticker = 'btc_usd'
"""


def export(bench: Bench) -> Iterator[Figure]:
    """All of an index as CSV; both end in nothing, so that no disk is measured."""
    url, database = bench.ours("deep").url, bench.database("deep")
    count = min(EXPORTED, bench.scale.minutes)
    begin = int(time.time()) // 60 * 60 - (count - 100) * 60
    rows = f"{_ROWS} AND created_at >= to_timestamp({begin}) ORDER BY created_at"
    with pinned(LOAD):
        ours, copied = alternate(
            bench.scale.rounds,
            partial(
                _downloaded, url, f"/prices/export?ticker=btc_usd&start_date={begin}&format=csv"
            ),
            partial(_copied, database, f"({rows}) TO '/dev/null' CSV HEADER"),
        )
    yield _quicker(f"export of {count:,} rows as CSV, against \\copy", copied, ours)


def import_(bench: Bench) -> Iterator[Figure]:
    """A file into an empty table, with all that follows from its rows; both processes whole."""
    database, count = bench.empty("imported"), bench.scale.lines
    file = bench.folder / "prices.csv"
    rows = f"({' '.join(_LINES.split())} ORDER BY created_at LIMIT {count})"
    _copied(bench.database("deep"), f"{rows} TO '{file}' CSV HEADER")
    words = [sys.executable, "-m", "tracker", "import", str(file)]
    into = f"prices (ticker, created_at, price) FROM '{file}' CSV HEADER"
    ours, copied = alternate(
        bench.scale.rounds,
        partial(_into_empty, database, partial(_imported, words, database)),
        partial(_into_empty, database, partial(_copied, database, into)),
        warm=False,
    )
    yield _quicker(f"import of {count:,} lines, against \\copy", copied, ours)


def _downloaded(url: str, path: str) -> float:
    """Seconds until the last byte. Raises BenchError."""
    host, slash, prefix = url.removeprefix("http://").partition("/")
    began = time.perf_counter()
    line = http.client.HTTPConnection(host, timeout=60)
    try:
        line.request("GET", f"{slash}{prefix}{path}")
        answer = line.getresponse()
        while answer.read(_PIECE):
            pass
        if answer.status != http.client.OK:
            raise BenchError(f"{path}: {answer.status}")
    finally:
        line.close()
    return time.perf_counter() - began


def _imported(words: list[str], database: Settings) -> float:
    return _timed(words, environment(database))


def _copied(database: Settings, rest: str) -> float:
    words = psql_command(database, ["--quiet", "--command", f"\\copy {rest}"])
    return _timed(words, psql_environment(database))


def _timed(words: list[str], env: Mapping[str, str]) -> float:
    """Seconds that a command takes. Raises BenchError with its complaint."""
    began = time.perf_counter()
    done = subprocess.run(words, env=env, check=False, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"{Path(words[0]).name}: {' '.join(done.stderr.split())}")
    return time.perf_counter() - began


def _into_empty(database: Settings, work: partial[float]) -> float:
    with psycopg.connect(database.database_dsn, autocommit=True) as conn:
        conn.execute("TRUNCATE prices, tickers, misses")
        filling.settle(conn)
    return work()


def _quicker(what: str, copied: list[float], ours: list[float]) -> Figure:
    note = f"{median(ours):.1f} s against {median(copied):.1f} s"
    return Figure(what=what, values=ratios(copied, ours), wanted=0.5, note=note)
